"""Under a contract, a rule whose hyperparameter is "auto" follows the budget; several runs share a first original."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests._toys import each_step, weights
from tests.contract._runs import Run, ascent, task
from unweave.contract import Contract, Forget, Keep
from unweave.errors import ConfigurationError
from unweave.loop import Record, unlearn
from unweave.methods import METHODS, Method
from unweave.rules import Step

LOOSE = Contract(keep=(Keep("loss", absolute=0.5, clip=2.0),), forget=(), every=4)


def made(name: str, **settings: Any) -> Method:
    return METHODS[name](task, torch.nn.Linear(1, 1), **settings)


def test_the_ratio_moves_with_what_steps_do() -> None:
    method = made("hamu_q", ratio="auto")
    run = Run(LOOSE, method)
    shares: list[float] = []
    result = run.go(20, callbacks=[each_step(lambda record, objectives: shares.append(method.rule.share))])  # type: ignore[attr-defined]
    assert result.contract is not None and result.contract.kept
    assert len(set(shares)) > 1 and all(0.02 <= share <= 0.4 for share in shares) and len(shares) == 20


@pytest.mark.parametrize("name", ["eupmu", "unilateral_surgery"])
def test_the_tolerance_is_the_budget_over_the_rest_of_the_run(name: str) -> None:
    method = made(name, tolerance="auto")
    run = Run(LOOSE, method)
    spent: list[float] = []

    def note(record: Any, objectives: Any) -> None:
        if record.lr > 0:
            expected = run.keeper.left * 0.5 / (record.lr * max(12 - record.number, 1))
            assert method.rule.allowed == pytest.approx(expected)  # type: ignore[attr-defined]
            spent.append(expected)

    result = run.go(12, callbacks=[each_step(note)])
    assert len(spent) >= 8 and result.contract is not None and result.contract.kept


def test_auto_without_a_contract_is_refused() -> None:
    run = Run(LOOSE)
    for method in (made("hamu_u", ratio="auto"), made("eupmu", tolerance="auto")):
        with pytest.raises(ConfigurationError, match="derived from a contract"):
            unlearn(run.model, method, run.pairs, run.stepper, steps=3)


def test_a_second_run_compares_with_the_first_original() -> None:
    """Each run alone may use the whole budget; together they may not."""
    contract = Contract(keep=(Keep("loss", absolute=0.3, clip=2.0),), forget=(), every=2, shrinks=1)
    first = Run(contract, ascent())
    used = [first.go(12).contract]
    second = Run(contract, ascent(), extra={"first": lambda: first.original})
    second.model.load_state_dict(first.model.state_dict())
    used.append(second.go(12).contract)
    alone = Run(contract, ascent())
    alone.model.load_state_dict(first.model.state_dict())
    used.append(alone.go(12).contract)
    measured = [outcome.verdicts[0].guard.measured for outcome in used]  # type: ignore[union-attr]
    assert 0 < measured[0] <= measured[1] < 0.3, "the second run adds to what the first one lost"
    assert second.keeper.path[0].used > alone.keeper.path[0].used
    assert used[0].kept and used[1].kept  # type: ignore[union-attr]


def test_a_run_that_begins_beyond_the_budget_ends_at_once() -> None:
    contract = Contract(keep=(Keep("loss", absolute=0.01, clip=0.1),), forget=(Forget("loss", at_least=9.0),))
    run = Run(contract, extra={"first": lambda: Run(contract).original})
    with torch.no_grad():
        for parameter in run.model.parameters():
            parameter.mul_(0.5)
    before = [w.clone() for w in weights(run.model)]
    result = run.go(10)
    assert result.reason == "budget used up" and not result.history
    assert all(map(torch.equal, before, weights(run.model)))


def test_without_a_clause_on_the_loss_the_budget_is_the_trust_regions() -> None:
    """It stands below the region, which cannot tell it: both are one number, in nats and in any other unit."""
    from unweave.contract.remaining import NATS, RELATIVE, left, rise
    from unweave.trust import tolerance

    assert rise([]) == NATS == tolerance(0.0, True)
    assert RELATIVE * 3.0 == tolerance(3.0, False) == tolerance(-3.0, False) == tolerance(3.0, True) - NATS
    record = Record(1, Step(torch.tensor([0.0, -3.0]), torch.zeros(1, 2)), 0.1, True)
    assert left([], 0.5, 10, record, "squared error").rise == 0.5 * tolerance(-3.0, False)
    assert left([], 0.5, 10, record).rise == 0.5 * NATS
