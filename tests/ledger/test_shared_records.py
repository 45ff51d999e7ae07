"""Requests that name the same records, and people with several rows: nothing is carried out twice, nothing is lost."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.ledger._batches import FEW, THREES
from unweave.cli import main
from unweave.errors import ConfigurationError, InfeasibleError
from unweave.ledger import Deletion, Ledger, Selector, by_class, by_ids, verify
from unweave.ledger import batch as batches
from unweave.ledger.batch import run
from unweave.ledger.begin import shared
from unweave.modalities.images.job import ImageRecords
from unweave.modalities.images.sources import digits
from unweave.run import sequence

EASY = ["contract.forget=[{metric: accuracy, at_most: 0.95}]"]


def added(folder: Path, **named: Selector) -> Ledger:
    """Requests, due in this order."""
    ledger = Ledger(folder)
    for number, (name, selector) in enumerate(named.items(), 1):
        ledger.add(Deletion(name, selector, date(2026, 1, 1), date(2026, 2, number)))
    return ledger


def test_which_are_carried_out_which_are_covered_and_which_wait() -> None:
    rows = {
        name: np.array(each) for name, each in {"a": [1, 2], "b": [1], "c": [2, 3], "d": [8, 9], "e": [1, 3]}.items()
    }
    assert shared(rows, np.array([8, 9]), [8, 9], False) == (["a", "c"], ["d"], ["b", "e"])
    assert shared(rows, np.array([8, 9]), [8, 9], True) == (["a", "b", "c", "e"], ["d"], [])
    none = np.zeros(0, dtype=int)
    assert shared(rows, none, [], False) == (["a", "c", "d"], [], ["b", "e"])
    assert shared(rows, none, [8, 9, 1], False) == (["a", "c"], [], ["b", "d", "e"]), "gone, and no certificate holds"
    assert shared(rows, np.array([2, 3]), [3], False) == (["a", "d"], ["c"], ["b", "e"]), "asked for again by others"


def test_a_person_has_several_rows(tmp_path: Path, path: Path) -> None:
    """Ids name all of their rows; the certificate counts both."""
    owners = ["nobody"] * 1297
    for place, row in enumerate(sorted(THREES)):
        owners[row] = ("ann", "bob", "eve")[place % 3]
    (tmp_path / "all.csv").write_text("id\n" + "\n".join(owners) + "\n")
    (tmp_path / "who.txt").write_text("eve\nann\n")
    chosen = by_ids(tmp_path / "who.txt", tmp_path / "all.csv")
    own = [row for row in range(1297) if owners[row] in ("ann", "eve")]
    assert sorted(chosen.rows) == own and chosen.ids == 2 and len(own) == 88
    ledger = added(tmp_path / "ledger", people=chosen, all=by_class(["3"]))
    assert ledger.requests()[0]["selector"] == "rows of 2 ids" and ledger.requests()[0]["records"] == 88
    people, rest = run(ledger, path, EASY).entries
    assert (people.kind, rest.kind) == ("certificate", "certificate")
    told = people.body["records"]
    assert (told["ids"], told["named"], told["count"]) == (2, 88, 88) and "earlier" not in told
    assert told["hmac"] == ledger.key.records("people", ImageRecords(digits()).digests(own))
    told = rest.body["records"]
    assert (told["named"], told["count"], told["earlier"]) == (132, 44, ["people"]) and "ids" not in told
    words = ledger.certificate_file("people").with_suffix(".md").read_text()
    assert "records: 88 (of 88 named by 2 ids)" in words
    assert "Bound the influence of 88 records (named by 2 ids) on the model." in words.split("## Details")[0]
    words = ledger.certificate_file("all").with_suffix(".md").read_text()
    assert "44 (of 132 named)" in words and "the others were carried out with people" in words
    assert not verify(ledger).faults


def test_what_an_earlier_request_takes_whole_is_covered_by_it(
    tmp_path: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the same batch, and in a later one; nothing is trained for it, and its word goes with that certificate."""
    some = tuple(sorted(THREES))[:7]
    ledger = added(tmp_path / "ledger", threes=by_class(["3"]), few=Selector(rows=some), one=Selector(rows=some[:1]))
    done = run(ledger, path, EASY)
    assert [(entry.kind, entry.body["request"]) for entry in done.entries] == [
        ("certificate", "threes"), ("cover", "few"), ("cover", "one"),
    ]  # fmt: skip
    assert done.met and done.entries[1].body["verdict"] == "covered by the certificate of threes"
    assert done.entries[1].body["records"]["hmac"] == ledger.key.records("few", ImageRecords(digits()).digests(some))
    assert sorted(each.name for each in (ledger.folder / "runs").iterdir()) == ["0001", "0001.yaml"]
    ledger.add(Deletion("later", Selector(rows=some[3:5], ids=1)))
    with pytest.raises(SystemExit) as ended:
        main(["requests", "run", str(path), "-s", *EASY, "--ledger", str(ledger.folder)])
    assert ended.value.code == 0 and "later: covered by the certificate of threes" in capsys.readouterr().out
    rows = {row["id"]: row for row in ledger.index.requests("covered")}
    assert rows.keys() == {"few", "one", "later"} and rows["later"]["outcome"].endswith("of threes")
    words = ledger.certificate_file("later").with_suffix(".md").read_text()
    assert words.startswith("# Covered: request later") and "records: 2 (of 2 named by 1 id)" in words
    seen = verify(ledger)
    assert not seen.faults and seen.certificates == 1 and len(ledger.read()[1].batches) == 1
    ledger.certificate_file("few").with_suffix(".md").write_text("edited")
    assert "cover of few" in str(verify(ledger).faults[0])
    book = ledger.read()[1]
    lost = {"id": "threes", "met": False, "clauses": []}
    ledger.write(lambda _: ("retest", {"batch": "0001", "requests": ["threes"], "tests": [lost]}))
    assert book.requests["few"].holds and not ledger.read()[1].requests["few"].holds
    assert {row["outcome"] for row in ledger.index.requests("covered")} == {"undone by batch 0001"}


