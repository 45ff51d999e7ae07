"""A small classifier, one pair cut in several ways, and every family of rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unweave.data.pairs import Pair
from unweave.losses import Ascent
from unweave.objectives import Objectives
from unweave.rules import EUPMU, GRU, HAMU, OFMU, PDU, Alternating, Fixed, NGDiff, PCGrad, Rule, UnilateralSurgery
from unweave.rules.eupmu_compat import EUPMUCompat
from unweave.tasks import Vision

nll = Vision().nll


SIDES = (Ascent(nll), nll)


def batch(size: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(size, 5, dtype=torch.float64, generator=generator)
    return x, torch.randint(3, (size,), generator=generator)


WHOLE_FORGET, WHOLE_RETAIN = batch(7, 1), batch(11, 2)


def cut(whole: tuple[Tensor, Tensor], sizes: Sequence[int]) -> list[tuple[Tensor, ...]]:
    return list(zip(*(part.split(list(sizes)) for part in whole), strict=True))


def pair(forget: Sequence[int] = (7,), retain: Sequence[int] = (11,), seed: int = 3) -> Pair:
    return Pair(cut(WHOLE_FORGET, forget), cut(WHOLE_RETAIN, retain), seed)


WEIGHTS = torch.tensor([0.3, 2.0], dtype=torch.float64)


RAGGED = {1: pair(), 2: pair((4, 3), (1, 10)), 3: pair((1, 4, 2), (6, 2, 3))}


def network(*extra: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 6), *extra, nn.Tanh(), nn.Linear(6, 3)).double()


def joint(model: nn.Module, forget: float, retain: float) -> list[Tensor]:
    """The gradient of `w_f L_u + w_r L_r`, written down."""
    loss = forget * SIDES[0](model, WHOLE_FORGET).mean() + retain * SIDES[1](model, WHOLE_RETAIN).mean()
    return list(torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad]))


def assert_close(found: Sequence[Tensor], expected: Sequence[Tensor], tolerance: float = 1e-12) -> None:
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


class Counting(nn.Module):
    """Counts the forward passes, and those of them that build a graph."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.forwards, self.graphs = inner, 0, 0

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += 1
        self.graphs += torch.is_grad_enabled()
        return self.inner(x)


RULES: dict[str, Callable[[], Rule]] = {
    "fixed": lambda: Fixed(0.7, 1.3),  # the weights are a tensor
    "alternating": Alternating,
    "pdu": lambda: PDU(epsilon=0.1),
    "eupmu": lambda: EUPMU(0.0, 5.0, estimator="same_batch"),  # a function of the retain loss
    "eupmu_next": lambda: EUPMU(0.0, 5.0),
    "eupmu_log": lambda: EUPMUCompat(log="both"),  # a function of both losses
    "hamu_q": lambda: HAMU("forget", ratio=0.5),
    "hamu_u": lambda: HAMU("retain", ratio=0.5, blocks="layer"),
    "surgery": lambda: UnilateralSurgery(0.1, blocks="tensor"),
    "pcgrad": PCGrad,
    "gru": GRU,
    "ngdiff": NGDiff,
    "ofmu_exact": lambda: OFMU(inner_lr=0.05, curvature="exact"),
    "ofmu_finite": lambda: OFMU(inner_lr=0.05, curvature="finite"),
    "ofmu_forget_only": lambda: OFMU(inner_lr=0.05, curvature="forget_only", one_sided=True),
}


def descend(
    model: nn.Module, rule: Rule, seen: Pair, steps: int = 4, lr: float = 0.1, sides: Any = SIDES
) -> list[Tensor]:
    """A few plain steps; everything that came out: losses, weights, state and parameters."""
    objectives, trace = Objectives(model, sides), []
    objectives.lr = lr
    for _ in range(steps):
        step = rule.backward(objectives.at(seen))
        objectives.move(objectives.direction(), -lr)
        rule.observe(objectives)
        trace += [step.losses, step.weights]
    state = [torch.tensor(float(v)) for v in rule.state_dict().values() if isinstance(v, (int, float))]
    return [*trace, *state, *(p.detach() for p in objectives.parameters)]
