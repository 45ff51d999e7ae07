"""Requests on digits, from the day they come to certificates and rejections; killed and resumed; what is refused."""

from __future__ import annotations

import json
import random
import shutil
import signal
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ledger._batches import FEW, THREES, begun, weights
from tests.ledger._processes import killed, watched
from tests.run._kills import timed
from unweave.errors import ConfigurationError, InfeasibleError
from unweave.ledger import Deletion, Ledger, Selector, by_class, certified, verify
from unweave.ledger import batch as batches
from unweave.ledger.batch import run
from unweave.ledger.publish import publish
from unweave.modalities.images.job import ImageRecords
from unweave.modalities.images.sources import digits
from unweave.run import sequence


def test_each_request_ends_in_a_certificate_or_a_rejection(ledger: Ledger) -> None:
    first, second = ledger.read()[1].outcomes
    assert [first.kind, second.kind] == ["certificate", "rejection"], "in the order in which they were due"
    assert first.body["request"] == "threes" and second.body["request"] == "few"
    assert weights(first)[0] != weights(first)[1] == weights(second)[0]
    summary = json.loads((ledger.folder / "runs/0001/01-threes/summary.json").read_text())
    assert weights(first) == (summary["model_before"], summary["model_after"])
    assert first.body["verdict"] == "contract met" and first.body["claim"]["level"] in ("E0", "E1")
    assert all(clause["met"] and clause["n"] > 50 for clause in first.body["contract"])
    assert first.body["scores"]["unlearned"]["TA"]["n"] > 400 and first.body["retest"]["met"]
    assert second.body["cause"] == "missed" and "forget accuracy at most 70 %: measured" in second.body["reason"]
    assert {"sha256", "unweave"} == first.body["code"].keys() and len(first.body["code"]["sha256"]) == 64
    seen = verify(ledger)
    assert not seen.faults and seen.certificates == 1


def test_a_certificate_names_no_record_and_can_be_checked_against_them(ledger: Ledger) -> None:
    entry = ledger.read()[1].outcomes[0]
    records = entry.body["records"]
    train = digits().train
    threes = [digest for row, digest in enumerate(ImageRecords(digits()).digests(range(len(train)))) if row in THREES]
    assert records["count"] == records["named"] == len(threes) == len(THREES)
    assert records["hmac"] == ledger.key.records("threes", threes) != ledger.key.records("few", threes)
    text = ledger.certificate_file("threes").read_text()
    assert "GDPR" not in text and "by mail" not in ledger.truth.read_text().split('"kind":"batch"')[1]
    words = ledger.certificate_file("threes").with_suffix(".md").read_text()
    tables = [block.splitlines() for block in words.split("\n\n") if block.startswith("|")]
    assert len(tables) == 3 and all(len({line.count("|") for line in table}) == 1 for table in tables), tables
    for part in (entry.hash, records["hmac"], *weights(entry), "contract met", "Not", "legal advice"):
        assert part.lower() in words.lower()


def test_another_model_is_not_the_certified_one(ledger: Ledger) -> None:
    model = ledger.folder / ledger.read()[1].outcomes[0].body["model"]["file"]
    assert certified(ledger, model) == ["threes"]
    other = ledger.folder / "runs/0001/02-few/model/model.safetensors"
    assert certified(ledger, other) == [], "that of a rejected request"
    shutil.copy(other, model)
    seen = verify(ledger)
    assert seen.refuted and len(seen.faults) == 1 and "is not the model" in str(seen.faults[0])


def test_the_card_is_in_the_form_of_the_hub(ledger: Ledger) -> None:
    folder = ledger.folder / "runs/0001/01-threes/model"
    text = (folder / "README.md").read_text()
    metadata = yaml.safe_load(text.split("---\n")[1])
    assert metadata["tags"] == ["machine-unlearning", "unweave"]
    accuracy = metadata["model-index"][0]["results"][0]["metrics"][0]
    assert accuracy["type"] == "accuracy" and 0.5 < accuracy["value"] < 1
    assert "| threes | 132 | contract met |" in text and "E" in text
    hub = pytest.importorskip("huggingface_hub", reason="its parser comes with the language extra")
    card = hub.ModelCard.load(folder / "README.md")
    found = {result.metric_name: result.metric_value for result in card.data.eval_results}
    assert found["Accuracy on unseen examples"] == accuracy["value"] and len(found) == 2
    assert card.data.model_name == "digits_cnn-unlearned" and "## Unlearning" in card.text


def test_what_is_refused_before_anything_is_written(tmp_path: Path, path: Path) -> None:
    ledger = begun(tmp_path / "ledger")
    ledger.add(Deletion("twelve", by_class(["12"])))
    ledger.add(Deletion("beyond", Selector(rows=(3, 99999))))
    size = ledger.truth.stat().st_size
    cases: dict[str, Callable[[], object]] = {
        "request twelve: class 12 is not in the training set": lambda: run(ledger, path),
        "request beyond: rows must be at least 0 and below 1297": lambda: run(ledger, path),
        "under a contract": lambda: run(ledger, path, ["contract=none"], ["threes"]),
        "no request 'three' in the ledger. Did you mean 'threes'": lambda: run(ledger, path, names=["three"]),
        "request threes: names a class, and texts have none": lambda: run(
            ledger, path, ["data={source: texts, path: .}"], ["threes"]
        ),
        "give the RECIPE.yaml": lambda: run(ledger),
        "Did you mean 'steps'": lambda: run(ledger, path, ["run.step=3"], ["threes"]),
    }
    for text, act in cases.items():
        with pytest.raises(ConfigurationError) as caught:
            act()
        assert text in str(caught.value), (text, caught.value)
    ledger.rows_file("few").write_text("[1,2]")
    with pytest.raises(ConfigurationError, match="as they were recorded"):
        run(ledger, path, names=["few"])
    assert ledger.truth.stat().st_size == size and not (ledger.folder / "runs" / "0001").exists()


