"""What is wrong with an answer is told before a step, of which set and which rows, wherever it stands."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import unweave
from tests._kinds import kind
from unweave.contract.observer import Observer
from unweave.errors import ConfigurationError, of_set
from unweave.samples import Sample
from unweave.tasks import Classification, Dense

CONTRACT = unweave.Contract(forget=[unweave.Forget("unseen")])


def given(name: str) -> dict[str, Any]:
    """Forget, retain (beyond what a guard's sample holds) and holdout examples of a kind of task."""
    it = kind(name)
    x, y = it.retain.tensors
    x = torch.cat([x, x + 1e-3]) if x.is_floating_point() else x
    y = torch.cat([y, y]) if x.is_floating_point() else y
    return {"forget": it.forget, "retain": TensorDataset(x, y), "holdout": it.test}


def spoilt(data: TensorDataset, row: int, value: Any) -> TensorDataset:
    x, y = data.tensors
    y = y.clone()
    y[row] = value
    return TensorDataset(x, y)


@pytest.mark.parametrize("side", ["forget", "retain", "holdout"])
@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("segmentation", -100, "a place that counts; found none in 1 of"),
        ("segmentation", 3, "below 3, or -100 where a place does not count; found 3"),
        ("tokens", -1, "below 3, or -100 where a place does not count; found -1"),
        ("multilabel", 2, "0 or 1, or -100 where nothing is known; found 2"),
        ("multilabel", -100, "needs a label that is known; found none in 1 of"),
        ("regression", torch.nan, "targets must be finite; found NaN or infinity in 1 of"),
        ("binary", 2, "labels"),
    ],
)  # fmt: skip
def test_a_set_and_its_rows_are_named(name: str, value: Any, says: str, side: str) -> None:
    sets, it = given(name), kind(name)
    if name == "binary":
        sets = {key: TensorDataset(data.tensors[0], data.tensors[1].long()) for key, data in sets.items()}
    row = len(sets[side]) - 7
    sets[side] = spoilt(sets[side], row, value)
    with pytest.raises(ConfigurationError) as refused:
        unweave.unlearn(it.original(), **sets, task=it.task, contract=CONTRACT, steps=3)
    (fault,) = refused.value.faults
    assert fault.startswith(f"{side}: ") and says in fault
    assert f"{side}[{row}]" in fault or f"row {row} has 2" in fault


def test_what_a_task_is_guessed_from_is_named() -> None:
    sets = given("regression")
    sets["holdout"] = spoilt(sets["holdout"], 31, torch.nan)
    with pytest.raises(ConfigurationError, match=r"holdout: .* not finite on 1 of 100 .* First: holdout\[31\]"):
        unweave.unlearn(kind("regression").original(), **sets, contract=CONTRACT, steps=3)


def test_inputs_that_are_not_finite_are_no_answers() -> None:
    sets, it = given("regression"), kind("regression")
    x, y = sets["forget"].tensors
    x = x.clone()
    x[3, 0] = torch.inf
    with pytest.raises(ConfigurationError, match=r"forget: the inputs of 1 of 40 .*forget\[3\]"):
        unweave.unlearn(it.original(), forget=TensorDataset(x, y), retain=sets["retain"], task=it.task, steps=3)


def test_rows_of_a_batch_are_those_of_the_set() -> None:
    with pytest.raises(ConfigurationError, match=r"^final: two are odd\. First: final\[30\], final\[50\]\.$"):  # noqa: SIM117
        with of_set("final", [10, 20, 30, 40, 50]):
            raise ConfigurationError("two are odd.", [2, 4])


class Pixels(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([-x, x], 1)


def test_a_look_says_whose_batch_it_could_not_read() -> None:
    labels = torch.zeros(9, 4, dtype=torch.long)
    labels[7] = -100
    data = TensorDataset(torch.randn(9, 4), labels)
    look = Observer(Dense(classes="first"), {"final": Sample(data, batch=2)}, {"final": {"loss": "loss"}})
    with pytest.raises(ConfigurationError, match=r"^final: every example .* First: final\[7\]\.$"):
        look.see(Pixels(), ["final"])
    other = Observer(Classification(), {"guard": Sample(data, batch=2)}, {"guard": {"loss": "loss"}})
    with pytest.raises(ConfigurationError, match=r"^guard: "):
        other.see(Pixels(), ["guard"])


@pytest.mark.filterwarnings("ignore::unweave.GuardWarning")
@pytest.mark.parametrize("name", ["regression", "multilabel", "segmentation"])
def test_a_forget_set_that_is_as_unknown_as_unseen_examples_is_told(name: str) -> None:
    """Nothing is said of what was learned by heart."""
    it = kind(name)
    x, y = it.test.tensors
    order = it.task.nll(it.model, (x, y)).argsort(descending=True)
    unknown, unseen = (TensorDataset(x[rows], y[rows]) for rows in (order[:50], order[50:]))
    told = []
    for forget, holdout in ((it.forget, it.test), (unknown, unseen)):
        sides = {"forget": forget, "retain": it.retain, "holdout": holdout}
        told.append(unweave.unlearn(it.original(), **sides, task=it.task, contract=CONTRACT, steps=1).warnings)
    words = ("knows nothing of them", "does not fit the forget set")
    says = [[text for text in each if any(word in text for word in words)] for each in told]
    assert [len(each) for each in says] == [0, 1], told


@pytest.mark.filterwarnings("ignore::unweave.GuardWarning")
@pytest.mark.parametrize("name", ["multilabel", "segmentation", "tokens"])
def test_a_forget_set_that_does_not_fit_is_told_without_a_holdout(name: str) -> None:
    it = kind(name)
    x, y = it.retain[:30]
    other = 1 - y if name == "multilabel" else torch.where(y == -100, y, (y + 1) % 3)
    result = unweave.unlearn(it.original(), forget=TensorDataset(x, other), retain=it.forget, task=it.task, steps=1)
    assert any("does not fit the forget set" in text for text in result.warnings), result.warnings
