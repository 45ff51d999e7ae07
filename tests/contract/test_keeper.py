"""A run under a contract: what it ends with, what it goes back to, and that it goes on bit for bit."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tests._toys import accuracy, each_step, loss, same, weights
from tests.contract._runs import Run, ascent, bound, task
from unweave.contract import Contract, Forget, Keep
from unweave.errors import ConfigurationError
from unweave.loop import Record
from unweave.losses import Ascent
from unweave.methods import METHODS, Method
from unweave.objectives import Objectives
from unweave.rules import HAMU
from unweave.run import checkpoint

LOSS = Keep("loss", absolute=0.05, clip=0.3)
ACCURACY = Keep("accuracy", absolute=0.14)
GONE = Forget("accuracy", at_most=0.1)


def test_met() -> None:
    run = Run(Contract([ACCURACY], [GONE], every=4))
    result = run.go(100)
    assert result.reason == "contract met" and result.contract is not None and result.contract.met
    assert accuracy(result.model, run.forget) <= 0.1
    assert bound(run, result, "accuracy") <= 0.14
    assert len(result.history) % run.keeper.every == 0
    verdicts = result.contract.verdicts
    last = result.contract.path[-1]
    assert last.forget_accuracy == accuracy(result.model, run.forget)
    assert last.bound == pytest.approx(bound(run, result, "accuracy")) and last.lost is not None
    assert last.lost < last.bound
    assert [v.side for v in verdicts] == ["keep", "forget"]
    assert verdicts[0].guard is not None and verdicts[0].guard.bound == pytest.approx(bound(run, result, "accuracy"))
    assert verdicts[0].final is not None and verdicts[0].final.n == 52


def test_broken_goes_back_and_shrinks_and_gives_up() -> None:
    run = Run(Contract([LOSS], [GONE], every=2), ascent(), lr=0.05)
    result = run.go(60)
    outcome = result.contract
    assert result.reason == "budget used up" and outcome is not None and not outcome.met and outcome.kept
    assert outcome.rollbacks == 3 == sum(look.rolled_back for look in outcome.path)
    assert [look.kept for look in outcome.path].count(False) == 4 and not outcome.path[-1].kept
    assert run.stepper.param_groups[0]["lr"] == pytest.approx(0.05 / 8)
    assert bound(run, result, "loss") <= 0.05
    assert loss(result.model, run.forget) >= loss(run.original, run.forget)


def test_a_run_that_no_state_of_keeps_the_limits_says_that_nothing_changed() -> None:
    run = Run(Contract([LOSS], [GONE], every=100), ascent(), lr=0.5)
    result = run.go(6)
    outcome = result.contract
    assert outcome is not None and outcome.looks == 0 and same(weights(result.model), weights(run.original))
    assert any("No state that was looked at keeps the limits (the last, after step 6, uses" in n for n in outcome.notes)
    kept = Run(Contract([LOSS], [GONE], every=2), ascent(), lr=0.05).go(60).contract
    assert kept is not None and not any("No state" in note for note in kept.notes)


def test_going_back_restores_everything_and_only_the_step_is_shorter() -> None:
    """Weights, buffers, momentum, and the rule's state are those of the last state that kept all."""
    run = Run(Contract([LOSS], [GONE], every=2), METHODS["pdu"](task, Run(Contract([LOSS], ())).original), lr=0.02)
    run.model.register_buffer("calls", torch.zeros(1))
    run.made = Method(Ascent(task.nll), task.nll, run.made.rule, "ours")
    seen: list[tuple[Any, ...]] = []

    def state(record: Record, objectives: Objectives) -> None:
        run.model.calls += 1
        momentum = copy.deepcopy([s["momentum_buffer"] for s in run.stepper.state_dict()["state"].values()])
        seen.append((weights(run.model), float(run.model.calls), momentum, copy.deepcopy(run.made.rule.state_dict())))

    before = [run.original.state_dict()]
    result = run.go(40, callbacks=[each_step(state)])
    assert result.contract is not None and before
    back = [look.step for look in result.contract.path if look.rolled_back]
    held = {0, *(look.step for look in result.contract.path if look.kept)}
    count = 0
    for step in back:
        last = max(s for s in held if s < step)
        if last == 0:
            assert same(seen[step - 1][0], weights(run.original)) and not seen[step - 1][2]
        else:
            now, then = seen[step - 1], seen[last - 1]
            assert same(now[0], then[0]) and same(now[2], then[2]) and now[3] == then[3]
        count += 1
    assert count == len(back) > 0