def test_what_a_rejected_request_had_taken_whole_is_carried_out_itself(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, whole = (
        added(tmp_path / "ledger", threes=by_class(["3"]), few=Selector(rows=tuple(THREES)[:30])),
        sequence.run,
    )

    def refusing(recipe: Any, folder: Path, **rest: Any) -> Any:
        if recipe.requests[0].id == "threes":
            raise InfeasibleError("no room")
        return whole(recipe, folder, **rest)

    monkeypatch.setattr(batches.sequence, "run", refusing)
    done = run(ledger, path, EASY)
    assert [(entry.kind, entry.body["request"]) for entry in done.entries] == [
        ("rejection", "threes"), ("certificate", "few"),
    ]  # fmt: skip
    assert done.entries[1].body["records"]["count"] == 30 and not verify(ledger).faults


def test_interrupted_it_goes_on_with_those_that_wait(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = tuple(sorted(THREES))[:7]
    ledger = added(tmp_path / "ledger", threes=by_class(["3"]), few=Selector(rows=some))
    with monkeypatch.context() as patch:
        patch.setattr(batches.sequence, "run", lambda *_, **__: {"status": "interrupted"})
        assert run(ledger, path, EASY, ["few", "threes"]).interrupted
    assert [each.status for each in ledger.read()[1].requests.values()] == ["running", "open"]
    with pytest.raises(ConfigurationError, match="other requests"):
        run(ledger, path, EASY, ["threes"])
    done = run(ledger, path, EASY, ["few", "threes"])
    assert [entry.kind for entry in done.entries] == ["certificate", "cover"] and done.met


def test_together_records_that_are_gone_are_covered(tmp_path: Path, path: Path) -> None:
    some = tuple(sorted(THREES))
    half = tuple({*some[9:18], *FEW})
    ledger = added(tmp_path / "ledger", first=Selector(rows=some))
    run(ledger, path, EASY)
    ledger.add(Deletion("gone", Selector(rows=some[:9])))
    ledger.add(Deletion("half", Selector(rows=half)))
    ledger.add(Deletion("new", by_class(["7"])))
    done = run(ledger, path, EASY, together=True)
    kinds = {entry.body["request"]: entry.kind for entry in done.entries if "request" in entry.body}
    assert kinds == {"gone": "cover", "half": "certificate", "new": "certificate"}
    told = next(entry.body["records"] for entry in done.entries if entry.body.get("request") == "half")
    left = {*half} - THREES
    assert (told["named"], told["count"], told["earlier"]) == (len(half), len(left), ["first"])
    assert not verify(ledger).faults
