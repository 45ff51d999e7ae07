"""What every kind of task does: the one call under its default contract, scores, guards, and what it says."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import unweave
from tests._kinds import KINDS, kind
from unweave.errors import ConfigurationError
from unweave.evaluation import score
from unweave.samples import read
from unweave.tasks import Dense, Known, guessed


@pytest.mark.parametrize("name", KINDS)
def test_the_call_forgets_under_the_default_contract(name: str) -> None:
    """The examples learned by heart are surprising afterwards, the others are kept, and a judge sees it."""
    it = kind(name)
    contract = unweave.Contract(forget=[unweave.Forget("loss", at_least=0.5)])
    sides = {"forget": it.forget, "retain": it.retain, "holdout": it.test}
    result = unweave.unlearn(it.original(), **sides, contract=contract, steps=60)  # type: ignore[arg-type]
    assert type(result.task) is type(it.task)
    assert result.contract is not None and result.contract.met, str(result.contract)
    sets = {"forget": it.forget, "retain": it.retain, "test": it.test}
    before, after = (score(model, it.task, **sets) for model in (it.model, result.model))
    was, now = (each["forget_loss"] for each in (before, after))
    assert was.value is not None and now.value is not None and now.low is not None and now.high is not None
    assert was.value < 0.45 < now.value and now.low <= now.value <= now.high


@pytest.mark.parametrize("name", ["regression", "multilabel", "segmentation"])
def test_unseen_is_the_default_and_told_of_its_signal(name: str) -> None:
    """By heart: the membership signal tells the forget set from unseen examples before, and less so afterwards."""
    it = kind(name)
    sides = {"forget": it.forget, "retain": it.retain, "holdout": it.test}
    result = unweave.unlearn(it.original(), **sides, contract=unweave.Contract(), task=it.task, steps=40)  # type: ignore[arg-type]
    assert result.contract is not None
    metrics = [(verdict.side, verdict.metric) for verdict in result.contract.verdicts]
    assert metrics == [("keep", Known(it.task).utility), ("forget", "unseen")]
    sets = {"forget": it.forget, "retain": it.retain, "test": it.test}
    before, after = (score(model, it.task, **sets)["MIA_AUC"].value or 0 for model in (it.model, result.model))
    assert after < before - 0.02 or before < 0.55, (before, after)


@pytest.mark.parametrize("name", KINDS)
def test_auto_takes_each_for_what_it_is(name: str) -> None:
    it = kind(name)
    found = guessed(it.model, list(read(it.test, 64, torch.device("cpu"))))
    assert type(found) is type(it.task)
    torch.testing.assert_close(it.task.nll(it.model, it.test[:5]).sign(), found.nll(it.model, it.test[:5]).sign())


@pytest.mark.parametrize("name", KINDS)
def test_a_loss_is_least_and_a_divergence_0_where_nothing_differs(name: str) -> None:
    it = kind(name)
    batch = it.retain[:30]
    other = it.original()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        own, away = (it.task.divergence(model, it.model, batch) for model in (it.model, other))
    assert own.shape == away.shape == (30,)
    assert float(own.abs().max()) < 1e-6 and float(away.min()) > -1e-6 and float(away.mean()) > 1e-4


@pytest.mark.parametrize("name", KINDS)
def test_each_example_has_its_own_loss_whatever_the_batch(name: str) -> None:
    it = kind(name)
    together = it.task.nll(it.model, it.test[:8])
    alone = torch.cat([it.task.nll(it.model, it.test[row : row + 1]) for row in range(8)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)
    known = Known(it.task)
    for value in known.values.values():
        both = (
            value.read(it.model, it.test[:8]),
            torch.cat([value.read(it.model, it.test[r : r + 1]) for r in range(8)]),
        )
        torch.testing.assert_close(*both, rtol=1e-5, atol=1e-6)
    if known.accuracy is not None:
        right = known.accuracy(it.model, it.test[:8])
        assert right.shape == (8,) and bool(((right >= 0) & (right <= 1)).all())


@pytest.mark.filterwarnings("ignore::unweave.GuardWarning")
@pytest.mark.parametrize("name", KINDS)
def test_a_model_that_has_learned_nothing_is_told(name: str) -> None:
    it = kind(name)
    lost = it.original()
    with torch.random.fork_rng([]):
        torch.manual_seed(3)
        for module in lost.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                module.reset_parameters()
    sides = {"forget": it.forget, "retain": it.retain}
    with pytest.warns(unweave.GuardWarning, match="(?i)no better than"):
        unweave.unlearn(lost, **sides, task=it.task, steps=1, guards=unweave.Guards())  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore::unweave.GuardWarning")
@pytest.mark.parametrize("name", [name for name in KINDS if name != "binary"])
def test_a_model_that_collapsed_is_told(name: str) -> None:
    """Its loss on the retain set is beyond that of one that knows nothing."""
    it = kind(name)

    def far(parameters: object) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=300.0)  # type: ignore[arg-type]

    with pytest.warns(unweave.GuardWarning, match="COLLAPSED|diverged"):
        unweave.unlearn(
            it.original(), forget=it.forget, retain=it.retain, task=it.task, step=far, steps=6,
            method="gradient_ascent", until=None,
        )  # fmt: skip


@pytest.mark.parametrize("name", ["regression"])
def test_clauses_that_a_task_has_not_are_refused_by_name(name: str) -> None:
    it = kind(name)
    for clause in (unweave.Forget("accuracy", at_most=0.1), unweave.Forget("retrained")):
        with pytest.raises(ConfigurationError, match=f"'{clause.metric}' is of classes.*It has: loss, unseen"):
            unweave.unlearn(
                it.original(), forget=it.forget, retain=it.retain, task=it.task,
                retrained=it.original(), contract=unweave.Contract(forget=[clause]),
            )  # fmt: skip


@pytest.mark.filterwarnings("ignore:THE RUN CHANGED NOTHING")
@pytest.mark.parametrize("name", ["multilabel", "segmentation"])
def test_accuracy_clauses_are_of_what_a_task_says(name: str) -> None:
    """`Forget("accuracy")` and "retrained" read `task.accuracy`; the keep clause does by default."""
    it = kind(name)
    contract = unweave.Contract(
        keep=[unweave.Keep("accuracy", absolute=0.2)], forget=[unweave.Forget("accuracy", at_most=0.75)]
    )
    result = unweave.unlearn(
        it.original(), forget=it.forget, retain=it.retain, task=it.task, contract=contract, steps=60
    )
    assert result.contract is not None and result.contract.met, str(result.contract)
    known = Known(it.task)
    assert known.accuracy is not None
    read_again = float(known.accuracy(result.model, it.forget.tensors).mean())
    told = result.contract.verdicts[-1].final
    assert told is not None and math.isclose(told.measured, read_again, abs_tol=1e-6) and read_again <= 0.75
    same = unweave.unlearn(
        it.original(), forget=it.forget, retain=it.retain, task=it.task, retrained=it.original(),
        contract=unweave.Contract(forget=[unweave.Forget("retrained", margin=0.4)]),
    )  # fmt: skip
    assert same.reason.startswith("nothing to forget")


def test_what_is_right_of_places_is_not_a_number_where_a_logit_is_not() -> None:
    logits, labels = torch.randn(3, 2, 4, 4), torch.ones(3, 4, 4, dtype=torch.long)
    logits[1, 0, 2, 2] = torch.nan
    for right in (Dense().accuracy, Dense().overlap):
        assert right(nn.Identity(), (logits, labels)).isnan().tolist() == [False, True, False]
