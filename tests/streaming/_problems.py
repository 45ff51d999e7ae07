"""Models, pairs, rules and steps on which what is streamed must equal what is kept."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from unweave import rules
from unweave.data.pairs import Pair
from unweave.loop import OptimizerStep, Stepper
from unweave.losses import Ascent
from unweave.objectives import Objectives
from unweave.rules import Rule
from unweave.streaming import Memory
from unweave.tasks import Classification
from unweave.trust import TrustRegion

nll = Classification().nll
LOSSES = (Ascent(nll), nll)


class Tied(nn.Module):
    """An embedding that is the head, a weight used twice, one that is never used, and a recomputed block."""

    def __init__(self) -> None:
        super().__init__()
        self.word, self.twice, self.unused = nn.Embedding(7, 5), nn.Linear(5, 5), nn.Linear(3, 3)
        self.block = nn.Sequential(nn.Linear(5, 8), nn.GELU(), nn.Dropout(0.2), nn.Linear(8, 5))

    def forward(self, x: Tensor) -> Tensor:
        h = self.word((x[:, :3] * 3).long() % 7).mean(1)
        h = torch.tanh(self.twice(torch.tanh(self.twice(h))))
        made: Tensor = h + checkpoint(self.block, h, use_reentrant=False)
        return made @ self.word.weight.T


class Onesided(nn.Module):
    """A head that one side alone uses: examples whose first number is large."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.one, self.other = nn.Linear(6, 4), nn.Linear(4, 7), nn.Linear(4, 7)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = torch.tanh(self.body(x))
        made: Tensor = self.one(h) if bool((x[:, 0] > 5).all()) else self.other(h)
        return made


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 9, bias=False), nn.Tanh(), nn.Linear(9, 7))


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 9), nn.BatchNorm1d(9), nn.Dropout(0.3), nn.GELU(), nn.Linear(9, 7))


def spectral() -> nn.Module:
    first = nn.utils.parametrizations.spectral_norm(nn.Linear(6, 9))
    return nn.Sequential(first, nn.Tanh(), nn.LayerNorm(9), nn.Linear(9, 7))


def wide() -> nn.Module:
    """Tensors beyond what is read in one piece."""
    return nn.Sequential(nn.Linear(6, 300), nn.Tanh(), nn.Linear(300, 300), nn.Tanh(), nn.Linear(300, 7))


MODELS: dict[str, tuple[Callable[[], nn.Module], bool]] = {  # and whether it is trained or evaluated
    "plain": (plain, False),
    "normed": (normed, False),
    "normed, training": (normed, True),
    "spectral, training": (spectral, True),
    "tied": (Tied, False),
    "tied, training": (Tied, True),
    "one-sided": (Onesided, False),
    "wide": (wide, False),
}
MICRO = {"whole": (1, 1), "retain in 3": (1, 3), "forget in 2": (2, 1), "both": (2, 3)}
BY_MODEL: dict[str, Callable[[], Rule]] = {
    "hamu_q": lambda: rules.HAMU("forget", ratio=0.5, blocks="model"),
    "hamu_u": lambda: rules.HAMU("retain", ratio=0.5, blocks="model"),
    "surgery": lambda: rules.UnilateralSurgery(0.1),
    "pcgrad": lambda: rules.PCGrad(),
    "munba": lambda: rules.Nash(),
    "eupmu": lambda: rules.EUPMU(-3.0, 5.0),
    "eupmu, same batch": lambda: rules.EUPMU(-3.0, 5.0, estimator="same_batch"),
    "eupmu_compat": lambda: rules.EUPMU.compat(log="both"),
    "pdu": lambda: rules.PDU(epsilon=0.5),
    "fixed": lambda: rules.Fixed(1.0, 2.0),
    "ascent": lambda: rules.Fixed(1.0, 0.0),
    "alternating": lambda: rules.Alternating(),
}
BY_BLOCK: dict[str, Callable[[], Rule]] = {
    "hamu_q by tensor": lambda: rules.HAMU("forget", ratio=0.5, blocks="tensor"),
    "hamu_u jointly by layer": lambda: rules.HAMU("retain", ratio=0.5, blocks="layer", split="joint"),
    "surgery by tensor": lambda: rules.UnilateralSurgery(0.1, blocks="tensor"),
}
STEPS: dict[str, Callable[[nn.Module], Stepper]] = {
    "sgd": lambda m: OptimizerStep(torch.optim.SGD(m.parameters(), 0.05, momentum=0.9)),
    "adam, clipped": lambda m: OptimizerStep(torch.optim.AdamW(m.parameters(), 1e-2, weight_decay=0.1), clip=0.5),
    "trust": lambda m: TrustRegion(start=0.05, budget=0.02),
}


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    make, training = MODELS[name]
    return make().double().train(training)


def pairs(micro: tuple[int, int], steps: int = 3) -> list[Pair]:
    generator = torch.Generator().manual_seed(1)
    made = []
    for step in range(steps):
        x, y = (
            torch.randn(18, 6, dtype=torch.float64, generator=generator),
            torch.randint(7, (18,), generator=generator),
        )
        x[:7, 0] += 10
        sides = [(x[:7], y[:7]), (x[7:], y[7:])]
        cut = [
            tuple(zip(*(t.tensor_split(n) for t in side), strict=True)) for side, n in zip(sides, micro, strict=True)
        ]
        made.append(Pair(*cut, seed=step))
    return made


def outcome(model: nn.Module, memory: Memory, rule: Rule, step: Stepper, given: list[Pair]) -> dict[str, Any]:
    """A few steps, and everything that came of them."""
    objectives = Objectives(model, LOSSES, memory=memory)
    records = [step.take(number, rule, objectives.at(pair)) for number, pair in enumerate(given, 1)]
    assert all(p.grad is None for p in model.parameters()), "nothing is left behind"
    return {
        "model": copy.deepcopy(model.state_dict()),
        "losses": torch.stack([r.step.losses for r in records]),
        "gramian": torch.cat([r.step.gramian for r in records if r.step.gramian is not None] or [torch.zeros(1)]),
        "notes": [r.note for r in records],
        "lr": torch.tensor([r.lr for r in records]),
        "rule": rule.state_dict(),
        "moved": any(r.accepted for r in records),
    }
