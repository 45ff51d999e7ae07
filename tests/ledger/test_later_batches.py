"""What comes after a first batch: its last model, its rows, its certificates read again."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.ledger._batches import FEW, RECIPE, THREES, weights
from unweave.errors import ConfigurationError, InfeasibleError
from unweave.ledger import Deletion, Ledger, Selector, by_class, verify
from unweave.ledger import batch as batches
from unweave.ledger.batch import run
from unweave.modalities import read
from unweave.modalities.images.job import ImageRecords
from unweave.modalities.images.sources import digits
from unweave.run import sequence
from unweave.run.retest import Retest


@pytest.mark.slow
def test_the_next_batch_goes_on_from_the_last_model_without_earlier_rows(ledger: Ledger, path: Path) -> None:
    ledger.add(Deletion("few-again", Selector(rows=FEW)))
    ledger.add(Deletion("sevens", by_class(["7"]), due=date(2099, 1, 1)))
    ledger.add(Deletion("threes-again", by_class(["3"])))
    before = ledger.read()[1].outcomes[-1]
    done = run(ledger, path)
    cover, done = done.entries[0], replace(done, entries=done.entries[1:])
    assert (cover.kind, cover.body["request"], cover.body["by"]) == ("cover", "threes-again", ["threes"])
    assert (
        weights(done.entries[0])[0] == weights(before)[1] and weights(done.entries[1])[0] == weights(done.entries[0])[1]
    )
    again = done.entries[0].body["records"]
    assert (again["named"], again["count"]) == (65, 65), "what was rejected can be asked for again, all of it"
    tested = done.entries[-1]
    assert tested.kind == "retest" and [test["id"] for test in tested.body["tests"]] == ["threes"]
    clause = tested.body["tests"][0]["clauses"][0]
    assert clause["limit"] == 0.7 and clause["n"] == len(THREES) and clause["met"] == (clause["measured"] <= 0.7)
    assert ledger.read()[1].requests["threes"].holds == clause["met"]
    single = sequence.parts(read(ledger.folder / "runs/0002.yaml"))[0]
    gone = json.loads((ledger.private / "batches" / "0002.json").read_text())
    assert set(gone) == THREES - set(FEW) and [each.id for each in single.already] == [None]
    assert [batch.body["begins"] and batch.body["begins"]["file"] for batch in ledger.read()[1].batches.values()] == [
        None,
        before.body["model"]["file"],
    ]
    assert not verify(ledger).faults
    ledger.add(Deletion("ones", by_class(["1"])))
    other = path.with_name("other.yaml")
    other.write_text(
        RECIPE.replace("{epochs: 4}", "{epochs: 4}\nmodel: {weights: recipe.yaml}") + "forget: {class: 1}\n"
    )
    with pytest.raises(ConfigurationError) as caught:
        run(ledger, other)
    assert len(caught.value.faults) == 2 and "goes on from" in str(caught.value) and "leave it out" in str(caught.value)


def test_what_a_later_batch_undid_is_said_and_can_be_asked_for_again(
    ledger: Ledger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = Ledger(ledger.folder.rename(ledger.folder.with_name("moved")))  # the paths of old recipes lead nowhere
    moved.add(Deletion("few-again", Selector(rows=FEW)))
    with monkeypatch.context() as patch:
        patch.setattr("unweave.ledger.retest.Retest", _Undone)
        done = run(moved, path, ["contract.forget=[{metric: accuracy, at_most: 0.95}]"])
    assert [entry.kind for entry in done.entries] == ["certificate", "retest"] and not done.met
    threes = moved.read()[1].requests["threes"]
    assert threes.status == "certified" and not threes.holds
    rows = {row["id"]: row["outcome"] for row in moved.index.requests()}
    assert rows["threes"] == "undone by batch 0002" and rows["few-again"].startswith("contract met")
    assert not verify(moved).faults
    moved.add(Deletion("threes-again", by_class(["3"])))
    monkeypatch.setattr(batches.sequence, "run", lambda *_, **__: {"status": "interrupted"})
    assert run(moved, path).interrupted
    gone = json.loads(moved.gone_file("0003").read_text())
    assert set(gone) == set(FEW) - THREES


class _Undone(Retest):
    """Whatever is read again is missed."""

    def read(self, model: Any) -> Any:
        return {**super().read(model), "met": False, "state": "missed"}


def test_small_requests_together_are_one_run_and_a_certificate_each(tmp_path: Path, path: Path) -> None:
    """The rows of all, each once; every certificate has its own records; all of them are read again as one."""
    ledger = Ledger(tmp_path / "ledger")
    threes = sorted(THREES)
    parts = {"a": threes[:40], "b": threes[30:100], "c": threes[100:]}
    for name, rows in parts.items():
        ledger.add(Deletion(name, Selector(rows=tuple(rows))))
    with pytest.raises(ConfigurationError, match="request d: rows must be"):
        ledger.add(Deletion("d", Selector(rows=(99999,))))
        run(ledger, path, together=True)
    ledger.reject("d", "no such row")
    done = run(ledger, path, together=True)
    assert [entry.kind for entry in done.entries] == ["certificate"] * 3 and done.met
    assert sorted(p.name for p in (ledger.folder / "runs/0001").iterdir() if p.is_dir()) == ["01-together"]
    bodies = [entry.body for entry in done.entries]
    assert [body["records"]["count"] for body in bodies] == [len(rows) for rows in parts.values()]
    assert {body["verdict"] for body in bodies} == {"contract met, on 132 records of 3 requests together"}
    assert (
        len({body["records"]["hmac"] for body in bodies}) == 3
        and len({body["model"]["sha256"] for body in bodies}) == 1
    )
    own = ImageRecords(digits()).digests(parts["b"])
    assert bodies[1]["records"]["hmac"] == ledger.key.records("b", own)
    ledger.add(Deletion("sevens", by_class(["7"])))
    tested = run(ledger, path).entries[-1].body["tests"]
    assert [test["id"] for test in tested] == ["a", "b", "c"]
    assert {test["clauses"][0]["n"] for test in tested} == {132}, "the test is that of the certificate"
    assert set(json.loads(ledger.gone_file("0002").read_text())) == THREES
    assert not verify(ledger).faults
    ledger.union_file("0001").write_text("[1]")
    assert "batch 0001" in str(verify(ledger).faults[0]) and verify(ledger).refuted


def test_what_is_infeasible_together_is_rejected_together(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(tmp_path / "ledger")
    for number in range(2):
        ledger.add(Deletion(f"R-{number}", Selector(rows=(number,))))

    def refusing(*_: Any, **__: Any) -> Any:
        raise InfeasibleError("no room")

    monkeypatch.setattr(batches.sequence, "run", lambda *_, **__: {"status": "interrupted"})
    assert run(ledger, path, together=True).interrupted
    with pytest.raises(ConfigurationError, match="other settings"):
        run(ledger, path)
    monkeypatch.setattr(batches.sequence, "run", refusing)
    assert [entry.body["request"] for entry in run(ledger).entries] == ["R-0", "R-1"]
    assert {each.status for each in ledger.read()[1].requests.values()} == {"rejected"}
