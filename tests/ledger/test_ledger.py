"""Requests: how they are recorded, named, decided and listed, and what bad ones get."""

from __future__ import annotations

import errno
import json
import os
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from tests.ledger._ledgers import small
from unweave.contract.keeper import HARD
from unweave.errors import ConfigurationError
from unweave.ledger import Deletion, Ledger, Selector, by_class, by_ids, by_rows, verify
from unweave.ledger import files as keys
from unweave.ledger.certificate import Carried
from unweave.ledger.chain import canonical, parse
from unweave.ledger.files import Key


def test_a_request_is_recorded_without_its_rows(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "new" / "ledger")
    entry = ledger.add(Deletion("2026-1", Selector(rows=(7, 3)), date(2026, 10, 1), basis="GDPR 17", note="by mail"))
    assert entry.number == 2 and entry.body["due"] == "2026-10-31"
    assert entry.body["selector"]["rows"]["count"] == 2 and "7" not in entry.body["selector"]["rows"]
    assert json.loads(ledger.rows_file("2026-1").read_text()) == [3, 7]
    assert oct(os.stat(ledger.key_file).st_mode)[-3:] == "600" and oct(os.stat(ledger.private).st_mode)[-3:] == "700"
    _, book = Ledger(ledger.folder).read()
    assert book.requests["2026-1"].status == "open"
    assert book.requests["2026-1"].overdue(date(2026, 11, 1)) and not book.requests["2026-1"].overdue(
        date(2026, 10, 31)
    )


def test_every_kind_of_bad_request(tmp_path: Path) -> None:
    ledger, one = Ledger(tmp_path / "ledger"), Selector(classes=(1,))
    ledger.add(Deletion("A", one))
    bad = {
        "in the ledger already": lambda: ledger.add(Deletion("A", one)),
        "expected an id of": lambda: Deletion("../A", one),
        "before it was received": lambda: Deletion("B", one, date(2026, 2, 1), date(2026, 1, 1)),
        "names no record": lambda: Selector(),
        "in the ledger already: give": lambda: ledger.add(Deletion("a", one)),
        "note: expected one line": lambda: Deletion("B", one, note="a\x1b[31mb"),
        "reason: expected one line": lambda: ledger.reject("A", "a\nb"),
        "found both": lambda: Selector((1,), (1,)),
        "each row once": lambda: Selector(rows=(1, 2, 1)),
        "counted from 0": lambda: Selector(rows=(-1, 2)),
        "no request 'C' in the ledger": lambda: ledger.reject("C", "x"),
        "needs a reason": lambda: ledger.reject("A", " "),
        "holds no ledger": lambda: Ledger(tmp_path / "none").read(),
    }
    for text, act in bad.items():
        with pytest.raises(ConfigurationError, match=text):
            act()
    with pytest.raises(ConfigurationError) as caught:
        Deletion("", one, date(2026, 2, 1), date(2026, 1, 1))
    assert len(caught.value.faults) == 2
    assert len(ledger.read()[0].entries) == 2 and not verify(ledger).faults


def test_a_rejection_is_final(tmp_path: Path) -> None:
    ledger = small(tmp_path / "ledger")
    book = ledger.read()[1]
    assert [each.status for each in book.requests.values()] == ["rejected", "certified", "certified", "open", "open"]
    for name in ("R-0", "R-1"):
        with pytest.raises(ConfigurationError, match="only an open one"):
            ledger.reject(name, "again")
    assert book.requests["R-0"].outcome is not None and book.requests["R-0"].outcome.body["reason"] == "not ours"
    assert book.model is not None and "02-R-2" in book.model["file"] and book.under_way is None


def test_a_batch_that_ends_opens_what_it_left(tmp_path: Path) -> None:
    ledger = small(tmp_path / "ledger")
    recipe = {"file": "runs/0001.yaml", "sha256": "0"}
    ledger.write(lambda _: ("batch", {"batch": "0002", "requests": ["R-3", "R-4"], "recipe": recipe}))
    assert ledger.read()[1].requests["R-3"].status == "running"
    with pytest.raises(ConfigurationError, match="R-3 is running"):
        ledger.reject("R-3", "x")
    ledger.write(lambda _: ("rejection", {"request": "R-3", "batch": "0002", "cause": "infeasible", "reason": "r"}))
    ledger.write(lambda _: ("end", {"batch": "0002", "requests": ["R-3", "R-4"], "why": "done"}))
    assert [ledger.read()[1].requests[name].status for name in ("R-3", "R-4")] == ["rejected", "open"]
    rows = {row["id"]: row for row in ledger.index.requests()}
    assert rows["R-4"]["status"] == "open" and rows["R-3"]["outcome"] == "infeasible" and rows["R-3"]["reason"] == "r"


def test_the_index_follows_and_can_be_made_again(tmp_path: Path) -> None:
    ledger, today = Ledger(tmp_path / "ledger"), date(2026, 3, 1)
    for number in range(6):
        ledger.add(Deletion(f"R-{number}", Selector(classes=(number,)), today, today + timedelta(days=9 - number)))
    followed = ledger.index.requests()
    assert [row["id"] for row in followed] == [f"R-{number}" for number in reversed(range(6))]
    assert len(ledger.index.requests("open")) == 6 and not ledger.index.requests("certified")
    (ledger.folder / "index.sqlite").unlink()
    ledger.read()
    assert ledger.index.requests() == followed