def test_no_goal_uses_the_steps_up_and_ends_with_what_forgot_most() -> None:
    run = Run(Contract([ACCURACY], (), every=3))
    result = run.go(15)
    outcome = result.contract
    assert result.reason == "steps used up" and outcome is not None
    assert [look.step for look in outcome.path] == [3, 6, 9, 12, 15]
    assert all(look.forgotten is None for look in outcome.path)
    assert all(look.lost is not None and look.forget_accuracy is not None for look in outcome.path)
    assert loss(result.model, run.forget) > 10 * loss(run.original, run.forget)


def test_the_last_state_is_read_too() -> None:
    run = Run(Contract([ACCURACY], [Forget("loss", at_least=0.1)], every=100))
    result = run.go(20)
    assert result.contract is not None and [look.step for look in result.contract.path] == [20]
    assert result.reason == "contract met" and loss(result.model, run.forget) >= 0.1


def test_no_keep_clause_needs_no_guard() -> None:
    run = Run(Contract((), [Forget("accuracy", at_most=0.5)]), ascent(), lr=0.05)
    assert run.sets.guard is None and len(run.train) == 210
    result = run.go(60)
    assert result.reason == "contract met" and result.contract is not None and len(result.contract.verdicts) == 1


def test_nothing_to_forget() -> None:
    run = Run(Contract([ACCURACY], [Forget("accuracy", at_most=1.0)]))
    result = run.go(20)
    assert result.reason == "nothing to forget: the forget clauses are met by the original"
    assert not result.history and same(weights(result.model), weights(run.original))
    assert result.contract is not None and result.contract.met


def test_weights_that_are_not_finite_break_every_clause() -> None:
    run = Run(Contract([ACCURACY], [GONE], every=1), ascent(), lr=1e30)
    result = run.go(30)
    assert result.contract is not None and result.contract.path[0].used == math.inf
    assert all(p.isfinite().all() for p in result.model.parameters()) and result.contract.kept


def test_hard_says_so_with_the_evidence_and_ends_with_the_best_kept_state() -> None:
    rule = HAMU("forget", ratio=0.999, patience=2, slack=0.0)
    run = Run(
        Contract([ACCURACY], [Forget("accuracy", at_most=0.0)], every=1), Method(Ascent(task.nll), task.nll, rule, "")
    )
    result = run.go(200)
    assert result.reason.startswith("hard: utility cannot be kept (for 2 steps no step of this radius met the quota")
    assert bound(run, result, "accuracy") <= 0.14


def test_an_interrupt_leaves_the_best_kept_state() -> None:
    run = Run(Contract([ACCURACY], [Forget("loss", at_least=99.0)], every=4))

    def interrupt(record: Record, objectives: Objectives) -> None:
        if record.number == 10:
            raise KeyboardInterrupt

    result = run.go(40, callbacks=[each_step(interrupt)])
    assert result.reason == "interrupted" and result.contract is not None and result.contract.kept
    assert [look.step for look in result.contract.path] == [4, 8, 10]
    assert bound(run, result, "accuracy") <= 0.14


@pytest.mark.parametrize("lr", [None, 0.03])
@pytest.mark.parametrize("stop", [3, 7, 12])
def test_a_saved_run_goes_on_bit_for_bit(tmp_path: Path, lr: float | None, stop: int) -> None:
    """Through the checkpoint's own format; with rollbacks before and after."""

    def make() -> Run:
        return Run(Contract([LOSS], [Forget("loss", at_least=50.0)], every=3), METHODS["graddiff"](task, run0), lr=lr)

    run0 = Run(Contract([LOSS], ())).original
    whole, first, second = make(), make(), make()
    expected = whole.go(24)

    def save(record: Record, objectives: Objectives) -> None:
        if record.number == stop:
            states = {
                "model": first.model.state_dict(),
                "step": first.stepper.state_dict(),
                "pairs": first.pairs.state_dict(),
                "keeper": first.keeper.state_dict(),
            }
            checkpoint.save(tmp_path / "c", states)

    progress = first.go(stop, callbacks=[each_step(save)]).progress
    states = checkpoint.load(tmp_path / "c")
    assert states is not None
    second.model.load_state_dict(states["model"])
    second.stepper.load_state_dict(states["step"])
    second.pairs.load_state_dict(states["pairs"])
    second.keeper.load_state_dict(states["keeper"])
    found = second.go(24 - stop, progress=progress)
    assert same(weights(found.model), weights(expected.model)) and found.reason == expected.reason
    assert found.contract is not None and expected.contract is not None
    assert found.contract.path == expected.contract.path and found.contract.rollbacks == expected.contract.rollbacks
    assert [v.as_dict() for v in found.contract.verdicts] == [v.as_dict() for v in expected.contract.verdicts]
    assert any(look.kept for look in found.contract.path)


