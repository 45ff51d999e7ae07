"""Evidence over several trainings on record: what is kept, what is refused, who tells of it; kills and two writers."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.ledger._ledgers import evidence, small
from tests.ledger._processes import killed, watched
from tests.run._kills import timed
from unweave.audit.collect import evidence as collected
from unweave.cli import main
from unweave.errors import ConfigurationError
from unweave.ledger import Deletion, Ledger, Selector, verify
from unweave.ledger.attestation import attest, put
from unweave.ledger.publish import publish
from unweave.modalities import read

FOR = {"level": "E2", "text": "Well.", "against": [], "refuted": False}
FEW = ("evidence.runs=2", "evidence.retrained=2", "evidence.retain_examples=50", "evidence.relearning.steps=[0, 1]")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small(tmp_path_factory.mktemp("ledgers") / "original").folder


@pytest.fixture
def book(original: Path, tmp_path: Path) -> Ledger:
    """Two certified requests, and evidence that refutes the first."""
    return Ledger(Path(shutil.copytree(original, tmp_path / "copy")))


def test_an_entry_holds_sums_and_no_example(book: Ledger) -> None:
    raw = evidence(book.folder, "R-2", claim=FOR)
    entry = put(book, "R-2", raw)
    body, full = entry.body, json.loads(raw)
    assert body["claim"]["level"] == "E2" and body["models"] == {"original": 8, "retrained": 8, "unlearned": 8}
    gap, told = body["scores"]["gap UA"], full["gaps"]["unlearned"]["metrics"]["UA"]
    assert all(gap[key] == told[key] for key in ("value", "low", "high", "p", "margin", "verdict"))
    assert gap["n"] == told["sizes"] and gap["null"]["low"] == told["null"]["low"] and gap["unit"] == "points"
    assert {"ToW", "loss attack", "KLoM", "epsilon", "U-LiRA", "back by relearning, forget"} <= body["scores"].keys()
    kept = book.folder / body["copy"]["file"]
    for text, least in ((kept.read_text(), 20_000), (entry.line.decode(), 3_000)):
        assert len(text) > least
        for key in ('"row":', '"ecdf":', '"roc":', '"records":['):
            assert key not in text and key in raw.decode().replace(": ", ":"), key
    assert json.loads(kept.read_text())["over_runs"]["u_lira"]["auc"] == full["over_runs"]["u_lira"]["auc"]


def test_everything_tells_of_it(book: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    put(book, "R-2", evidence(book.folder, "R-2", claim=FOR))
    publish(book)
    first, second = (book.read()[1].requests[name] for name in ("R-1", "R-2"))
    assert (first.attested, second.attested) == ("refuted by evidence", "attested") and second.claim["level"] == "E2"
    rows = {row["id"]: row for row in book.index.requests()}
    assert rows["R-2"]["claim"] == "E2" and rows["R-2"]["outcome"] == "contract met; attested"
    assert rows["R-1"]["outcome"] == "contract met; refuted by evidence"
    words = book.certificate_file("R-2").with_suffix(".md").read_text()
    assert "**E2: Well.**" in words and "for the claim" in words and "| gap UA | -1" in words and "claim: E0" in words
    card = (book.folder / "runs/0001/02-R-2/model/README.md").read_text()
    assert "| R-1 | 2 | contract met | E" in card and ", refuted by evidence |" in card and "| E2, attested |" in card
    assert "Claim of the last: Well." in card
    for command, parts in {"show": ("E2, attested", "for the claim"), "list": ("refuted by", "contract met;")}.items():
        with pytest.raises(SystemExit):
            main(["requests", command, *(["R-2"] if command == "show" else []), "--ledger", str(book.folder)])
        said = capsys.readouterr().out
        assert all(part in said for part in parts), said
    assert not verify(book).faults


def test_later_evidence_does_not_hide_what_refutes(book: Ledger) -> None:
    put(book, "R-1", evidence(book.folder, "R-1", claim=FOR))
    standing = book.read()[1].requests["R-1"]
    assert standing.claim["level"] == "E2" and standing.attested == "refuted by evidence"
    assert [entry.body["claim"]["refuted"] for entry in standing.attestations] == [True, False]


def test_what_is_not_about_the_certified_model_is_refused(book: Ledger) -> None:
    size, folder = book.truth.stat().st_size, book.folder
    own = json.loads(evidence(folder, "R-2"))["own_run"]
    cases: dict[str, tuple[str, bytes]] = {
        "about another model than the certified one: weights after, expected SHA-256 2..., found 1...;": (
            "R-2",
            evidence(folder, "R-1"),
        ),
        ": weights before, expected SHA-256 00..., found 1...": (
            "R-2",
            evidence(folder, "R-2", own_run=own | {"before": "1"}),
        ),
        ": recipe.yaml, expected": ("R-2", evidence(folder, "R-2", own_run=own | {"recipe": "1"})),
        "expected evidence about 2 records, found 3": ("R-2", evidence(folder, "R-2", request={"forget": 3})),
        "this evidence is on record already, as entry 11": ("R-1", evidence(folder, "R-1")),
        "request R-0 is rejected: evidence is put on record for a certified one": ("R-0", evidence(folder, "R-1")),
        "no request 'R-7' in the ledger": ("R-7", evidence(folder, "R-1")),
        "expected complete evidence of schema 1, found it 'running'": (
            "R-2",
            json.dumps(json.loads(evidence(folder, "R-2")) | {"status": "running"}).encode(),
        ),
        "made from the recipe: collect it": (
            "R-2",
            json.dumps(json.loads(evidence(folder, "R-2")) | {"own_run": None}).encode(),
        ),
        "found another file (KeyError('schema'))": ("R-2", b"{}"),
        "found another file (JSONDecodeError": ("R-2", b"evidence"),
        "found another file (KeyError('claim'))": (
            "R-2",
            json.dumps({k: v for k, v in json.loads(evidence(folder, "R-2")).items() if k != "claim"}).encode(),
        ),
    }
    for text, (name, raw) in cases.items():
        with pytest.raises(ConfigurationError) as caught:
            put(book, name, raw)
        assert text in str(caught.value), (text, str(caught.value))
    assert book.truth.stat().st_size == size and not verify(book).faults


def test_a_copy_that_is_edited_or_gone_is_found(book: Ledger) -> None:
    copy = next((book.folder / "evidence").iterdir())
    whole = copy.read_bytes()
    copy.write_bytes(whole.replace(b'"E', b'"F', 1))
    seen = verify(book)
    assert seen.refuted and "attestation of R-1: " in str(seen.faults[0]) and len(seen.faults) == 1
    copy.unlink()
    seen = verify(book)
    assert not seen.refuted and f"its copy is not at {copy}" in str(seen.faults[0])
    copy.write_bytes(whole)
    assert not verify(book).faults


def test_a_certificate_that_does_not_tell_yet_is_no_edit(book: Ledger) -> None:
    """A kill between the entry and the files: the next command writes them."""
    put(book, "R-2", evidence(book.folder, "R-2", claim=FOR))
    seen = verify(book)
    assert not seen.refuted and "does not tell of entry 13 yet" in str(seen.faults[0]) and len(seen.faults) == 1
    shutil.rmtree(book.folder / "runs/0001/02-R-2")
    publish(book)
    assert {fault.refutes for fault in verify(book).faults} == {False}, "the model moved, which is no reason to stop"
    words = book.certificate_file("R-2").with_suffix(".md")
    assert "Well." in words.read_text()
    words.write_text(words.read_text().replace("Well.", "Very well."))
    publish(book)
    assert verify(book).refuted, "an edit stays to be seen"


@pytest.mark.slow
def test_killed_at_any_moment_evidence_is_on_record_or_not(original: Path, tmp_path: Path) -> None:
    dice, kills, done, book = random.Random(0), 0, 0, Ledger(Path(shutil.copytree(original, tmp_path / "0")))

    def act(raw: bytes) -> Callable[[], object]:
        def attesting() -> None:
            put(book, "R-2", raw)
            publish(book)

        return attesting

    with watched() as moments:
        act(evidence(book.folder, "R-2", claim=FOR | {"text": "First."}))()
        total = moments.passed
        while kills < 20:
            if kills % 5 == 0 and book.folder.name != str(kills):
                book = Ledger(Path(shutil.copytree(original, tmp_path / str(kills))))
            raw = evidence(book.folder, "R-2", claim=FOR | {"text": f"Number {kills}."})
            before = len(book.read()[1].requests["R-2"].attestations)
            if killed(act(raw), moments, dice.randint(1, total), dice.random()) != signal.SIGKILL:
                continue
            kills += 1
            seen = verify(book)
            assert not seen.refuted, seen.faults
            after = len(book.read()[1].requests["R-2"].attestations)
            assert after - before in (0, 1)
            done += after - before
            if after == before:
                put(book, "R-2", raw)
            publish(book)
            assert not verify(book).faults
    assert kills == 20 and 2 < done < 18 and total > 10


@pytest.mark.slow
def test_two_writers_of_whom_one_is_killed(book: Ledger) -> None:
    dice, ended = random.Random(1), []

    def attesting(turn: int) -> None:
        """At every other turn the time begins when the first is on record: so many are, however slow the disk is."""
        left = signal.setitimer(signal.ITIMER_REAL, 0)[0] if turn % 2 else 0
        for number in range(100_000):  # more than any machine does in the time
            put(book, "R-2", evidence(book.folder, "R-2", claim=FOR | {"text": f"{turn}, {number}"}))
            publish(book)
            if not number and left:
                signal.setitimer(signal.ITIMER_REAL, left)

    for turn in range(8):
        other = os.fork()
        if not other:
            code = 1
            try:
                for number in range(4):
                    book.add(Deletion(f"{turn}-{number}", Selector(rows=(number,))))
                    publish(book)
                code = 0
            finally:
                os._exit(code)
        ended.append(timed(lambda: attesting(turn), dice.uniform(0.1, 0.5)))  # noqa: B023
        assert os.waitpid(other, 0)[1] == 0
        assert not verify(book).refuted
        publish(book)
        faults = verify(book).faults
        assert all("no end" in str(fault) for fault in faults) and len(faults) <= 1
        assert all(f"{turn}-{number}" in book.read()[1].requests for number in range(4))
    assert ended == [signal.SIGALRM] * 8 and len(book.read()[1].requests["R-2"].attestations) >= 4


@pytest.mark.slow
def test_from_a_batch_to_its_evidence(ledger: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    """The certified model itself is judged; its records are compared under the key; 3 where it is refuted."""
    place = ledger.folder / "runs/0001/01-threes"
    found: dict[str, Any] = collected(read(place / "recipe.yaml", FEW), place, run=place)
    certificate = ledger.read()[1].requests["threes"].decided.body
    assert found["own_run"]["after"] == certificate["weights"]["after"]
    command = ["requests", "attest", "threes", "--evidence", str(place), "--ledger", str(ledger.folder)]
    with pytest.raises(SystemExit) as ended:
        main(command)
    said = capsys.readouterr().out
    assert ended.value.code == (3 if found["claim"]["refuted"] else 0) and "over 2 original, 2 retrained" in said
    assert not verify(ledger).faults and verify(ledger).attestations == 1
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 2 and "on record already" in capsys.readouterr().err
    strange = json.loads((place / "evidence.json").read_text())
    strange["per_example"]["forget"]["worst"][0]["row"] = 0
    (place / "evidence.json").write_text(json.dumps(strange))
    with pytest.raises(ConfigurationError, match="shows 1 rows of another forget set"):
        attest(ledger, "threes", place)
    with pytest.raises(ConfigurationError, match=r"few is rejected"):
        attest(ledger, "few", place)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        attest(ledger, "threes", ledger.folder / "nowhere")
