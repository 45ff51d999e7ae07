"""What the guards find, the one call says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import unweave
from tests.guards._problems import CLASSES, WIDTH, data, right, shuffled, task, twins
from unweave.data.pairs import Batch
from unweave.rules import Fixed


def two(model: nn.Module, batch: Batch) -> Tensor:
    """Everything is of class 2."""
    return task.nll(model, (batch[0], torch.full_like(batch[1], 2)))


def test_it_warns_and_collects() -> None:
    model, forget = right(), data(20, 1)
    with pytest.warns(unweave.GuardWarning, match="There is nothing to keep") as caught:
        result = unweave.unlearn(model, forget=forget, retain=data(400, labels=shuffled), steps=1)
    assert result.warnings == [str(warning.message) for warning in caught] and len(result.warnings) == 1


def test_it_is_silent_where_all_is_well() -> None:
    assert unweave.unlearn(right(), forget=data(20, 1), retain=data(), steps=3).warnings == []


def rough() -> nn.Module:
    """It knows the clouds, has a bias, and no weight of zero."""
    model = nn.Linear(WIDTH, CLASSES)
    with torch.no_grad():
        model.weight.copy_(torch.eye(CLASSES, WIDTH) + 0.1)
        model.bias.fill_(0.1)
    return model


def test_a_step_that_rounds_to_nothing() -> None:
    asked = {"forget": data(20, 1), "retain": data(), "method": "finetune", "steps": 1}
    with pytest.warns(unweave.GuardWarning):
        result = unweave.unlearn(rough(), step=lambda ps: torch.optim.SGD(ps, 1e-30), **asked)
    assert [text.partition(":")[0] for text in result.warnings] == ["step length", "THE RUN CHANGED NOTHING"]
    assert unweave.unlearn(rough(), step=lambda ps: torch.optim.SGD(ps, 1e-2), **asked).warnings == []


def test_a_model_that_collapsed() -> None:
    asked = {"forget": data(20, 1), "retain": data(), "steps": 1, "parameters": "bias"}
    method = unweave.Method(two, None, Fixed(), "a test")
    with pytest.warns(unweave.GuardWarning, match="THE MODEL COLLAPSED: it predicts class 2"):
        unweave.unlearn(rough(), method=method, step=lambda ps: torch.optim.SGD(ps, 1e3), **asked)
    assert unweave.unlearn(rough(), method=method, step=lambda ps: torch.optim.SGD(ps, 1e-1), **asked).warnings == []


def test_a_step_too_short_to_tell() -> None:
    asked = {"forget": data(20, 1), "retain": data(), "method": "finetune", "steps": 2}
    with pytest.warns(unweave.GuardWarning):
        result = unweave.unlearn(rough(), step=lambda ps: torch.optim.SGD(ps, 1e-6), **asked)
    assert result.warnings[-1].startswith("THE RUN CHANGED NO SCORE")


def test_a_run_without_a_step_changed_nothing() -> None:
    method = unweave.METHODS["hamu_q"](task, right(), rate=1e6)
    with pytest.warns(unweave.GuardWarning, match="THE RUN CHANGED NOTHING"):
        result = unweave.unlearn(right(), forget=data(20, 1), retain=data(), method=method)
    assert not result.steps and result.reason.startswith("infeasible") and len(result.warnings) == 1
    assert unweave.unlearn(right(), forget=data(20, 1), retain=data(), steps=0).warnings == []


def test_a_run_that_diverged_after_its_first_steps() -> None:
    asked = {"forget": data(20, 1), "retain": data(), "method": "graddiff"}
    with pytest.warns(unweave.GuardWarning, match="diverged: 5 steps in a row"):
        result = unweave.unlearn(rough(), step=lambda ps: torch.optim.SGD(ps, 1e38), **asked)
    assert result.steps and f"the model is what {result.steps} earlier steps left, not the original" in result.reason
    with pytest.warns(unweave.GuardWarning, match=r"THE MODEL COLLAPSED: its mean loss on 80 .* is .*e\+.* nats"):
        unweave.unlearn(rough(), step=lambda ps: torch.optim.SGD(ps, 1e20), steps=2, **asked)


def test_near_duplicates_are_looked_for_when_asked() -> None:
    forget, retain = twins(5, 0.01)
    with pytest.warns(unweave.GuardWarning, match="near-duplicates: 5 of 12"):
        unweave.unlearn(right(), forget=forget, retain=retain, steps=1, guards=unweave.Guards("pixels"))
    assert unweave.unlearn(right(), forget=forget, retain=retain, steps=1).warnings == []
