"""A forget loss that is read where a relearner leads, as the call and a recipe say it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import unweave
from tests._toys import memorised
from tests.api._problems import FEW
from unweave import ConfigurationError, Method
from unweave.execution import seeded
from unweave.losses import Ascent, Relearned, Until
from unweave.modalities import read
from unweave.oneshot import OneShot
from unweave.rules import Fixed
from unweave.tasks import Vision
from unweave.unlearning import Settings, assembled

QUIET = pytest.mark.filterwarnings("ignore::unweave.GuardWarning")


def forget_loss(relearner: int, method: Method | OneShot | None = None, **more: Any) -> Any:
    """What a run descends on the forget side, once its parts have been completed."""
    model, forget, retain = memorised()
    task = Vision()
    made = assembled(model, task, forget, retain, Settings(relearner=relearner, **more))
    with made.ready():
        plain = Method(Ascent(task.nll), task.nll, Fixed(), "a test")
        made.make(method or plain, lambda model, _: unweave.TrustRegion(), check=False)
    return made.method.forget


def test_the_loss_with_its_end_is_read_where_the_relearner_leads() -> None:
    found = forget_loss(3, until=2.5)
    assert isinstance(found, Relearned) and found.steps == 3
    assert isinstance(found.loss, Until) and found.loss.level == 2.5, "the end is where the relearner is"
    assert isinstance(forget_loss(0), Until), "ascent ends far out, and nothing leads anywhere"
    model, forget, _ = memorised()
    task = Vision()
    expected = Relearned(Until(Ascent(task.nll), task, 2.5), task, 3)
    values = []
    for of in (found, expected):
        with seeded(0):
            values.append(of(model, forget.tensors))
    assert values[0].equal(values[1]) and values[0].any()


@QUIET
def test_the_repair_after_a_method_without_steps_has_it_too() -> None:
    assert isinstance(forget_loss(2, OneShot("ssd")), Relearned)


@QUIET
def test_the_call_reads_the_forget_side_there_and_the_retain_side_where_the_model_stands() -> None:
    first = []
    for relearner in (0, 4):
        model, forget, retain = memorised()
        result = unweave.unlearn(model, forget=forget, retain=retain, relearner=relearner, **FEW)
        first.append(result.history[0].step.losses)
    assert first[0][0] != first[1][0] and first[0][1] == first[1][1]


@pytest.mark.parametrize("wrong", [-1, 1.5, True, "auto", None])
def test_what_is_no_number_of_steps_is_refused(wrong: Any) -> None:
    model, forget, retain = memorised()
    with pytest.raises(ConfigurationError, match="relearner must be"):
        unweave.unlearn(model, forget=forget, retain=retain, relearner=wrong, **FEW)


def test_what_has_no_forget_loss_is_refused() -> None:
    model, forget, retain = memorised()
    with pytest.raises(ConfigurationError, match="relearner: reads the forget loss"):
        unweave.unlearn(model, forget=forget, retain=retain, method="finetune", relearner=2, **FEW)


@pytest.mark.parametrize(("method", "refused"), [("finetune", True), ("hamu_q", False)])
def test_a_recipe_says_it_and_is_refused_before_anything_is_trained(tmp_path: Path, method: str, refused: bool) -> None:
    path = tmp_path / "recipe.yaml"
    written = ["data: {source: digits}", "forget: {random: 0.1}", f"method: {{name: {method}}}", "run: {relearner: 4}"]
    path.write_text("\n".join(written))
    if not refused:
        assert read(path).run.relearner == 4
        return
    with pytest.raises(ConfigurationError) as caught:
        read(path)
    assert caught.value.faults == [
        f"recipe.yaml:4: run.relearner: {method} has no forget loss to read where a relearner leads: leave it out"
    ]


@QUIET
@pytest.mark.parametrize("few", [2, 3])
def test_halves_of_one_are_refused_where_a_norm_minds(few: int) -> None:
    """BatchNorm in training mode takes no half of one example; as the model is evaluated it does."""
    _, forget, retain = memorised()
    width = forget.tensors[0].shape[1]
    model = nn.Sequential(nn.Linear(width, 8), nn.BatchNorm1d(8), nn.Linear(8, 10))
    sides = {"forget": TensorDataset(*forget[:few]), "retain": retain}
    with pytest.raises(ConfigurationError, match=r"forget: BatchNorm .* each half of a micro-batch, as the relearner"):
        unweave.unlearn(model, **sides, train_mode=True, relearner=2, steps=1)  # type: ignore[arg-type]
    assert unweave.unlearn(model, **sides, relearner=2, steps=1).steps == 1  # type: ignore[arg-type]
    assert unweave.unlearn(model, **sides, train_mode=True, steps=1).steps == 1  # type: ignore[arg-type]


@QUIET
def test_a_forget_batch_of_one_has_no_halves() -> None:
    """Told before a step, also where it is only the last batch of a loader."""
    model, forget, retain = memorised()
    for given in (TensorDataset(*forget[:1]), DataLoader(TensorDataset(*forget[:3]), 2)):
        with pytest.raises(ConfigurationError, match=r"relearner: .* smallest has one example"):
            unweave.unlearn(model, forget=given, retain=retain, relearner=2, steps=1)