def test_a_batch_is_finished_before_another_begins(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = begun(tmp_path / "ledger")
    monkeypatch.setattr(batches.sequence, "run", lambda *_, **__: {"status": "interrupted"})
    assert run(ledger, path, names=["threes"]).interrupted
    assert ledger.read()[1].requests["threes"].status == "running"
    with pytest.raises(ConfigurationError, match="another recipe"):
        run(ledger, path, ["run.steps=3"])
    with pytest.raises(ConfigurationError, match="other requests"):
        run(ledger, path, names=["few"])
    assert run(ledger, path, names=["threes"]).interrupted
    assert run(ledger).interrupted and run(ledger, path).interrupted and len(ledger.read()[1].batches) == 1
    assert run(ledger, path, ["run.steps=3"], abandon=True).interrupted
    book = ledger.read()[1]
    assert [book.batches[name].ended for name in ("0001", "0002")] == [True, False]
    (ledger.folder / "runs" / "0002.yaml").write_text("edited")
    with pytest.raises(ConfigurationError, match="as it was begun"):
        run(ledger)


def test_what_a_run_refuses_can_be_mended(tmp_path: Path, path: Path) -> None:
    ledger = begun(tmp_path / "ledger")
    narrow = ["contract.keep=[{metric: accuracy, absolute: 0.001}]"]
    with pytest.raises(ConfigurationError) as caught:
        run(ledger, path, narrow)
    assert "batch 0001 stays under way" in caught.value.faults[-1] and "--abandon" in caught.value.faults[-1]
    assert ledger.read()[1].under_way is not None and not verify(ledger).faults
    assert run(ledger, abandon=True).entries == () and ledger.read()[1].under_way is None
    assert {each.status for each in ledger.read()[1].requests.values()} == {"open"}


@pytest.mark.slow
def test_an_infeasible_request_is_rejected_and_the_others_go_on(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, whole = begun(tmp_path / "ledger"), sequence.run

    def refusing(recipe: Any, folder: Path, **rest: Any) -> Any:
        if recipe.requests[0].id == "threes":
            raise InfeasibleError("no step was possible, the model is as it was: no room")
        return whole(recipe, folder, **rest)

    monkeypatch.setattr(batches.sequence, "run", refusing)
    done = run(ledger, path, ["contract.forget=[{metric: accuracy, at_most: 0.97}]"])
    assert [entry.kind for entry in done.entries] == ["rejection", "certificate"]
    assert done.entries[0].body["reason"].startswith("infeasible under this contract: no step was possible")
    assert [batch.ended for batch in ledger.read()[1].batches.values()] == [True, True]
    assert done.entries[1].body["batch"] == "0002" and not verify(ledger).faults


@pytest.mark.slow
def test_records_that_a_rejected_request_had_taken_are_not_certified(tmp_path: Path, path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    ledger.add(Deletion("few", Selector(rows=FEW), due=date(2098, 1, 1)))
    ledger.add(Deletion("threes", by_class(["3"]), due=date(2099, 1, 1)))
    few, threes = run(ledger, path, ["contract.forget=[{metric: accuracy, at_most: 0.85}]"]).entries
    assert (few.kind, threes.kind) == ("rejection", "rejection") and threes.body["cause"] == "shared"
    assert f"{len(THREES & set(FEW))} of its records" in threes.body["reason"]


@pytest.mark.slow
def test_killed_at_random_moments_a_batch_ends_as_if_nothing_had_been(
    finished: Path, tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dice, kills, ledger = random.Random(0), 0, begun(Path("ledger"))
    whole = Ledger(finished)
    with watched() as moments:
        while kills < 10:
            act = lambda: run(ledger, path)  # noqa: E731
            if kills % 2:
                ended = killed(act, moments, dice.randint(1, 20), dice.random())
            else:
                ended = timed(act, dice.uniform(0.05, 0.6))
            assert not verify(ledger).refuted
            if not ended:
                break
            assert ended in (signal.SIGKILL, signal.SIGALRM)
            kills += 1
    if ledger.read()[1].under_way is not None:
        run(ledger)
    elif len(ledger.read()[1].outcomes) < 2:
        run(ledger, path)
    publish(ledger)
    outcomes = ledger.read()[1].outcomes
    assert [(e.kind, e.body["request"], weights(e)) for e in outcomes] == [
        (e.kind, e.body["request"], weights(e)) for e in whole.read()[1].outcomes
    ]
    assert not verify(ledger).faults and kills >= 5