def test_how_often_it_looks() -> None:
    """52 guard, 30 forget and 120 holdout examples against 3 x 85 forward passes a step: 7 % is every 12th step."""
    assert Run(Contract([ACCURACY])).keeper.every == math.ceil((52 + 30 + 120) / (0.07 * 3 * 85)) == 12
    assert Run(Contract([ACCURACY], ())).keeper.every == 5
    assert Run(Contract([ACCURACY], every=1)).keeper.every == 1


def test_what_the_budget_leaves() -> None:
    run = Run(
        Contract([Keep("loss", absolute=0.3, clip=1.0)], [Forget("loss", at_least=90.0)], every=1), "gradient_ascent"
    )
    left: list[float] = []
    run.go(15, callbacks=[each_step(lambda record, objectives: left.append(run.keeper.left))])
    assert left[0] == 1.0 and all(0 <= value <= 1 for value in left) and len(set(left)) > 2


def test_retrained() -> None:
    other = Run(Contract([ACCURACY], ())).go(40).model
    target = accuracy(other, Run(Contract([ACCURACY], ())).forget)
    run = Run(Contract([ACCURACY], [Forget("retrained", margin=0.2)]), retrained=other)
    result = run.go(60)
    assert result.reason == "contract met" and abs(accuracy(result.model, run.forget) - target) <= 0.2
    with pytest.raises(ConfigurationError, match="pass retrained="):
        Run(Contract([ACCURACY], [Forget("retrained")]))


def test_limits_that_cannot_be_decided() -> None:
    with pytest.raises(
        ConfigurationError, match=r"cannot be decided with 52 guard .* smallest that can is 0.091"
    ) as got:
        Run(Contract([Keep("accuracy", absolute=0.01), Keep("accuracy", absolute=0.3, by="class")], [GONE])).go(1)
    assert len(got.value.faults) == 1 + 4 and "yours needs 516 examples" in got.value.faults[0]
    run = Run(Contract(None, [GONE]))
    result = run.go(1)
    assert result.contract is not None and "no less can be decided" in result.contract.notes[0]
    assert result.contract.verdicts[0].limit == pytest.approx(2 * 0.0910, rel=1e-2)


def test_groups_each_have_a_limit_and_share_the_level() -> None:
    run = Run(Contract([Keep("loss", absolute=0.3, by="class", clip=0.5)], [GONE]))
    outcome = run.go(60).contract
    assert outcome is not None
    keeps = [v for v in outcome.verdicts if v.side == "keep"]
    assert [v.group for v in keeps] == ["0", "1", "2", "3"] and sum(v.guard.n for v in keeps if v.guard) == 52
    assert all(v.guard is not None and v.guard.met for v in keeps)


def test_relative_limits_and_perplexity() -> None:
    run = Run(
        Contract([Keep("perplexity", relative=0.05, clip=0.2), Keep("loss", relative=2.0, clip=0.2)], [GONE], every=2)
    )
    result = run.go(60)
    assert result.contract is not None and result.contract.kept
    perplexity, nats = (v for v in result.contract.verdicts if v.side == "keep")
    assert perplexity.limit == pytest.approx(0.05 * math.exp(loss(run.original, run.sets.guard)), rel=1e-6)
    assert nats.limit == pytest.approx(2.0 * loss(run.original, run.sets.guard), rel=1e-6)
    assert math.expm1(bound(run, result, "loss")) <= 0.05


def test_a_metric_of_ones_own() -> None:
    def margin(model: torch.nn.Module, batch: Any) -> torch.Tensor:
        return model(batch[0]).max(1).values

    run = Run(Contract([Keep(margin, absolute=0.5, better="higher", clip=2.0)], [GONE], every=2))
    outcome = run.go(30).contract
    assert (
        outcome is not None
        and outcome.kept
        and outcome.verdicts[0].clause.startswith("margin falls by at most 0.5, each example counted up to 2")
    )
    text = str(outcome)
    assert outcome.reason in text and "margin falls" in text and "limit 0.5" in text
