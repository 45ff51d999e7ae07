"""A loss that is in no nats has no scale of its own: the same loss in another unit gives the same run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

import unweave
from tests._toys import memorised, weights
from unweave.contract import Contract, Forget, Keep
from unweave.methods import METHODS
from unweave.repair import Repair
from unweave.trust import BUDGET, RELATIVE, TrustRegion, tolerance
from unweave.unlearning import Settings, assembled


@dataclass
class Brier:
    """Half the squared distance of the probabilities from the label, in some unit."""

    scale: float
    unit: str = "squared error"

    def nll(self, model: nn.Module, batch: Any) -> Tensor:
        p = model(batch[0]).double().softmax(1)
        return self.scale * 0.5 * (p - nn.functional.one_hot(batch[1], p.shape[1])).square().sum(1)

    def divergence(self, model: nn.Module, reference: nn.Module, batch: Any) -> Tensor:
        return self.scale * (model(batch[0]).softmax(1) - reference(batch[0]).softmax(1)).square().sum(1)


def run(task: Brier, contract: bool) -> unweave.Result:
    model, forget, retain = memorised()
    keep = Keep("loss", absolute=0.1 * task.scale, clip=task.scale)
    ends = Contract(keep=[keep], forget=[Forget("loss", at_least=0.03 * task.scale)], every=2)
    call = {"forget": forget, "retain": retain, "forget_batch": 15, "retain_batch": 70, "steps": 24}
    return unweave.unlearn(model, task=task, **call, **({"contract": ends} if contract else {"repair": True}))


@pytest.mark.filterwarnings("ignore::unweave.GuardWarning")
@pytest.mark.parametrize("contract", [False, True], ids=["steps", "contract"])
def test_another_unit_gives_the_same_run(contract: bool) -> None:
    """4096 is a power of two: float arithmetic is the same but for absolute constants."""
    small, large = run(Brier(1.0), contract), run(Brier(4096.0), contract)
    phases = [record.phase for record in small.history]
    assert phases == [record.phase for record in large.history] and {"push", "repair"} <= set(phases)
    notes = [record.note.split(":")[0] for record in small.history]
    assert notes == [record.note.split(":")[0] for record in large.history]
    for one, other in zip(weights(small.model), weights(large.model), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    if not contract:  # in nats the budget has a scale
        nats = run(Brier(4096.0, "nats"), contract)
        assert any(not a.allclose(b, atol=1e-3) for a, b in zip(weights(nats.model), weights(small.model), strict=True))


@pytest.mark.parametrize("origin", [-2.0, 0.0, 2.0])
def test_a_level_below_zero_leaves_a_budget_too(origin: float) -> None:
    """The nll of a density may be negative: a budget below 0 would refuse every step."""
    assert tolerance(origin, True) == BUDGET + RELATIVE * abs(origin) > 0
    region = TrustRegion()
    region.origin = origin
    assert region.tolerated == tolerance(origin, True)


def test_the_repair_of_an_optimizers_push_knows_the_unit_too() -> None:
    """Its region is the repair's own: it has to be told."""
    model, forget, retain = memorised()
    for task, nats in ((Brier(1.0), False), (Brier(1.0, "nats"), True)):
        parts = assembled(model, task, forget, retain, Settings(15, 70))
        repair = Repair(steps=2, share=0.9)
        with parts.ready():
            parts.make(METHODS["hamu_q"](task, model), lambda model, _: SGD(model.parameters(), 1e-3))
            parts.run(2, repair=repair)
        assert repair._region.nats is nats is repair.nats and repair._region.origin is not None
