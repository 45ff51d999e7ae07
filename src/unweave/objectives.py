"""Both objectives as functions of the current parameters and pair; the only file that knows how a pass is executed.

Every answer is reduced over micro-batches and ranks before anyone sees it, so all ranks take the same decision.
Forward passes are re-seeded per pair, side and micro-batch: a second look sees the same dropout masks, and the global
random state is found again as it was. Buffers (running statistics, whatever a layer keeps) move on the first look with
a gradient only; every other look begins with those that it began with, and leaves them as it found them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.parallel import DistributedDataParallel

from unweave import arguments as takes
from unweave.data.pairs import Batch, Pair
from unweave.errors import ConfigurationError, UnsupportedError, noted
from unweave.execution import bare, check, check_third_order, exact, examples, reseeded, reshard, summed, world
from unweave.gramian import Blocks, Gradient, block_index, local, norm, parts, real
from unweave.modules import Buffers, check_memory, differentiable

if TYPE_CHECKING:
    from accelerate import Accelerator

Loss = Callable[[nn.Module, Batch], Tensor]  # per-example losses [b], to be minimised, pure in (model, batch)
FORGET, RETAIN = 0, 1
_SIDES = ("forget", "retain")
# Difference steps relative to |theta| / |v|, by (float64, central): where truncation and rounding are about equal.
_DIFFERENCE = {(False, True): 3e-4, (False, False): 1e-4, (True, True): 1e-5, (True, False): 1e-8}


def _pair(name: str, losses: Any) -> str:
    two = isinstance(losses, tuple | list) and len(losses) == 2
    if two and all(each is None or takes.callable_with(each, 2) for each in losses):
        return ""
    return takes.wrong(name, "two functions (model, batch) -> [b], of which one may be None", losses)


_RULES = {"model": takes.model, "losses": _pair, "accelerator": takes.prepared}


class Objectives:
    """The forget and the retain objective at the current parameters and pair.

    Args:
        model: the module to unlearn; parameters that require a gradient may move.
        losses: forget and retain loss, each `(model, batch) -> [b]` and minimised; None is the constant 0.
        accelerator: the `accelerate.Accelerator` that prepared the model, if one did.
        probe: retain micro-batches that no step trains on (`probe_loss`).

    Attributes:
        parameters, names: what may move, each tensor once.
        lr: length of the last step per unit of direction; the loop sets it.
        radius: length that a trust region gives the coming step; None under an optimizer.
        active: share of each side's examples whose loss was not exactly 0 at the last look, `[2]`: those that an end
            per example (`losses.Until`) has not left alone. 1 before any look.
        heard: told both gradients of every pair that a rule asks for, before the rule has them.

    Raises:
        ConfigurationError: nothing may move, parameters share memory, both losses are missing, or an argument is of
            another type.
        UnsupportedError: fp16 scaling, DeepSpeed, accelerate's own accumulation, or ranks without DDP or FSDP2.
    """

    def __init__(
        self,
        model: nn.Module,
        losses: tuple[Loss | None, Loss | None],
        accelerator: Accelerator | None = None,
        probe: Sequence[Batch] = (),
    ):
        takes.check(_RULES, locals())
        reshard(model)
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        if not named:
            raise ConfigurationError("No parameter may move: all are frozen. Set requires_grad on those to unlearn.")
        check_memory(model)
        if losses == (None, None):
            raise ConfigurationError("Neither a forget nor a retain loss was given; pass at least one.")
        self.model, self._losses, self._accelerator, self._probe = model, losses, accelerator, probe
        self.names: list[str] = [n for n, _ in named]
        self.parameters: list[Tensor] = [p for _, p in named]
        self.lr: float | None = None
        self.radius: float | None = None
        self.pair = Pair((), ())
        self.active = torch.ones(2, dtype=torch.float64)
        self.heard: Callable[[tuple[Gradient, Gradient]], None] | None = None
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
    def loss(self, side: int) -> Tensor:
        """One side's loss, likewise; the other side is not looked at."""
        if self._losses[side] is None:
            return torch.zeros((), dtype=torch.float64)
        with self._passes(side):
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

    def backward(
        self, weights: Tensor | Callable[[Tensor], Tensor], needs_forget: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Accumulates `w_f grad L_f + w_r grad L_r` in `.grad`; returns the losses `[2]` and the weights `[2]`.

        Weights that depend on the losses cost no forward pass of their own: the retain gradient is scaled in place
        once they are known. Only where they need the forget loss of several micro-batches is that looked at before.
        """
        self.clear()
        if isinstance(weights, Tensor):  # known beforehand: each side is differentiated with its weight
            return torch.stack([self._weighted(side, float(weights[side])) for side in (FORGET, RETAIN)]), weights
        # Unknown: the retain gradient is taken with weight 1, and scaled once both losses say what its weight is. The
        # forget graph of a lone micro-batch waits open for its own weight; several would have to wait at once.
        retain = self._accumulate(RETAIN, 1.0)
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
        if not at_once:
            forget = self._weighted(FORGET, float(w[FORGET]))
        return torch.stack([forget, retain]), w

    def gradients(self) -> tuple[Tensor, tuple[Gradient, Gradient]]:
        """Losses `[2]` and the two gradients; `.grad` is left empty. One backward per side and micro-batch."""
        losses, gradients = [], []
        for side in (FORGET, RETAIN):
            loss, gradient = self.gradient(side)
            losses.append(loss)
            gradients.append(gradient)
        if self.heard is not None:
            self.heard((gradients[FORGET], gradients[RETAIN]))
        return torch.stack(losses), (gradients[FORGET], gradients[RETAIN])

    def gradient(self, side: int) -> tuple[Tensor, Gradient]:
        """One side's loss and gradient; unused parameters have a zero gradient."""
        self.clear()
        loss = self._accumulate(side, 1.0)
        gradient = self.direction()
        if getattr(self.model, "gradient_as_bucket_view", False):  # DDP's next backward would write over it
            gradient = [g.clone() for g in gradient]
        self.clear()
        return loss, gradient

    def hvp(self, side: int, vector: Gradient, gradient: Gradient | None = None) -> Gradient:
        """Hessian-vector product `H_side v` by differences of gradients: first-order calls only, so it shards.

        Central, `[g(theta + h v) - g(theta - h v)] / 2h`; one-sided, `[g(theta + h v) - g(theta)] / h`, if the
        gradient at theta is given. `h` is relative to `|theta| / |v|`. The parameters are restored exactly.
        """
        length, size = float(norm(vector)), max(float(norm([p.detach() for p in self.parameters])), 1e-3)
        if size > length * torch.finfo(self.parameters[0].dtype).max:  # no h of this precision would do
            return [torch.zeros_like(v) for v in vector]
        h = _DIFFERENCE[real(self.parameters[0]).dtype == torch.float64, gradient is None] * size / length
        before = self.snapshot()
        self.move(vector, h)
        difference = self.gradient(side)[1]
        if gradient is None:
            self.restore(before)
            self.move(vector, -h)
            gradient, h = self.gradient(side)[1], 2 * h
        self.restore(before)
        torch._foreach_sub_(parts(difference), parts(gradient))
        torch._foreach_div_(parts(difference), h)
        return difference

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
        n = 0.0
        with self._passes(side), exact(self.model):
            for i, batch in enumerate(batches):
                values = self._values(side, i, batch, outside=True)
                n = n or examples(batches, values)
                loss = values.sum() / n
                differentiable(loss, _SIDES[side])
                grads: Sequence[Tensor] = torch.autograd.grad(
                    loss, self.parameters, create_graph=True, materialize_grads=True
                )
                for v in vectors:
                    products = [(real(g) * real(x)).sum() for g, x in zip(grads, v, strict=True)]
                    inner = torch.stack(products).sum()
                    if not inner.requires_grad:  # a derivative that is constant
                        inner = sum((real(p).sum() * 0.0 for p in self.parameters), inner)
                    grads = torch.autograd.grad(inner, self.parameters, create_graph=True, materialize_grads=True)
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
        return self._accumulate(side, weight) if weight else self.loss(side)

    def _accumulate(self, side: int, scale: float) -> Tensor:
        if self._losses[side] is None:
            return torch.zeros((), dtype=torch.float64)
        batches, seen, total = self._micro(side), [], 0.0
        with self._passes(side, moves=True):
            for i, batch in enumerate(batches):
                with nullcontext() if i == len(batches) - 1 else self._no_sync():
                    values = self._values(side, i, batch)
                    total = total or examples(batches, values)
                    self._backward(side, values.sum() * (scale * world() / total))  # DDP and FSDP average over ranks
                seen.append(values.detach())
        return self._mean(side, seen)

    @contextmanager
    def _passes(self, side: int, moves: bool = False) -> Iterator[None]:
        """Around all passes of one look: what becomes of the buffers. `moves`: it takes a gradient."""
        found = Buffers(self.model)
        # The first look with a gradient is the one that a plain training step would take: its buffers move, and stay.
        # All others start where that one started, and what they do to the buffers is undone.
        if moves and side not in self._begun:
            self._begun[side] = found
            yield
            return
        if side in self._begun:
            self._begun[side].restore()
        try:
            yield
        finally:
            found.restore()

    def _values(self, side: int, micro: int, batch: Batch, outside: bool = False) -> Tensor:
        loss = self._losses[side]
        assert loss is not None
        model = bare(self.model) if outside or not torch.is_grad_enabled() else self.model
        name = f"the {_SIDES[side]} loss"
        with reseeded(self.pair, side, micro), noted(name):
            values = loss(model, batch)
        if not torch.is_grad_enabled():
            reshard(model)
        if not isinstance(values, Tensor) or values.ndim != 1:
            found = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise ConfigurationError(
                f"A loss must return one value per example, [b]; {name} returned {found}. Do not reduce over the batch."
            )
        if values.is_complex():
            raise ConfigurationError(
                f"A loss must return one value per example, [b]; {name} returned {values.dtype}. Take its real part or "
                "its modulus."
            )
        return values

    def _backward(self, side: int, loss: Tensor) -> None:
        differentiable(loss, _SIDES[side])
        loss.backward() if self._accelerator is None else self._accelerator.backward(loss)
        for p in self.parameters:
            if (g := p.grad) is not None and (g.layout != torch.strided or g.is_conj()):
                p.grad = g.to_dense().resolve_conj()  # of an embedding with sparse=True; of complex weights

    def _mean(self, side: int, values: Sequence[Tensor]) -> Tensor:
        if not values:
            raise ConfigurationError(f"The pair holds no {_SIDES[side]} micro-batch on this rank.")
        losses = torch.cat(list(values)).detach().double()
        own = torch.stack([losses.sum(), losses.count_nonzero().double(), losses.new_full((), len(losses))])
        total, active, count = summed(own)
        self.active[side] = active / count
        return total / count

    def _no_sync(self) -> AbstractContextManager[object]:
        if self._accelerator is not None:
            return self._accelerator.no_sync(self.model)
        return self.model.no_sync() if isinstance(self.model, DistributedDataParallel) else nullcontext()
