"""The one call on a diffusion model: steps, budgets, ends, repair and contract in a unit that is no likelihood's."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import unweave
from tests._denoising import linear
from tests.catalogue.test_methods_on_diffusion import CLASSES, Images, Plain, called
from unweave import Contract, Diffusion, Forget, Keep
from unweave.execution import seeded
from unweave.loop import Result

TASK = Diffusion(linear(200), null=CLASSES, dropout=0.1, call=called)


class Random(Images):
    """Nothing but noise under a class: what can only be learned by heart."""

    def __init__(self, count: int, seed: int) -> None:
        super().__init__(torch.zeros(count).long(), seed)
        self.x0 = torch.randn(self.x0.shape, generator=torch.Generator().manual_seed(seed)).sign()


FORGET, UNSEEN = Random(8, 3), Random(60, 4)
RETAIN = Images(torch.arange(300) % 2 + 1, 5)


def whole(data: Images) -> dict[str, Tensor]:
    return {"x0": data.x0, "condition": data.condition}


@cache
def memorised() -> nn.Module:
    """It learned eight images of noise by heart, and two classes of blobs."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = Plain()
        model.net = nn.Sequential(nn.Linear(25, 96), nn.Tanh(), nn.Linear(96, 96), nn.Tanh(), nn.Linear(96, 16))
        optimizer = torch.optim.Adam(model.parameters(), 0.003)
        for _ in range(1200):
            rows = torch.randint(len(RETAIN), (32,))
            batch = {k: torch.cat((v, v, whole(RETAIN)[k][rows])) for k, v in whole(FORGET).items()}
            optimizer.zero_grad()
            TASK.nll(model, batch).mean().backward()
            optimizer.step()
    model.zero_grad()
    return model.eval()


def run(**more: Any) -> Result:
    given = {"method": "relabel_condition", "steps": 30, "forget_batch": 8, "retain_batch": 32}
    return unweave.unlearn(memorised(), forget=FORGET, retain=RETAIN, task=TASK, **{**given, **more})


def loss(model: nn.Module, data: Images) -> float:
    with torch.no_grad(), seeded(7):
        return float(TASK.nll(model, {k: v.repeat_interleave(20, 0) for k, v in whole(data).items()}).mean())


def test_a_membership_score_of_eight_looks_knows_what_was_learned_by_heart() -> None:
    model = memorised()
    with torch.no_grad(), seeded(1):
        known, unknown = (TASK.score(model, whole(data)) for data in (FORGET, UNSEEN))
    above = (known[:, None] > unknown[None]).double().mean()
    assert float(above) > 0.7


def test_unseen_does_not_end_a_run_before_its_first_step() -> None:
    result = run(contract=Contract(keep=(), forget=(Forget("unseen"),)), holdout=UNSEEN)
    assert result.history, result.reason
    assert loss(result.model, FORGET) > loss(memorised(), FORGET)


@pytest.mark.parametrize("method", ["relabel_condition", "esd", "hamu_q", "graddiff", "eupmu", "ofmu"])
def test_trust_region_steps_forget_and_keep(method: str) -> None:
    result = run(method=method)
    assert len(result.history) == 30
    assert loss(result.model, FORGET) > loss(memorised(), FORGET) + 0.005
    assert loss(result.model, RETAIN) < loss(memorised(), RETAIN) + 0.1


@pytest.mark.filterwarnings("ignore:THE RUN CHANGED NOTHING")  # a percent of it may leave no room
def test_the_default_keep_clause_is_the_loss_in_the_unit_of_the_task() -> None:
    result = run(contract=Contract(forget=(Forget("loss", at_least=2.0),)), steps=10)
    told = str(result.contract)
    assert re.search(r"keep +loss rises by at most [\d.]+ squared error", told) or "% of the original's" in told
    assert not re.search(r"\bnats\b|perplexity|accuracy", told)
    assert "forget loss at least 2 squared error" in told


def test_an_end_and_a_repair_are_in_that_unit_too() -> None:
    level = loss(memorised(), UNSEEN)
    result = run(method="graddiff", until=level, repair=True, steps=40)
    assert result.history
    assert not any("nats" in record.note for record in result.history)
    assert loss(result.model, FORGET) < 5 * level, "ascent has an end"


def test_a_kept_loss_is_kept() -> None:
    keep = Keep("loss", relative=0.5)
    result = run(contract=Contract(keep=(keep,), forget=()), steps=30)
    assert result.contract is not None
    assert loss(result.model, RETAIN) < 1.5 * loss(memorised(), RETAIN)