@pytest.mark.parametrize("ending", ["txt", "csv", "json", "npy"])
def test_rows_from_a_file(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"rows.{ending}"
    content = {"txt": "4\n2\n", "csv": "row\n4\n2\n", "json": "[4, 2]"}
    np.save(path, np.array([4, 2])) if ending == "npy" else path.write_text(content[ending])
    assert by_rows(path).rows == (4, 2)
    np.save(path, np.zeros(0, dtype=int)) if ending == "npy" else path.write_text("[]" if ending == "json" else "")
    with pytest.raises(ConfigurationError, match="names no record"):
        by_rows(path)


def test_ids_become_rows_and_are_not_kept(tmp_path: Path) -> None:
    (tmp_path / "all.csv").write_text("id\nann\nbob\neve\nzoe\n")
    (tmp_path / "who.txt").write_text("zoe\nbob\n")
    chosen = by_ids(tmp_path / "who.txt", tmp_path / "all.csv")
    assert chosen.rows == (3, 1)
    ledger = Ledger(tmp_path / "ledger")
    ledger.add(Deletion("1", chosen))
    kept = b"".join(path.read_bytes() for path in ledger.folder.rglob("*") if path.is_file())
    assert b"zoe" not in kept and b"bob" not in kept
    (tmp_path / "who.txt").write_text("zoe\nyan\nzoe\n")
    with pytest.raises(ConfigurationError) as caught:
        by_ids(tmp_path / "who.txt", tmp_path / "all.csv")
    assert len(caught.value.faults) == 2 and "yan" in str(caught.value)
    (tmp_path / "who.txt").write_text("")
    with pytest.raises(ConfigurationError, match="names no record"):
        by_ids(tmp_path / "who.txt", tmp_path / "all.csv")
    assert by_class(["3", "cat"]).classes == (3, "cat")


def test_digests_under_the_key(tmp_path: Path) -> None:
    """The same records look alike neither under another key nor in another request; their order does not matter."""
    one, other = Key(b"1" * 32), Key(b"2" * 32)
    made = {k.rows(r, rows) for k in (one, other) for r in ("A", "B") for rows in ((1, 2), (1, 3))}
    assert len(made) == 8 and one.rows("A", (1, 2)) == one.rows("A", (2, 1))
    assert one.records("A", [b"x", b"y"]) == one.records("A", [b"y", b"x"]) != one.records("A", [b"x"])
    assert len({one.rows("A", (1,)), one.records("A", [b"1"]), one.seal("A"), one.name}) == 4
    path = tmp_path / "key"
    assert keys.made(path).name == keys.made(path).name == keys.read(path).name
    for content in ("00", "no hex", ""):
        path.write_text(content)
        with pytest.raises(ConfigurationError, match="key"):
            keys.read(path)


def test_an_entry_is_written_in_one_way_only(tmp_path: Path) -> None:
    ledger = small(tmp_path / "ledger")
    data = ledger.truth.read_bytes()
    chain = parse(data, ledger.key.seal)
    assert not chain.faults and b"".join(entry.line + b"\n" for entry in chain.entries) == data
    for old, new in ((b'"body"', b' "body"'), (b'{"body"', b'{"number":1,"body"'), (b"GDPR", b"\\u0047DPR")):
        assert parse(data.replace(old, new, 1)).faults
    assert canonical({"b": "ü", "a": [1.5]}) == b'{"a":[1.5],"b":"\\u00fc"}'
    with pytest.raises(ValueError, match="JSON"):
        canonical({"a": float("nan")})


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = small(tmp_path / "ledger")
    before, whole = ledger.read()[0].head, os.pwrite

    def half(handle: int, data: bytes, place: int) -> int:
        whole(handle, data[: len(data) // 2], place)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", half)
        with pytest.raises(OSError, match="does not count: "):
            ledger.add(Deletion("R-9", Selector(classes=(1,))))
    assert ledger.read()[0].head == before and not verify(ledger).refuted and "no end" in str(verify(ledger).faults[0])
    assert ledger.add(Deletion("R-9", Selector(classes=(1,)))).number == before[0] + 1
    assert not verify(ledger).faults


REASONS = {
    None: {},
    "diverged": {"status": "diverged"},
    "infeasible": {"clause": False, "reason": HARD},
    "missed": {"clause": False},
    "undone": {"retest": False, "regressed": True},
    "missed ": {"retest": False},
    "shared": {"short": 3},
}


@pytest.mark.parametrize("cause", REASONS)
def test_why_there_is_no_certificate(tmp_path: Path, cause: str | None) -> None:
    told = {"status": "done", "clause": True, "reason": "steps used up", "retest": True, "regressed": False, "short": 0}
    told |= REASONS[cause]
    final = {"measured": 0.9, "bound": None, "met": told["clause"], "n": 60}
    clause = {"side": "forget", "clause": "C", "group": None, "limit": 0.5, "guard": None, "final": final}
    summary = {"status": told["status"], "contract": [clause | {"met": told["clause"]}], "model_before": "a"}
    (tmp_path / "summary.json").write_text(json.dumps(summary | {"model_after": "a"}))
    again = {"clause": "C", "limit": 0.5, "measured": 0.8, "met": told["retest"]}
    retest = {"met": told["retest"], "regressed": told["regressed"], "clauses": [again]}
    entry = {"reason": told["reason"], "steps": 7}
    found = Carried("A", "0001", entry, retest, tmp_path, tmp_path, int(str(told["short"])))
    reason = found.reason
    assert (reason and reason[0]) == (cause and cause.strip())
    assert "no weight changed" in found.verdict
    if cause in ("infeasible", "missed"):
        assert reason is not None and "C: measured 0.9, limit 0.5" in reason[1] and "after 7 steps" in reason[1]
    if cause in ("undone", "missed "):
        assert reason is not None and "C: measured 0.8, limit 0.5" in reason[1]
