"""What is measured on is not trained on, and a forget loss that looks ahead leaves buffers alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import Subset, TensorDataset

import unweave
from unweave.errors import ConfigurationError
from unweave.evaluation import score
from unweave.tasks import Classification, Dense, guessed

torch.manual_seed(0)
DATA = TensorDataset(torch.randn(200, 6), torch.randint(0, 2, (200,)))
FORGET, RETAIN = Subset(DATA, range(30)), Subset(DATA, range(30, 160))


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2)).eval()


@pytest.mark.parametrize("name", ["holdout", "guard", "final"])
def test_a_set_that_steps_train_on_measures_nothing(name: str) -> None:
    unseen = Subset(DATA, range(160, 200))
    for shared, first in ((FORGET, "forget[0]"), (Subset(DATA, [170, 31]), "retain[1]")):
        with pytest.raises(ConfigurationError) as caught:
            unweave.unlearn(
                model(), forget=FORGET, retain=RETAIN, contract=unweave.Contract(), **{"holdout": unseen, name: shared}
            )
        assert f"{name}: expected examples that no step trains on" in str(caught.value) and first in str(caught.value)


@pytest.mark.filterwarnings("ignore::unweave.guards.GuardWarning")
def test_a_relearner_leads_a_network_with_batch_norm() -> None:
    whole = model()
    before = [buffer.clone() for buffer in whole.buffers()]
    result = unweave.unlearn(whole, forget=FORGET, retain=RETAIN, relearner=4, steps=3)
    assert result.reason == "steps used up" and result.steps == 3
    assert all(a.equal(b) for a, b in zip(result.model.buffers(), before, strict=True))


def test_a_task_in_words_is_no_task_to_score() -> None:
    for task in ("regression", Classification):
        with pytest.raises(ConfigurationError, match=r"expected an object with nll"):
            score(model(), task, forget=FORGET, retain=RETAIN, test=RETAIN)  # type: ignore[arg-type]


def test_classes_that_may_stand_first_or_last_are_asked_for() -> None:
    net, batch = nn.Conv1d(4, 4, 1), (torch.randn(5, 4, 4), torch.randint(0, 4, (5, 4)))
    with pytest.raises(ConfigurationError, match=r"first or last: say which"):
        Dense().nll(net, batch)
    assert Dense(classes="first").nll(net, batch).shape == (5,)


def test_one_hot_masks_are_not_guessed_to_be_independent_places() -> None:
    labels = torch.nn.functional.one_hot(torch.randint(0, 3, (5, 4, 4)), 3).movedim(-1, 1)
    with pytest.raises(ConfigurationError, match=r"answers.argmax\(1\)"):
        guessed(nn.Conv2d(2, 3, 1), [(torch.randn(5, 2, 4, 4), labels)])


@pytest.mark.parametrize("given", [{"relearner": 2}, {"until": 3.0}])
def test_a_method_without_steps_has_no_forget_loss_to_end_or_to_read_elsewhere(given: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="takes no steps along a forget loss"):
        unweave.unlearn(model(), forget=FORGET, retain=RETAIN, method="ssd", **given)  # type: ignore[arg-type]
