"""What could make forgetting last: forget losses at weights, states or prompts that were moved, and other starts.

Prototypes for `relearn.py`; the one that was kept is `unweave.losses.Relearned`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unweave.losses import Divergence, Weighted, frozen
from unweave.losses._base import Batch, Loss
from unweave.modalities.texts.data import TextRows
from unweave.modules import At
from unweave.tasks import Language

TASK = Language()
Weights = dict[str, Tensor]


def _at(model: nn.Module, delta: Mapping[str, Tensor]) -> At:
    return At(model, {n: p + delta[n] for n, p in model.named_parameters()})


def _gradient(model: nn.Module, delta: Mapping[str, Tensor], batch: Batch) -> Weights:
    """Of the mean nll at `theta + delta`."""
    with torch.enable_grad():
        there = {n: (p.detach() + delta[n]).requires_grad_() for n, p in model.named_parameters()}
        gradients = torch.autograd.grad(TASK.nll(At(model, there), batch).mean(), list(there.values()))
    return dict(zip(there, gradients, strict=True))


def _still(model: nn.Module) -> Weights:
    return {n: torch.zeros_like(p) for n, p in model.named_parameters()}


def _norm(tensors: Mapping[str, Tensor]) -> float:
    return float(sum(t.detach().square().sum() for t in tensors.values())) ** 0.5


@dataclass(frozen=True)
class Noisy:
    """A loss at weights with Gaussian noise, `noise` of each tensor's norm."""

    loss: Loss
    noise: float

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        delta = {
            n: torch.randn_like(p) * (self.noise * float(p.detach().norm()) / p.numel() ** 0.5)
            for n, p in model.named_parameters()
        }
        return self.loss(_at(model, delta), batch)


@dataclass(frozen=True)
class Sharp:
    """A loss where `steps` normed steps down the same batch's nll lead (SAM's worst case); `radius` of |theta|."""

    loss: Loss
    steps: int
    radius: float

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        delta, size = _still(model), _norm(dict(model.named_parameters()))
        for _ in range(self.steps):
            gradient = _gradient(model, delta, batch)
            length = self.radius * size / self.steps / max(_norm(gradient), 1e-12)
            for name, g in gradient.items():
                delta[name].sub_(g, alpha=length)
        return self.loss(_at(model, delta), batch)


@dataclass(frozen=True)
class Tar:
    """A loss where AdamW on other forget rows leads (TAR): half of all rows are learned, ten of the others are read."""

    loss: Loss
    rows: TextRows
    steps: int = 4
    lr: float = 2e-3
    size: int = 5

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        order = torch.randperm(len(self.rows))
        learned, read = order.chunk(2)
        delta = _still(model)
        optimizer = torch.optim.AdamW(list(delta.values()), lr=self.lr, weight_decay=0.0)
        for _ in range(self.steps):
            chosen = learned[torch.randperm(len(learned))[: self.size]]
            for name, g in _gradient(model, delta, self.rows.batch(chosen)).items():
                delta[name].grad = g
            optimizer.step()
        return self.loss(_at(model, delta), self.rows.batch(read[:10]))


@dataclass(frozen=True)
class Latent:
    """A loss at the worst addition to a block's output, `share` of each state's norm (latent adversarial training)."""

    loss: Loss
    block: int
    share: float
    steps: int = 2

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        added: list[Tensor] = []
        sizes: list[Tensor] = []

        def add(module: nn.Module, args: Any, output: Any) -> Any:
            state = output[0] if isinstance(output, tuple) else output
            if not added:
                added.append(torch.zeros_like(state).requires_grad_())
                sizes.append(state.detach().norm(dim=-1, keepdim=True))
            moved = state + added[0]
            return (moved, *output[1:]) if isinstance(output, tuple) else moved

        whole: Any = model
        handle = whole.model.layers[self.block].register_forward_hook(add)
        try:
            with torch.enable_grad():
                for _ in range(self.steps):
                    (g,) = torch.autograd.grad(TASK.nll(model, batch).sum(), added)
                    down = g / g.norm(dim=-1, keepdim=True).clamp(min=1e-12)
                    added[0] = (added[0].detach() - down * sizes[0] * self.share / self.steps).requires_grad_()
            added[0] = added[0].detach()
            return self.loss(model, batch)
        finally:
            handle.remove()


@dataclass(frozen=True)
class Drawn:
    """A loss on rows of its own, `size` of them at every look, in the place of the batch; their mean counts."""

    loss: Loss
    rows: TextRows
    size: int

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        values = self.loss(model, self.rows.batch(torch.randperm(len(self.rows))[: self.size]))
        return values.mean().expand(len(batch["input_ids"]))


def moved(model: nn.Module, move: Callable[[str, Tensor], Tensor]) -> nn.Module:
    """A copy whose weights are what `move` makes of name and value."""
    made = copy.deepcopy(model)
    with torch.no_grad():
        for name, p in made.named_parameters():
            p.copy_(move(name, p))
    return made


def toward(model: nn.Module, other: nn.Module, share: float) -> nn.Module:
    """Between two models."""
    there = dict(other.named_parameters())
    return moved(model, lambda name, p: (1 - share) * p + share * there[name])


def noised(model: nn.Module, share: float) -> nn.Module:
    """UNDO's corruption: `(1 - share) theta + share noise`, as wide as each tensor."""
    generator = torch.Generator().manual_seed(0)

    def move(name: str, p: Tensor) -> Tensor:
        return (1 - share) * p + share * float(p.std()) * torch.randn(p.shape, generator=generator) if p.ndim > 1 else p

    return moved(model, move)


def without(model: nn.Module, other: nn.Module, forget: TextRows, retain: TextRows, share: float) -> nn.Module:
    """The weights with the highest ratio of Fisher information, forget over retain, are taken from another model."""

    def fisher(rows: TextRows) -> Weights:
        found = _still(model)
        for row in range(len(rows)):
            for name, g in _gradient(model, _still(model), rows.batch(torch.tensor([row]))).items():
                found[name].add_(g.square(), alpha=1 / len(rows))
        return found

    ours, theirs = fisher(forget), fisher(retain)
    ratio = {n: ours[n] / (theirs[n] + 1e-12) for n in ours}
    values = torch.cat([r.flatten() for r in ratio.values()])
    cut = values.kthvalue(int((1 - share) * len(values))).values
    there = dict(other.named_parameters())
    return moved(model, lambda name, p: torch.where(ratio[name] > cut, there[name], p))


def distilled(teacher: nn.Module, alone: bool = False) -> Loss:
    """A retain loss: the teacher's predictions, and the answers themselves unless alone."""
    divergence = Divergence(TASK, frozen(teacher))
    return divergence if alone else Weighted(((1.0, divergence), (1.0, TASK.nll)))
