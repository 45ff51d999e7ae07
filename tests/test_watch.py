"""Progress is told with an estimate, on a terminal and in a log file."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

import unweave.watch as shown
from unweave.watch import Lines, Pace, spoken, watching


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the clock says, in its only element."""
    now = [100.0]
    monkeypatch.setattr(shown.time, "monotonic", lambda: now[0])
    return now


def test_a_log_has_a_line_per_phase_and_one_every_half_minute(clock: list[float]) -> None:
    out = io.StringIO()
    watch = Lines(Console(file=out, width=40))
    for done in range(11):  # ten seconds each
        watch("training the original", done, 10)
        clock[0] += 10
    watch("scoring", 0, 3)
    assert out.getvalue().splitlines() == [
        "training the original",
        "training the original: 3 of 10, at most about 70 s left",
        "training the original: 6 of 10, at most about 40 s left",
        "training the original: 9 of 10, at most about 10 s left",
        "scoring",
    ]


def test_what_was_done_before_does_not_count_for_the_pace() -> None:
    pace = Pace(begun=0.0, start=90)
    assert pace.left(10.0, 90, 100) is None
    assert pace.left(10.0, 92, 100) == pytest.approx(40.0)


def test_times_are_said_in_their_largest_unit() -> None:
    told = {0.2: "1 s", 59.0: "59 s", 119.0: "119 s", 121.0: "2 min", 5300.0: "88 min", 7300.0: "2 h"}
    assert {seconds: spoken(seconds) for seconds in told} == told and len(told) == 6


def test_a_terminal_has_a_bar_with_what_is_left(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    out = io.StringIO()
    terminal = Console(file=out, force_terminal=True, width=100)
    monkeypatch.setattr(shown, "Console", lambda **_: terminal)
    with watching() as watch:
        watch("training", 0, 4)
        clock[0] += 60
        watch("training", 1, 4)
    assert "training" in out.getvalue() and "1/4" in out.getvalue() and "at most about 3 min left" in out.getvalue()
