"""Push, then repair: what the second phase promises, and what a run with both does."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import unweave
from tests._toys import each_step, loss, memorised
from tests.contract._runs import Run, ascent
from unweave import loop, places
from unweave.averages import Averages
from unweave.contract import Contract, Forget, Keep
from unweave.contract.reading import Waypoint
from unweave.data.pairs import Pairs
from unweave.errors import ConfigurationError
from unweave.gramian import gramian
from unweave.loop import Record
from unweave.methods import METHODS
from unweave.objectives import Objectives
from unweave.oneshot import OneShot
from unweave.packs import Packs
from unweave.repair import DEBT, Repair, RepairRule
from unweave.rules import HAMU
from unweave.tasks import Vision
from unweave.testing.method import blobs
from unweave.trust import REPAIR, TrustRegion

KEPT = Contract(keep=[Keep("loss", absolute=4.5, clip=8.0)], forget=[Forget("accuracy", at_most=0.1)], every=2)


class Given:
    """Objectives whose two gradients are given, a tensor each."""

    memory = "fast"
    packs = Packs()

    def __init__(self, forget: Tensor, retain: Tensor, blocks: int = 1) -> None:
        self.both, self.blocks, self.direction = ([forget], [retain]), blocks, [torch.empty(0)]

    def gradients(self) -> Any:
        return torch.zeros(2), self.both

    def block_index(self, blocks: str) -> list[int]:
        return [0]

    def write(self, direction: list[Tensor]) -> None:
        self.direction = direction


def means(averages: Averages, forget: Tensor, retain: Tensor) -> Tensor:
    """Both averages with one more pair, corrected, `[2, n]`; what they were told before stays as it was."""
    forget, retain = forget.clone(), retain.clone()
    factors = averages.over(([forget], [retain]))
    return torch.stack([forget * factors[0], retain * factors[1]])


def test_a_repair_step_undoes_nothing_of_the_averaged_forget_loss_and_is_as_long_as_the_retain_gradient() -> None:
    """Over opposed, aligned, collinear and tiny gradients: <m_f, D> >= 0 and |D| = |m_r|; D = m_r where they agree."""
    dice, opposed, agreed = torch.Generator().manual_seed(0), 0, 0
    for case in range(300):
        forget, retain = torch.randn(2, 12, generator=dice, dtype=torch.float64)
        retain = retain - (case % 4) * forget * torch.rand(1, generator=dice, dtype=torch.float64)
        forget = forget * 10.0 ** (case % 7 - 3)
        averages = Averages(0.5)
        for shift in (0.3, -0.1):
            averages.add(([forget * (1 + shift)], [retain * (1 - shift)]))
        m_f, m_r = means(averages, forget, retain)
        at = Given(forget, retain)
        step = RepairRule(averages).backward(at)  # type: ignore[arg-type]
        assert averages.count == 3 and step.gramian is not None
        assert step.gramian[0].allclose(torch.stack([m_f, m_r]) @ torch.stack([m_f, m_r]).T, rtol=1e-12, atol=0)
        inner, lengths = float(m_f @ at.direction[0]), float(m_f.norm() * m_r.norm())
        assert inner >= -1e-12 * lengths
        assert float(at.direction[0].norm()) == pytest.approx(float(m_r.norm()), rel=1e-9)
        if float(m_f @ m_r) >= 0:
            assert at.direction[0].allclose(m_r, rtol=1e-12, atol=0)
            agreed += 1
        else:
            assert inner == pytest.approx(0.0, abs=1e-9 * lengths)
            opposed += 1
    assert opposed > 50 and agreed > 50


def test_averages_are_weighted_means() -> None:
    """Of pairs that a push shows them, and of those that repair steps write them over."""
    dice, averages = torch.Generator().manual_seed(1), Averages(0.9)
    seen = [torch.randn(2, 5, generator=dice, dtype=torch.float64) for _ in range(6)]
    for step, pair in enumerate(seen[:-1]):
        given = [pair[0].clone()], [pair[1].clone()]
        if step % 2:
            averages.over(given)
            averages.keep(given)
        else:
            averages.add(given)
            assert given[0][0].equal(pair[0]) and given[1][0].equal(pair[1]), "the rule has them still to see"
    weights = torch.tensor([0.9 ** (len(seen) - 1 - i) for i in range(len(seen))], dtype=torch.float64)
    expected = (torch.stack(seen) * (weights / weights.sum())[:, None, None]).sum(0)
    assert averages.count == len(seen) - 1 == 5
    assert means(averages, *seen[-1]).allclose(expected, rtol=1e-12, atol=0)


def test_a_gradient_that_is_not_finite_costs_one_step_and_the_averages_before_it() -> None:
    """Whether the push or the repair step itself met it."""
    good, bad = torch.tensor([1.0, 2.0]), torch.tensor([1.0, torch.inf])
    for pushed in (True, False):
        averages = Averages(0.5)
        for pair in (good, bad if pushed else good):
            averages.add(([pair.clone()], [good.clone()]))
        at = Given(good.clone() if pushed else bad, good.clone())
        RepairRule(averages).backward(at)  # type: ignore[arg-type]
        assert not at.direction[0].isfinite().all(), "the trust region refuses it"
        at = Given(good.clone(), good.clone())
        RepairRule(averages).backward(at)  # type: ignore[arg-type]
        assert at.direction[0].allclose(good) and averages.count == 1


@pytest.mark.parametrize(("of", "size"), [("both", 8), ("lean", 4), ("retain", 4), ("none", 0)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_averages_that_take_less_memory_differ_by_rounding_or_are_the_steps_own(of: Any, size: int, dtype: Any) -> None:
    """In bfloat16 each of n updates rounds by at most 2^-8 of a value that is at most the largest gradient."""
    dice, exact, found = torch.Generator().manual_seed(2), Averages(0.8), Averages(0.8, of)
    pairs = [torch.randn(2, 40, generator=dice, dtype=dtype) for _ in range(12)]
    for pair in pairs[:-1]:
        exact.add(([pair[0]], [pair[1]]))
        found.add(([pair[0].clone()], [pair[1].clone()]))
    largest = float(torch.stack(pairs).abs().max())
    expected, own = means(exact, *pairs[-1]), means(found, *pairs[-1])
    for side in (0, 1):
        averaged = of in ("both", "lean") or (of == "retain" and side == 1)
        error = (own[side] - (expected[side] if averaged else pairs[-1][side])).abs().max()
        assert error <= (0.0 if of != "lean" else 12 * 2**-8 * 2 * largest)
        assert error > 0 or of != "lean", "nothing was rounded"
    state = found.state_dict()["sums"]
    kept = sum(part.numel() * part.element_size() for side in state for part in side)
    assert kept == size * 40 * (2 if dtype.is_complex else 1)


def test_with_no_past_it_is_hamu_at_quota_0_of_the_pair() -> None:
    forget, retain = torch.tensor([1.0, 0.0]), torch.tensor([-2.0, 1.0])
    at = Given(forget, retain)
    RepairRule(Averages(0.0)).backward(at)  # type: ignore[arg-type]
    weights = HAMU("forget", ratio=0.0, infeasible="clip").weights(gramian(([forget], [retain]), [0]))[0]
    assert at.direction[0].allclose(weights[0] * forget + weights[1] * retain)


def test_under_a_contract_it_pushes_then_repairs_and_ends_better_than_at_the_first_hit() -> None:
    plain, both = (Run(KEPT, "graddiff", lr=0.01) for _ in range(2))
    first = plain.go(60)
    repair = Repair()
    both.keeper.cost = repair.level
    result = both.go(60, repair=repair)
    assert first.contract is not None and result.contract is not None
    assert first.reason == result.reason == "contract met" and result.contract.met
    phases = [record.phase for record in result.history]
    begin = phases.index("repair")
    assert begin == first.progress.made and set(phases[:begin]) == {"push"}, "the push is the run without repair"
    assert len(phases) > begin + 2
    guards = [next(v.guard for v in each.contract.verdicts if v.side == "keep") for each in (first, result)]  # type: ignore[union-attr]
    assert guards[0] is not None and guards[1] is not None and guards[1].measured < guards[0].measured
    size = float(torch.cat([p.detach().flatten() for p in both.original.parameters()]).norm())
    assert max(r.radius or 0.0 for r in result.history[begin:]) <= 1.5 * REPAIR * size


LOSES: list[tuple[list[bool], list[str], list[float]]] = [
    ([True, True, False, False, True], ["repair", "repair", "lost", "lost", "repair"], [0.0, 0.0, 0.05, 0.1, 0.05]),
    ([True, *[False] * 5], ["repair", *["lost"] * 4, "push"], [0.0, 0.05, 0.1, 0.2, 0.4, 0.4]),
    ([True, False, *[True] * 4], ["repair", "lost", *["repair"] * 4], [0.0, 0.05, 0.025, 0.0125, 0.0, 0.0]),
    ([False, True, False, True, False], ["push", "repair", "lost", "repair", "lost"], [0.0, 0.0, 0.05, 0.025, 0.05]),
]


@pytest.mark.parametrize(("found", "phases", "quotas"), LOSES)
def test_what_is_lost_is_won_back_by_a_larger_quota_and_else_pushed_again(
    monkeypatch: pytest.MonkeyPatch, found: list[bool], phases: list[str], quotas: list[float]
) -> None:
    """A criterion that takes itself back, asked every second step, while the level never comes down."""
    monkeypatch.setattr(Repair, "level", lambda repair: 99.0)
    monkeypatch.setattr(places, "HALVINGS", 0)
    model, forget, retain = memorised()
    said, heard, asked = iter(found), [], []

    def met(record: Record) -> str | None:
        return "enough" if next(said) else None

    repair = Repair(met=met, every=2)
    pairs, region = Pairs(forget, retain, forget_batch=15), TrustRegion()

    def listen(record: Record, _: Objectives) -> None:
        heard.append(record.phase)
        asked.append(repair.quota)

    loop.unlearn(model, ascent(), pairs, region, steps=2 * len(found) + 1, repair=repair, callbacks=[each_step(listen)])
    assert heard[2::2] == phases and heard[:2] == ["push", "push"]
    assert asked[2::2] == pytest.approx(quotas)


ENDS: list[tuple[list[float], list[float], str | None]] = [
    ([1.04, 1.01, 1.0021], [0.0, 0.0, 0.0], None),  # more than .002 of a rise of .04
    ([1.04, 1.01, 1.0019], [0.0, 0.0, 0.0], "paid back"),
    ([3.0, 1.5, 1.0036], [0.0, 0.0, 0.0], None),  # of a rise of 2 a budget counts, .02 and 5 % of the original's level
    ([3.0, 1.5, 1.0034], [0.0, 0.0, 0.0], "paid back"),
    ([1.04, 1.01, 1.0019], [0.0, 0.0, 0.6], None),  # more than half of the budget is used
    ([1.04, 1.01, 1.0019], [0.9, 0.9, 0.5], "paid back"),
    ([1.04, 1.0399, 1.0398, 1.0397], [0.0, 0.0, 0.0, 0.0], "paid back as far as it goes"),  # less than .0004 a look
    ([1.04, 1.0395, 1.039, 1.0385], [0.0, 0.0, 0.0, 0.0], None),
    ([1.04, 1.04, 1.04, 1.04], [0.9, 0.8, 0.7, 0.6], None),  # the budget comes back
    ([float("inf"), 2.0, 2.0], [0.0, 0.0, 0.0], None),  # no level is no rise
]


@pytest.mark.parametrize(("levels", "used", "reason"), ENDS)
def test_when_it_is_paid_back(levels: list[float], used: list[float], reason: str | None) -> None:
    """An original at 1, above which a push brought the level; three looks without a gain are enough."""
    repair = Repair(patience=3)
    repair._origin = 1.0
    found = [repair._next(True, *look, 0.5) for look in zip(levels, used, strict=True)]
    assert found[:-1] == [None] * (len(found) - 1) and found[-1] == reason


def test_without_contract_and_criterion_the_last_part_repairs() -> None:
    model, forget, retain = memorised()
    result = unweave.unlearn(model, forget=forget, retain=retain, steps=20, repair=True)
    assert [record.phase for record in result.history] == ["push"] * 14 + ["repair"] * 6
    assert result.reason == "steps used up"
    lean = unweave.unlearn(model, forget=forget, retain=retain, steps=20, repair="lean")
    assert [record.phase for record in lean.history] == [record.phase for record in result.history]
    exact, rounded = (torch.cat([p.detach().flatten() for p in each.model.parameters()]) for each in (result, lean))
    assert not exact.equal(rounded) and float((exact - rounded).norm()) <= 2 * 6 * REPAIR * float(exact.norm())


@pytest.mark.parametrize(
    ("found", "steps", "phases"),
    [
        ([False] * 10, 10, ["push"] * 7 + ["repair"] * 3),
        ([False] * 10, None, ["push"] * 10),
        ([False] * 8 + [True], 10, ["push"] * 7 + ["repair"] * 2),
        ([False, False, True, *[False] * 7], 10, ["push"] * 3 + ["repair"] + ["lost"] * 4 + ["push"] * 2),
    ],
)
def test_a_push_that_is_never_done_leaves_the_last_part_to_the_repair(
    monkeypatch: pytest.MonkeyPatch, found: list[bool], steps: int | None, phases: list[str]
) -> None:
    """At quota 0, and for good; not where it was forgotten once, whose state is kept, or where nobody knows the end."""
    monkeypatch.setattr(places, "HALVINGS", 0)
    model, forget, retain = memorised()
    said, asked = iter(found), []
    repair = Repair(met=lambda record: "enough" if next(said) else None, steps=steps, every=1)
    pairs, region = Pairs(forget, retain, forget_batch=15), TrustRegion()
    listen = each_step(lambda record, _: asked.append(repair.quota))
    result = loop.unlearn(model, ascent(), pairs, region, steps=10, repair=repair, callbacks=[listen])
    assert [record.phase for record in result.history] == phases
    assert ("lost" in phases) == (max(asked) > 0)


@pytest.mark.parametrize("method", ["scrub", "ofmu", "eupmu", "npo", OneShot("ssd")])
def test_every_kind_of_rule_has_it(method: Any) -> None:
    """Rules that look at losses only, bi-level ones, and a method without steps, whose one change is the push."""
    model, forget, retain = (copy.deepcopy(each) for each in blobs())
    before = [p.detach().clone() for p in model.parameters()]
    result = unweave.unlearn(model, forget=forget, retain=retain, method=method, steps=10, repair=True)
    phases = [record.phase for record in result.history]
    expected = ["push"] + ["repair"] * 9 if isinstance(method, OneShot) else ["push"] * 7 + ["repair"] * 3
    assert phases == expected
    assert not all(a.equal(b) for a, b in zip(before, result.model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("over", "notes"), [(0.99, ["", ""]), (2.0, ["", "restoration"]), (DEBT + 1, ["restoration", "restoration"])]
)
def test_a_push_without_a_contract_runs_up_so_many_budgets_before_it_restores(over: float, notes: list[str]) -> None:
    """Under a `met` up to DEBT of them, which the repair pays later; where nothing says when it is forgotten, one."""
    model, forget, retain = memorised()
    found = []
    for repair in (Repair(met=lambda record: None), Repair(steps=1000)):
        moving, region = copy.deepcopy(model), TrustRegion(budget=0.5)
        region.origin, region.seen, region.level = 1.0, 9, 1.0 + 0.5 * over
        method = METHODS["hamu_q"](Vision(), moving)
        pairs = Pairs(forget, retain, forget_batch=15, retain_batch=70)
        (record,) = loop.unlearn(moving, method, pairs, region, steps=1, repair=repair).history
        found.append(record.note)
    assert found == notes


@pytest.mark.parametrize("level", [None, 1.0])
def test_a_state_goes_on_bit_for_bit(level: float | None) -> None:
    """Stopped in the middle of either phase, states handed on, it ends as if it had not been; without a criterion, and
    with one that begins to hold at step 10, between two looks of which there is a cut."""
    whole, cuts = _run([24], level), ([9, 15], [16, 8], [7, 2, 15])
    for cut in cuts:
        again = _run(cut, level)
        assert all(a.equal(b) for a, b in zip(whole.parameters(), again.parameters(), strict=True)), cut


def _run(parts: list[int], level: float | None) -> nn.Module:
    run = Run(Contract(keep=[], forget=[Forget("loss", at_least=99.0)]), "hamu_q")
    state: dict[str, Any] = {}
    met = None if level is None else lambda record: "enough" if loss(run.model, run.forget) > level else None
    for count in parts:
        repair = Repair(met=met, steps=24, share=0.5)
        if state:
            repair.load_state_dict(copy.deepcopy(state))
        unweave.loop.unlearn(run.model, run.made, run.pairs, run.stepper, steps=count, repair=repair, progress=_of(run))
        state = repair.state_dict()
    assert level is None or (state["best"] and state["missed"]), "it was found, after a look that did not"
    return run.model


def _of(run: Run) -> Any:
    run.extra.setdefault("progress", unweave.loop.Progress())
    return run.extra["progress"]


def test_a_repair_moves_nothing_that_a_mask_holds() -> None:
    """SalUn under an optimizer, whose repair has a trust region of its own."""
    model, forget, retain = memorised()
    step = lambda parameters: torch.optim.SGD(parameters, 0.05)  # noqa: E731
    found = {}
    for repair in (False, True):
        result = unweave.unlearn(
            model, forget=forget, retain=retain, method="salun", step=step, steps=20, repair=repair, forget_batch=15
        )
        phases = {record.phase for record in result.history}
        assert phases == ({"push", "repair"} if repair else {""})
        pairs = zip(model.parameters(), result.model.parameters(), strict=True)
        found[repair] = torch.cat([(a != b).flatten() for a, b in pairs])
    assert 0.3 < float(found[False].float().mean()) < 0.7 and not (found[True] & ~found[False]).any()


def test_a_rolled_back_repair_takes_shorter_steps_under_an_optimizer_too() -> None:
    run = Run(KEPT, "graddiff", lr=0.01)
    repair = Repair()
    run.go(4, repair=repair)
    repair.phase, repair._region.radius = "repair", 1.0
    for rolled_back, radius in ((True, 0.5), (False, 0.5)):
        run.keeper.path = [Waypoint(run.keeper._last, 2.0, 1.0, not rolled_back, rolled_back)]
        repair._under(run.keeper, None)
        assert repair._region.radius == radius


WRONG: dict[str, Any] = {
    "share": 1.0,
    "every": 0,
    "patience": 0,
    "beta": 1.0,
    "steps": -1,
    "met": 3,
    "mask": "all",
    "sample": 3,
}


def test_what_it_cannot_be_made_of_is_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as told:
        Repair(**WRONG)
    assert all(f"{name} must be " in str(told.value) for name in WRONG)
    Repair(met=lambda record: None, steps=0, mask=None, sample=None)
