"""What may stand in an entry, and the way back for a ledger into which an older version let something else."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.ledger._ledgers import evidence, small
from unweave.cli import main
from unweave.errors import ConfigurationError
from unweave.ledger import Deletion, Ledger, Selector, by_class, verify
from unweave.ledger.attestation import put
from unweave.ledger.chain import append, contents, following, locked, parse
from unweave.ledger.publish import publish

ONE: Any = Selector(classes=(1,))
HALVES = ("stra\udcdfe", "\udcff\udcfe", "a\ud83d", "\udc80")  # Latin-1, a mark, half a pair, half a character
CONTROLS = ("a\0b", "a\x1b[2Jb", "a\nb", "a\u2028b", "a\x85b", "a\u202eb")
FINE = ("Art.\u00a017 DSGVO", "श्री", "👩‍👩‍👧", "a" * 1000, "=1+1")


def forced(ledger: Ledger, *bodies: tuple[str, dict[str, Any]]) -> None:
    """Appends entries as an older version did, which looked at nothing."""
    with locked(ledger.truth, write=True) as handle:
        for kind, body in bodies:
            chain = parse(contents(handle), ledger.key.seal)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("unweave.ledger.chain.faults_of_texts", lambda *_: [])
                append(handle, chain, following(chain, "2026-01-01T00:00:00+00:00", kind, body, ledger.key.seal))


def asked(name: str, **changes: Any) -> tuple[str, dict[str, Any]]:
    body = {"id": name, "received": "2026-01-01", "due": "2026-02-01", "selector": {"class": [1]}}
    return "request", {**body, "basis": "", "note": "", **changes}


def test_what_is_no_line_of_text_is_refused_wherever_it_stands(tmp_path: Path) -> None:
    ledger, tried = Ledger(tmp_path / "ledger"), 0
    ledger.add(Deletion("A", ONE))
    size = ledger.truth.stat().st_size
    for text in (*HALVES, *CONTROLS, "a" * 1001):
        for act in (
            lambda: by_class([text]),  # noqa: B023
            lambda: Deletion("B", ONE, basis=text),  # noqa: B023
            lambda: Deletion("B", ONE, note=text),  # noqa: B023
            lambda: Deletion(text, ONE),  # noqa: B023
            lambda: ledger.reject("A", text),  # noqa: B023
            lambda: ledger.annul([2], text),  # noqa: B023
            lambda: ledger.reject(text, "no"),  # noqa: B023
        ):
            tried += 1
            with pytest.raises(ConfigurationError) as caught:
                act()
            assert str(caught.value), text
    assert tried == 77 and ledger.truth.stat().st_size == size
    for number, text in enumerate(FINE):
        ledger.add(Deletion(f"fine-{number}", by_class([text]), basis=text, note=text))
        ledger.reject(f"fine-{number}", text)
    assert not verify(ledger).faults and len(ledger.index.requests()) == 6


BAD: dict[str, Any] = {
    "no calendar has a day 30 days later": lambda: Deletion("B", ONE, date(9999, 12, 9)),
    "more than 1000 years after": lambda: Deletion("B", ONE, date(2026, 1, 1), date(9999, 12, 31)),
    "from 1970-01-01 on, found 0001-01-01": lambda: Deletion("B", ONE, date(1, 1, 1)),
    "received: expected a date, found datetime": lambda: Deletion("B", ONE, datetime(2026, 1, 1, 12)),
    "due: expected a date, found str": lambda: Deletion("B", ONE, due="tomorrow"),  # type: ignore[arg-type]
    "basis: expected one line of text, found int 17": lambda: Deletion("B", ONE, basis=17),  # type: ignore[arg-type]
    "expected a Selector, found list": lambda: Deletion("B", [1]),  # type: ignore[arg-type]
    "request 7: expected an id": lambda: Deletion(7, ONE),  # type: ignore[arg-type]
    "class: expected a number from 0 on or a name, found float 3.5": lambda: Selector((3.5,)),  # type: ignore
    "found NoneType None": lambda: Selector((None,)),  # type: ignore[arg-type]
    "found int 9223372036854775808": lambda: Selector((2**63,)),
    "found an empty one": lambda: by_class([" "]),
    "classes: expected several, as a tuple, found str 'cat'": lambda: Selector("cat"),  # type: ignore[arg-type]
    "rows: expected several, as a tuple, found int 3": lambda: Selector(rows=3),  # type: ignore[arg-type]
    "rows are whole numbers, found float 1.0": lambda: Selector(rows=(0, 1.0)),  # type: ignore[arg-type]
    "rows are whole numbers, found bool True": lambda: Selector(rows=(0, True)),
    "of more than 63 bits": lambda: Selector(rows=(2**63,)),
}


@pytest.mark.parametrize("text", BAD)
def test_days_types_and_sizes(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        BAD[text]()
    assert text in str(caught.value)


def test_numbers_of_numpy_and_of_many_digits(tmp_path: Path) -> None:
    rows: Any = np.array([5, 3])
    assert Selector(rows=rows).rows == (5, 3) and all(type(row) is int for row in Selector(rows=rows).rows)
    assert by_class(["9" * 900, "٣", "3"]).classes == ("9" * 900, "٣", 3), "what is no number is a name"
    Ledger(tmp_path / "ledger").add(Deletion("A", Selector(rows=rows), date(2026, 1, 1), date(2999, 12, 31)))


def test_a_ledger_that_was_hit_can_be_read_is_told_of_and_mended(tmp_path: Path) -> None:
    """A class that is no text: what an older version wrote, and could not read again."""
    ledger = Ledger(tmp_path / "ledger")
    ledger.add(Deletion("A", ONE))
    forced(ledger, asked("hit", selector={"class": ["caf\udce9"]}), asked("too", note="n\udcff", due="9999-12-31"))
    seen = verify(ledger)
    assert not seen.refuted and sorted({fault.place for fault in seen.faults}) == ["request hit", "request too"]
    assert "is no UTF-8 (\\udce9)" in str(seen.faults[0]) and "annul 3" in str(seen.faults[0])
    ledger.add(Deletion("B", ONE))
    assert [row["selector"] for row in ledger.index.requests()] == ["class caf\\udce9", *["class 1"] * 3]
    ledger.reject("hit", "another encoding")
    ledger.annul([4], "typed twice")
    seen = verify(ledger)
    assert not seen.faults and "entry 4 was set aside by entry 7: typed twice" in seen.notes
    assert (
        [row["id"] for row in ledger.requests()] == [row["id"] for row in ledger.index.requests()] == ["hit", "A", "B"]
    )
    ledger.add(Deletion("too", ONE))
    assert not verify(ledger).faults and len(ledger.read()[0].entries) == 8, "nothing was edited, the id is free again"


def test_entries_that_nobody_can_read_are_set_aside(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    ledger.add(Deletion("A", ONE))
    forced(ledger, asked("B", due="2026-02-01T00:00:00"), ("rejection", {"request": "B", "cause": "refused"}))
    seen = verify(ledger)
    assert not seen.refuted and "annul 3" in str(seen.faults[0])
    with pytest.raises(ConfigurationError, match="annul 3 4 --reason"):
        ledger.read()
    with pytest.raises(ConfigurationError, match=r"entry 4 \(rejection\) does not hold"):
        ledger.annul([3], "a day with an hour")
    ledger.annul([3, 4, 3], "a day with an hour")
    assert not verify(ledger).faults and len(ledger.read()[1].requests) == 1
    whole = small(tmp_path / "whole")
    for number, text in ((4, "entry 4"), (99, "there is no entry 99"), (7, "entry 7"), (9, "entry 9")):
        if number != 4:  # an open one can be
            with pytest.raises(ConfigurationError, match=text):
                whole.annul([number], "no")
    with pytest.raises(ConfigurationError, match="found none"):
        whole.annul([], "no")


def test_evidence_with_text_that_is_none_is_refused(tmp_path: Path) -> None:
    ledger = small(tmp_path / "ledger")
    size = ledger.truth.stat().st_size
    with pytest.raises(ConfigurationError, match="is no UTF-8"):
        put(ledger, "R-2", evidence(ledger.folder, "R-2", claim={"text": "half \udce9", "refuted": False}))
    publish(ledger)
    assert ledger.truth.stat().st_size == size and not verify(ledger).faults


def test_the_command_tells_and_sets_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = Ledger(tmp_path / "ledger")
    ledger.add(Deletion("A", ONE))
    forced(ledger, asked("hit", selector={"class": ["caf\udce9"]}))
    for arguments, code, said in (
        (["add", "B", "--class", "x\udcfc"], 2, "is no UTF-8"),
        (["list"], 0, "caf\\udce9"),
        (["show", "hit"], 0, "caf"),
        (["verify"], 2, "annul 3"),
        (["annul", "3", "--reason", "typo"], 0, "set aside: 3"),
        (["verify"], 0, "set aside by entry 4"),
        (["annul", "1", "--reason", "typo"], 2, "only an open request"),
        (["add", "B", "--class", "1", "--due", "9999-12-31"], 2, "is the year right?"),
        (["add", "B", "--class", "1", "--received", "9999-12-30"], 2, "no calendar"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["requests", *arguments, "--ledger", str(ledger.folder)])
        caught = capsys.readouterr()
        assert (ended.value.code or 0) == code and said in caught.out + caught.err, (arguments, caught)
