"""What is alive at the highest point of a step, in sizes of the weights: bytes are counted, not sampled."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from benchmarks.live_bytes import Live
from torch import nn

from tests.streaming._problems import LOSSES
from unweave import rules
from unweave.data.pairs import Pair
from unweave.loop import OptimizerStep
from unweave.objectives import Objectives
from unweave.rules import Rule
from unweave.streaming import Memory
from unweave.trust import TrustRegion

LAYERS, WIDTH = 12, 384
ROOM = 0.4  # of a size: the gradients of two layers, one of each of two graphs, and a piece of one in float64
TENSOR: dict[str, Callable[[], Rule]] = {"hamu": lambda: rules.HAMU(blocks="tensor")}
MODEL: dict[str, Callable[[], Rule]] = {"hamu, model": lambda: rules.HAMU(blocks="model"), "pcgrad": rules.PCGrad}
ADDED: dict[str, Callable[[], Rule]] = {"eupmu": rules.EUPMU, "fixed": lambda: rules.Fixed(1.0, 1.0)}
SIZES: dict[Memory, tuple[int, dict[str, Callable[[], Rule]]]] = {
    "fast": (3, TENSOR | MODEL),
    "lean": (2, TENSOR | MODEL | ADDED),
    "least": (1, MODEL | ADDED),
}
CASES = [(memory, name) for memory, (_, able) in SIZES.items() for name in able]


def peak(rule: Rule, memory: Memory, region: bool, micro: int = 1) -> float:
    torch.manual_seed(0)
    layers = [m for _ in range(LAYERS) for m in (nn.Linear(WIDTH, WIDTH, bias=False), nn.Tanh())]
    model = nn.Sequential(*layers)
    x, y = torch.randn(2, 2, WIDTH), torch.randint(WIDTH, (2, 2))
    sides = [list(zip(x[i].split(2 // micro), y[i].split(2 // micro), strict=True)) for i in range(2)]
    objectives = Objectives(model, LOSSES, memory=memory).at(Pair(*sides))
    step = TrustRegion() if region else OptimizerStep(torch.optim.SGD(model.parameters(), 1e-3))
    if isinstance(step, TrustRegion):
        step.place = "disk"
    live = Live()
    live.add([*model.parameters()])
    with live:
        record = step.take(1, rule, objectives)
    assert record.accepted
    return live.peak / sum(4 * p.numel() for p in model.parameters())


@pytest.mark.parametrize("region", [False, True], ids=["sgd", "trust region, its copy on disk"])
@pytest.mark.parametrize(("memory", "name"), CASES)
def test_a_step_holds_the_weights_and_the_gradients_that_are_kept(memory: Memory, name: str, region: bool) -> None:
    size, able = SIZES[memory]
    assert size <= peak(able[name](), memory, region) <= size + ROOM


@pytest.mark.parametrize("memory", ["lean", "least"])
def test_micro_batches_change_nothing(memory: Memory) -> None:
    """But that four graphs wait for each other, not two."""
    assert peak(rules.PCGrad(), memory, False, micro=2) <= SIZES[memory][0] + ROOM + 2 / LAYERS


def test_ofmu_forms_no_vectors() -> None:
    """Weights, those before the inner loop and before a difference, both gradients, and a product."""
    assert peak(rules.OFMU(), "fast", False) <= 6 + ROOM
