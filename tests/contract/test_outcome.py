"""What came of a contract in words and shares, on given readings."""

from __future__ import annotations

from unweave.contract.reading import Outcome, Reading, Verdict

MET, MISSED = Reading(0.01, 0.02, "met", 50), Reading(0.09, 0.12, "missed", 50)


def outcome(*verdicts: Verdict, reason: str = "steps used up", seconds: float = 2.0) -> Outcome:
    return Outcome(reason, verdicts, 3, 5, seconds, 1, (), ("a note",))


def keep(guard: Reading | None, final: Reading | None, group: str | None = None) -> Verdict:
    return Verdict("keep", "accuracy falls by at most 5 points", group, 0.05, guard, final, "accuracy")


def test_the_reading_that_is_told_is_the_one_that_decides() -> None:
    assert keep(MET, MISSED).told is MISSED and keep(MISSED, MET).told is MISSED
    final = Reading(0.0, 0.01, "met", 60)
    assert keep(MET, final).told is final and keep(MET, None).told is MET and keep(None, None).told is None


def test_an_outcome_in_words() -> None:
    said = str(outcome(keep(MET, MET, "b"), keep(None, None))).splitlines()
    assert said[0].startswith("contract not shown") and "; ended: steps used up; read 3 times, 1 rollbacks" in said[0]
    assert "5 points (b): 0.01, at most 0.02; limit 0.05: met" in said[1]
    assert "5 points: not read; limit 0.05: UNDECIDED" in said[2] and said[3] == "a note"
    met = outcome(keep(MET, MET), reason="contract met")
    assert str(met).splitlines()[0] == "contract met; read 3 times, 1 rollbacks"


def test_every_keep_clause_has_to_hold_to_be_kept() -> None:
    assert outcome(keep(MET, None), keep(MET, None)).kept
    assert not outcome(keep(MET, None), keep(MISSED, None)).kept and not outcome(keep(None, MET)).kept


def test_the_share_that_reading_took() -> None:
    assert outcome(seconds=2.0).of(8.0).share == 0.25 and outcome(seconds=0.5).of(1.0).share == 0.5
    assert outcome(seconds=2.0).of(1.0).share == 1.0, "a clock that ran backwards leaves no more than all"
    assert outcome(seconds=0.0).of(8.0).share == outcome(seconds=0.0).of(0.0).share == 0.0
