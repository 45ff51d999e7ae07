"""Where a forget loss ends for each example, as the call and a recipe say it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import unweave
from tests._toys import memorised, unseen
from tests.api._problems import FEW
from unweave import ConfigurationError, Contract, Forget, Method
from unweave.contract.sets import halves
from unweave.losses import END, NPO, Ascent, Until
from unweave.modalities import read
from unweave.oneshot import OneShot
from unweave.rules import Fixed
from unweave.tasks import Vision
from unweave.unlearning import Settings, Unlearning, assembled, kept

QUIET = pytest.mark.filterwarnings("ignore::unweave.GuardWarning")


def losses(model: nn.Module, data: TensorDataset) -> Tensor:
    with torch.no_grad():
        return Vision().nll(model.eval(), data.tensors).double()


def many(count: int = 400) -> TensorDataset:
    """More unseen examples: enough to be divided, half of which is harder."""
    inputs, labels = unseen().tensors
    times = -(-count // len(inputs))
    return TensorDataset(inputs.repeat(times, 1)[:count], labels.repeat(times)[:count])


class Squared:
    """A task that is no likelihood."""

    unit = "squared error"

    def nll(self, model: nn.Module, batch: Any) -> torch.Tensor:
        return (model(batch[0]).gather(1, batch[1][:, None])[:, 0] - 1) ** 2

    def divergence(self, model: nn.Module, reference: nn.Module, batch: Any) -> torch.Tensor:
        return ((model(batch[0]) - reference(batch[0])) ** 2).sum(1)


def parts(until: Any = "auto", contract: Contract | None = None, task: Any = None, **more: Any) -> Unlearning:
    model, forget, retain = memorised()
    does, settings = task or Vision(), Settings(until=until)
    given = {"guard": unseen(), **more}
    left, keeper = kept(contract, does, forget, retain, settings, given) if contract else (retain, None)
    return assembled(model, does, forget, left, settings, keeper=keeper, holdout=more.get("holdout"))


def ended(made: Unlearning, loss: Any) -> float | None:
    """The level at which the forget loss ends, once the parts have been completed."""
    with made.ready():
        made.make(Method(loss, made.task.nll, Fixed(), "a test"), lambda model, _: unweave.TrustRegion(), check=False)
    found = made.method.forget
    return found.level if isinstance(found, Until) else None


def test_plain_ascent_ends_far_out_and_other_losses_do_not() -> None:
    task = Vision()
    assert ended(parts(), Ascent(task.nll)) == END == 20.0
    assert ended(parts(), NPO(task, memorised()[0])) is None
    assert ended(parts(None), Ascent(task.nll)) is None
    assert ended(parts(3.5), NPO(task, memorised()[0])) == 3.5
    assert ended(parts(task=Squared()), Ascent(Squared().nll)) is None


@pytest.mark.parametrize(("asked", "level"), [(4.0, 20.0), (15.0, 30.0)])
def test_an_end_never_stands_in_the_way_of_a_clause(asked: float, level: float) -> None:
    contract = Contract(forget=[Forget("loss", at_least=asked)])
    assert ended(parts(contract=contract), Ascent(Vision().nll)) == level


def test_nor_of_one_that_compares_with_unseen_examples_which_move_along() -> None:
    contract = Contract(forget=[Forget("unseen")])
    assert ended(parts(contract=contract, holdout=unseen()), Ascent(Vision().nll)) is None
    assert ended(parts(7.0, contract=contract, holdout=unseen()), Ascent(Vision().nll)) == 7.0


def test_unseen_is_the_median_of_the_half_of_the_holdout_that_steers() -> None:
    for data, every in ((TensorDataset(*unseen()[:50]), 1), (many(), 1), (many(1400), 2)):
        made = parts("unseen", holdout=data)
        rows = halves(data, 0)[0]
        assert (rows is None) == (len(data) == 50)
        steers = data if rows is None else TensorDataset(*data[rows[::every]])  # 500 at most are read
        expected = float(losses(made.model, steers).quantile(0.5))
        assert len(steers) <= 500
        assert ended(made, Ascent(Vision().nll)) == pytest.approx(expected, rel=1e-6)


def test_unseen_needs_examples_that_no_model_saw() -> None:
    with pytest.raises(ConfigurationError, match="pass holdout="):
        ended(parts("unseen"), Ascent(Vision().nll))


@pytest.mark.parametrize("until", [3.0, "unseen"])
def test_what_has_no_forget_loss_has_no_end(until: Any) -> None:
    model, forget, retain = memorised()
    with pytest.raises(ConfigurationError, match="this method has none: leave"):
        unweave.unlearn(model, forget=forget, retain=retain, method="finetune", until=until, **FEW)


@QUIET
def test_the_repair_after_a_method_without_steps_ends_too() -> None:
    made = parts(2.5)
    with made.ready():
        made.make(OneShot("ssd"), lambda model, _: unweave.TrustRegion(), check=False)
    assert isinstance(made.method.forget, Until) and made.method.forget.level == 2.5


@QUIET
def test_the_call_takes_a_holdout_for_the_end_alone_and_reaches_its_level() -> None:
    model, forget, retain = memorised()
    call = {"forget": forget, "retain": retain, "method": "hamu_q", **FEW, "steps": 60}
    result = unweave.unlearn(model, **call, holdout=unseen(), until="unseen")
    level = float(losses(model, unseen()).quantile(0.5))
    assert result.history[-1].step.losses[0] > -2 * level
    free = unweave.unlearn(model, **call, until=None)
    assert free.history[-1].step.losses[0] < -2 * level


@pytest.mark.parametrize("wrong", [0, -1.0, float("inf"), float("nan"), True, "seen", [2.0]])
def test_what_is_no_level_is_refused(wrong: Any) -> None:
    model, forget, retain = memorised()
    with pytest.raises(ConfigurationError, match="until must be a number in"):
        unweave.unlearn(model, forget=forget, retain=retain, until=wrong, **FEW)


def test_a_recipe_says_it_too(tmp_path: Path) -> None:
    from unweave.recipe.recipe import Recipe

    content = {"data": {"source": "digits"}, "forget": {"random": 0.1}}
    for written, meant in ((None, None), (7.5, 7.5), ("unseen", "unseen"), ("auto", "auto")):
        assert Recipe.model_validate({**content, "run": {"until": written}}).run.until == meant
    with pytest.raises(ValueError, match="until"):
        Recipe.model_validate({**content, "run": {"until": 0}})


@pytest.mark.parametrize(
    ("method", "until", "refused"),
    [("finetune", 3, True), ("finetune", "unseen", True), ("finetune", "auto", False)],
)
def test_a_recipe_with_nothing_to_end_is_refused_before_anything_is_trained(
    tmp_path: Path, method: str, until: Any, refused: bool
) -> None:
    path = tmp_path / "recipe.yaml"
    written = [
        "data: {source: digits}",
        "forget: {random: 0.1}",
        f"method: {{name: {method}}}",
        f"run: {{until: {until}}}",
    ]
    path.write_text("\n".join(written))
    if not refused:
        assert read(path).run.until == until
        return
    with pytest.raises(ConfigurationError) as caught:
        read(path)
    assert caught.value.faults == [
        f"recipe.yaml:4: run.until: {method} has no forget loss that could end: leave it out"
    ]
