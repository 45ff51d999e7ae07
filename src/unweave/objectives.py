"""Both objectives as functions of the current parameters and pair; the only file that knows how a pass is executed.

Every answer is reduced over micro-batches and ranks before anyone sees it, so all ranks take the same decision.
Forward passes are re-seeded per pair, side and micro-batch: a second look sees the same dropout masks, and the global
random state is found again as it was. Buffers (running statistics, whatever a layer keeps) move on the first look with
a gradient only; every other look begins with those that it began with, and leaves them as it found them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from unweave import arguments as takes
from unweave import curvature
from unweave.data.pairs import Batch, Pair
from unweave.devices import wide
from unweave.errors import ConfigurationError, UnsupportedError, noted
from unweave.execution import (
    as_first,
    averaged,
    bare,
    check,
    check_third_order,
    exact,
    examples,
    reseeded,
    reshard,
    summed,
    world,
)
from unweave.gramian import Blocks, Gradient, block_index, local, parts
from unweave.modules import Buffers, check_memory, differentiable, per_example
from unweave.packs import Packs
from unweave.precision import names
from unweave.streaming import WAYS, Direction, Hearing, Memory, Take, Weights, dense, interleaved, taking

if TYPE_CHECKING:
    from accelerate import Accelerator

Loss = Callable[[nn.Module, Batch], Tensor]  # per-example losses [b], to be minimised, pure in (model, batch)
FORGET, RETAIN = 0, 1
_SIDES = ("forget", "retain")
_RULES = {"model": takes.model, "losses": takes.two_losses, "accelerator": takes.prepared}


class Objectives:
    """The forget and the retain objective at the current parameters and pair.

    Args:
        model: the module to unlearn; parameters that require a gradient may move.
        losses: forget and retain loss, each `(model, batch) -> [b]` and minimised; None is the constant 0.
        accelerator: the `accelerate.Accelerator` that prepared the model, if one did.
        probe: retain micro-batches that no step trains on (`probe_loss`).
        memory: "fast" keeps both gradients of a rule that compares them, "lean" one, "least" none.

    Attributes:
        parameters, names: what may move, each tensor once.
        lr: length of the last step per unit of direction; the loop sets it.
        radius: length that a trust region gives the coming step; None under an optimizer.
        active: share of each side's examples whose loss was not exactly 0 at the last look, `[2]`: those that an end
            per example (`losses.Until`) has not left alone. 1 before any look.
        heard: told both gradients of every pair that a rule asks for, before the rule has them.
        memory: how many gradients are kept (`streaming`).
        packs: memory for their small tensors, used again at every pair.

    Raises:
        ConfigurationError: nothing may move, parameters share memory, both losses are missing, or an argument is of
            another type.
        UnsupportedError: fp16 scaling, DeepSpeed, accelerate's own accumulation, or ranks whose weights differ.
    """

    def __init__(
        self,
        model: nn.Module,
        losses: tuple[Loss | None, Loss | None],
        accelerator: Accelerator | None = None,
        probe: Sequence[Batch] = (),
        memory: Memory = "fast",
    ):
        takes.check(_RULES, locals())
        reshard(model)
        named = [(n, p) for n, p in bare(model).named_parameters() if p.requires_grad]
        if not named:
            raise ConfigurationError("No parameter may move: all are frozen. Set requires_grad on those to unlearn.")
        check_memory(model)
        if losses == (None, None):
            raise ConfigurationError("Neither a forget nor a retain loss was given; pass at least one.")
        self.model, self._losses, self._accelerator, self._probe = model, losses, accelerator, probe
        known = names(bare(model))
        self.names: list[str] = [known.get(n, n) for n, _ in named]
        self.parameters: list[Tensor] = [p for _, p in named]
        self.lr: float | None = None
        self.radius: float | None = None
        self.pair = Pair((), ())
        self.active = torch.ones(2, dtype=torch.float64)
        self.heard: Hearing | None = None
        self.memory, self.packs = memory, Packs()
        self._way = WAYS[memory](self)
        self._left: Direction | None = None
        self.taken_gradients = 0  # of one side over one batch each, so far
        self._begun: dict[int, Buffers] = {}  # as the first look with a gradient found them, by side
        check(model, accelerator)

    def at(self, pair: Pair) -> Objectives:
        """The same objectives on another pair."""
        self.pair, self._begun = pair, {}
        return self

    def losses(self) -> Tensor:
        """Both losses, `[2]`, without a graph and without a trace."""
        return torch.stack([self.loss(side) for side in (FORGET, RETAIN)])

    @torch.no_grad()
    def loss(self, side: int, moves: bool = False) -> Tensor:
        """One side's loss, likewise; the other side is not looked at. `moves`: buffers do, as with a gradient."""
        if self._losses[side] is None:
            return torch.zeros((), dtype=torch.float64)
        with self._passes(side, moves):
            return self._mean(side, [self._values(side, i, b) for i, b in enumerate(self._micro(side))])

    def loss_at(self, side: int, pair: Pair) -> float:
        """One side's loss on another pair, likewise; the present one stays as it is."""
        held = self.pair, self._begun
        try:
            return float(self.at(pair).loss(side))
        finally:
            self.pair, self._begun = held

    @torch.no_grad()
    def probe_loss(self) -> float:
        """The retain loss on the probe, examples that no step trains on."""
        if not self._probe:
            raise ConfigurationError("estimator 'probe' needs retain examples that no step trains on: pass probe=...")
        with self._passes(RETAIN):
            return float(self._mean(RETAIN, [self._values(RETAIN, i, b) for i, b in enumerate(self._probe)]))

    def products(self, blocks: Blocks) -> tuple[Tensor, Tensor]:
        """Losses `[2]` and Gramian `[B, 2, 2]` of both gradients; `combine` then makes a direction of them."""
        return self._way.products(blocks)

    def combine(self, weights: Tensor) -> None:
        """Leaves `sum_i w[b, i] g_i` as the direction, by `[B, 2]` weights, once after `products`."""
        self._way.combine(weights)

    def each(self, side: int, take: Take) -> None:
        """Tells all tensors of one side's gradient, one at a time."""
        self._way.each(side, take)

    def leave(self, direction: Direction) -> None:
        """Another direction than one of this pair's gradients."""
        self._left = direction

    def taken(self) -> Direction:
        """The direction that was left, wherever it is kept."""
        left, self._left = self._left, None
        return self._way.direction() if left is None else left

    def backward(self, weights: Weights, needs_forget: bool = True) -> tuple[Tensor, Tensor]:
        """Leaves `w_f grad L_f + w_r grad L_r` as the direction; returns the losses `[2]` and the weights `[2]`."""
        return self._way.backward(weights, needs_forget)

    def weighed(self, weights: Weights, needs_forget: bool) -> tuple[Tensor, Tensor]:
        """The same, accumulated in `.grad`.

        Weights that depend on the losses cost no forward pass of their own: the retain gradient is scaled in place
        once they are known. Only where they need the forget loss of several micro-batches is that looked at before.
        """
        self.clear()
        if isinstance(weights, Tensor):  # known beforehand: each side is differentiated with its weight
            return torch.stack([self._weighted(side, float(weights[side])) for side in (FORGET, RETAIN)]), weights
        # Unknown: the retain gradient is taken with weight 1, and scaled once both losses say what its weight is. The
        # forget graph of a lone micro-batch waits open for its own weight; several would have to wait at once.
        retain = self._weighted(RETAIN, 1.0)
        micro, forget = self._micro(FORGET), retain.new_tensor(float("nan"))
        at_once = self._losses[FORGET] is not None and needs_forget and len(micro) == 1
        with self._passes(FORGET, moves=True) if at_once else nullcontext():
            if at_once:
                values = self._values(FORGET, 0, micro[0])
                forget = self._mean(FORGET, [values])
            elif needs_forget:
                forget = self.loss(FORGET)
            w = weights(torch.stack([forget, retain]))
            if grads := parts([p.grad for p in self.parameters if p.grad is not None]):
                torch._foreach_mul_(grads, float(w[RETAIN]))
            if at_once:
                self._backward(FORGET, values.sum() * (float(w[FORGET]) * world() / examples(micro, values)))
                averaged(self.parameters)
        if not at_once:
            forget = self._weighted(FORGET, float(w[FORGET]))
        return torch.stack([forget, retain]), w

    def gradients(self) -> tuple[Tensor, tuple[Gradient, Gradient]]:
        """Losses `[2]` and the two gradients; `.grad` is left empty. One backward per side and micro-batch."""
        (forget, f), (retain, r) = self._differentiated(FORGET), self._differentiated(RETAIN)
        if self.heard is not None:
            self.heard.add((f, r))
        return torch.stack([self._mean(FORGET, forget), self._mean(RETAIN, retain)]), (f, r)

    def gradient(self, side: int) -> tuple[Tensor, Gradient]:
        """One side's loss and gradient; unused parameters have a zero gradient."""
        values, gradient = self._differentiated(side)
        return self._mean(side, values), gradient

    def streamed(self, side: int, take: Take) -> Tensor:
        """One side's loss; its gradient is told tensor by tensor, a micro-batch at a time, and freed."""
        self.clear()
        return self._mean(side, self._backwards(side, 1.0, take))

    def together(self, weights: Mapping[int, float], take: Take) -> Tensor:
        """Losses `[2]`, of sides without a weight NaN; the gradient of the weighted sum is told tensor by tensor.

        All graphs are open at once, those of micro-batches too: a tensor's gradient is then whole when it comes.
        """
        self.clear()
        losses, roots = torch.full((2,), float("nan"), dtype=torch.float64), list[Tensor]()
        with ExitStack() as open_:
            for side, weight in weights.items():
                open_.enter_context(self._passes(side, moves=True, beside=bool(roots)))
                batches, seen, total = self._micro(side), [], 0.0
                for i, batch in enumerate(batches if self._losses[side] is not None else ()):
                    values = self._values(side, i, batch)
                    differentiable(values, _SIDES[side])
                    total = total or examples(batches, values)
                    roots.append(values.sum() * (weight * world() / total))
                    seen.append(values.detach())
                losses[side] = self._mean(side, seen)
                self.taken_gradients += self._losses[side] is not None
            if roots:
                interleaved(roots)
                self._backward(side, torch.stack(roots).sum(), take)
        return losses

    def hvp(self, side: int, vector: Gradient, gradient: Gradient | None = None) -> Gradient:
        """`H_side v` by differences of gradients, one-sided where that at theta is given (`curvature.hvp`)."""
        return curvature.hvp(self, side, vector, gradient)

    def curved(self, side: int, terms: curvature.Terms, gradient: Gradient, into: Gradient | None) -> Gradient:
        """`into + H_side sum_i c_i v_i` in the memory of its arguments (`curvature.curved`)."""
        return curvature.curved(self, side, terms, gradient, into)

    @sdpa_kernel(SDPBackend.MATH)  # fused attention knows its first derivative only
    def contract(self, side: int, *vectors: Gradient) -> Gradient:
        """The side's derivatives contracted with each vector in turn, by repeated backward: `H v`, `D_p(H) v`, ...

        Exact, and additive over micro-batches and ranks.

        Raises:
            UnsupportedError: the parameters are sharded, or PyTorch has no second or no right third derivatives of a
                layer; differences (`hvp`) work there.
        """
        if local(self.parameters[0]) is not self.parameters[0]:
            raise UnsupportedError("Exact second derivatives do not shard; use curvature='finite'.")
        if len(vectors) > 1:
            check_third_order(self.model)
        batches = self._micro(side)
        total = [torch.zeros_like(p) for p in self.parameters]
        if self._losses[side] is None:
            return total
        self.taken_gradients += 1 + len(vectors)
        n = 0.0
        with self._passes(side), exact(self.model):
            for i, batch in enumerate(batches):
                values = self._values(side, i, batch)
                n = n or examples(batches, values)
                loss = values.sum() / n
                differentiable(loss, _SIDES[side])
                grads = curvature.contracted(loss, self.parameters, vectors)
                torch._foreach_add_(total, [p.detach() for p in grads])
        if world() > 1:
            for t in total:
                dist.all_reduce(t)
        return total

    def write(self, direction: Gradient) -> None:
        """Puts a descent direction where torch.optim looks for it."""
        for p, d in zip(self.parameters, direction, strict=True):
            p.grad = d

    @torch.no_grad()
    def move(self, direction: Gradient, scale: float) -> None:
        """`theta += scale * direction`."""
        torch._foreach_add_(parts(self.parameters), parts(direction), alpha=scale)

    def snapshot(self) -> list[Tensor]:
        """A copy of the parameters."""
        return [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def restore(self, values: Sequence[Tensor]) -> None:
        """`theta = values`, exactly."""
        torch._foreach_copy_(parts(self.parameters), parts(values))

    def clear(self) -> None:
        """Empties `.grad`."""
        for p in self.parameters:
            p.grad = None

    def discard(self) -> None:
        """Empties `.grad` and puts the buffers back to what they were before this pair."""
        self.clear()
        if self._begun:
            next(iter(self._begun.values())).restore()

    def direction(self) -> Gradient:
        """What `.grad` holds; zeros where a parameter was not used."""
        return [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]

    def block_index(self, blocks: Blocks) -> list[int]:
        """The block of each parameter."""
        return block_index(self.names, blocks)

    def _micro(self, side: int) -> Sequence[Batch]:
        return (self.pair.forget, self.pair.retain)[side]

    def _weighted(self, side: int, weight: float) -> Tensor:
        """A side of weight 0 is looked at, not differentiated."""
        return self._mean(side, self._backwards(side, weight)) if weight else self.loss(side)

    def _differentiated(self, side: int) -> tuple[list[Tensor], Gradient]:
        self.clear()
        values, gradient = self._backwards(side, 1.0), self.direction()
        self.clear()
        return values, gradient

    def _backwards(self, side: int, scale: float, take: Take | None = None) -> list[Tensor]:
        """The losses of every micro-batch; their gradient is accumulated, or told."""
        batches, seen, total = self._micro(side), list[Tensor](), 0.0
        if self._losses[side] is None:
            return seen
        self.taken_gradients += 1
        with self._passes(side, moves=True):
            for i, batch in enumerate(batches):
                values = self._values(side, i, batch)
                total = total or examples(batches, values)
                loss = values.sum() * (scale * world() / total)  # FSDP2 averages over ranks, as we do
                self._backward(side, loss, take)
                seen.append(values.detach())
            if take is None and world() > 1:
                averaged(self.parameters)
        return seen

    @contextmanager
    def _passes(self, side: int, moves: bool = False, beside: bool = False) -> Iterator[None]:
        """Around all passes of one look: what becomes of the buffers.

        `moves`: it takes a gradient. `beside`: a graph is open, which knows its buffers by what is written to them.
        """
        found = Buffers(self.model)
        # The first look with a gradient is the one that a plain training step would take: its buffers move, and stay.
        # All others start where that one started, and what they do to the buffers is undone.
        if moves and side not in self._begun:
            self._begun[side] = found
            yield
            if self.model.training:
                as_first(self.model.buffers())
            return
        if side in self._begun:
            self._begun[side].restore(differing=beside)
        try:
            yield
        finally:
            found.restore()

    def _values(self, side: int, micro: int, batch: Batch) -> Tensor:
        loss = self._losses[side]
        assert loss is not None
        model = bare(self.model)  # ranks meet in `averaged`: DDP's own forward knows one backward and no unused weight
        name = f"the {_SIDES[side]} loss"
        with reseeded(self.pair, side, micro), noted(name):
            values = loss(model, batch)
        if not torch.is_grad_enabled():
            reshard(model)
        return per_example(values, name)

    def _backward(self, side: int, loss: Tensor, take: Take | None = None) -> None:
        differentiable(loss, _SIDES[side])
        with nullcontext() if take is None else taking(self.parameters, take):
            loss.backward() if self._accelerator is None else self._accelerator.backward(loss)
        for p in self.parameters:
            if (g := p.grad) is not None and (g.layout is not torch.strided or g.is_conj()):
                p.grad = dense(g)

    def _mean(self, side: int, values: Sequence[Tensor]) -> Tensor:
        if self._losses[side] is None:
            return torch.zeros((), dtype=torch.float64)
        if not values:
            raise ConfigurationError(f"The pair holds no {_SIDES[side]} micro-batch on this rank.")
        losses = wide((torch.cat(list(values)) if len(values) > 1 else values[0]).detach())
        own = torch.stack([losses, (losses != 0).double(), torch.ones_like(losses)]).sum(1)
        total = summed(own)
        mean, self.active[side] = total[:2] / total[2]
        return mean
