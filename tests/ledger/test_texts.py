"""Requests on texts, from rows or ids to certificates of a model that is a folder; killed, gone on, refused."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.ledger._batches import weights
from tests.modalities.texts._world import facts, made
from tests.run._kills import forked
from unweave.audit.collect import evidence as collected
from unweave.cli import main
from unweave.errors import ConfigurationError, InfeasibleError
from unweave.ledger import Deletion, Ledger, Selector, by_class, by_ids, certified, verify
from unweave.ledger import batch as batches
from unweave.ledger.attestation import attest
from unweave.ledger.batch import run
from unweave.ledger.chain import canonical
from unweave.ledger.decide import _attacked, _disjoint
from unweave.modalities import read, training_set
from unweave.run import sequence

RECIPE = """\
data: {source: texts, path: facts.jsonl, holdout: holdout.jsonl}
model: {weights: model, lora: {rank: 4}}
method: {name: npo}
step: {name: adamw, lr: 3.0e-3}
contract:
  keep: [{metric: loss, absolute: 4.0}]
  forget: [{metric: loss, at_least: 0.9}]
  every: 2
run: {steps: 12, forget_batch: 2, retain_batch: 4, checkpoint_every: 2}
evaluation: {quote: false, generate: 0, relearning: none}
"""
LATER = ["model={lora: {rank: 4}}"]  # the ledger says which weights
WHOLE = ["model={weights: model}", "step.lr=5.0e-4"]
MORE = ["contract.forget=[{metric: loss, at_least: 3.0}]", "run.steps=30"]
TRAINED = ["model={base: base}", "training={epochs: 12, batch: 8, lr: 1.0e-2}", "step.lr=5.0e-4", "run.steps=4"]
FEW = ["evidence={runs: 2, retrained: 2, retain_examples: 20}"]
HARD = ["contract.forget=[{metric: loss, at_least: 9.0}]", "run.steps=2"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    made(folder)
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="module")
def finished(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger after its first batch, beside the texts and the model."""
    folder = tmp_path_factory.mktemp("finished") / "world"
    shutil.copytree(world, folder)
    assert run(begun(folder), folder / "recipe.yaml").met
    return folder


@pytest.fixture
def place(world: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(world, tmp_path / "world"))


@pytest.fixture
def ledger(finished: Path) -> Ledger:
    """For tests that put back what they change."""
    return Ledger(finished / "ledger")


def begun(folder: Path) -> Ledger:
    """Four of Ana's and Bela's texts by id, one of which the second request names too, by row."""
    ledger = Ledger(folder / "ledger")
    ledger.add(Deletion("ana", by_ids(folder / "request.txt", folder / "facts.jsonl"), basis="GDPR 17"))
    ledger.add(Deletion("rows", Selector(rows=(3, 9, 10))))
    return ledger


def test_requests_end_in_certificates_of_a_folder(ledger: Ledger, finished: Path) -> None:
    ana, rows = ledger.read()[1].outcomes
    assert [ana.body["request"], rows.body["request"]] == ["ana", "rows"] and ana.body["claim"]["level"] == "E0"
    assert weights(ana)[0] != weights(ana)[1] == weights(rows)[0]
    summary = json.loads((ledger.folder / "runs/0001/01-ana/summary.json").read_text())
    assert weights(ana) == (summary["model_before"], summary["model_after"])
    model, base = ana.body["model"], ana.body["base"]
    assert model["file"] == "runs/0001/01-ana/model" and "adapter_model.safetensors" in model["files"]
    assert base["file"] == "../model" and "model.safetensors" in base["files"]
    assert model["sha256"] == hashlib.sha256(canonical(model["files"])).hexdigest()
    assert ana.body["records"]["count"] == 4 and rows.body["records"] | {"named": 3, "count": 2} == rows.body["records"]
    data = training_set(read(ledger.folder / "runs/0001.yaml"))
    assert ana.body["records"]["hmac"] == ledger.key.records("ana", data.digests([0, 1, 2, 3]))
    assert rows.body["records"]["hmac"] == ledger.key.records("rows", data.digests([9, 10]))
    undefined = ana.body["scores"]["unlearned"]["mia_loss"]
    assert undefined["value"] is None and "at least 20 forget examples; there are 4" in undefined["reason"]
    assert not {f["id"] for f in facts()} & set(ledger.truth.read_text().split('"')), "ids are not kept"
    seen = verify(ledger)
    assert not seen.faults and seen.certificates == 2
    words = ledger.certificate_file("ana").with_suffix(".md").read_text()
    assert "adapter_model.safetensors, SHA-256" in words and "at least 20" in words
    card = yaml.safe_load((finished / "ledger" / model["file"] / "README.md").read_text().split("---\n")[1])
    assert card["pipeline_tag"] == "text-generation" and card["model-index"][0]["name"] == "model-unlearned"
    told = {result["metrics"][0]["name"] for result in card["model-index"][0]["results"]}
    assert told == {"Probability of retained answers", "Probability of forgotten answers"}


def test_every_file_that_makes_the_weights_is_watched(ledger: Ledger) -> None:
    ana = ledger.read()[1].outcomes[0].body
    parts = [(what, f"{ana[what]['file']}/{name}") for what in ("model", "base") for name in ana[what]["files"]]
    assert len(parts) == 5 + 6
    for what, name in parts:
        path = ledger.folder / name
        whole = path.read_bytes()
        try:
            path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
            seen = verify(ledger)
            assert seen.refuted and all(f"not the {what} that it speaks of" in str(fault) for fault in seen.faults), (
                name
            )
            assert len(seen.faults) == (1 if what == "model" else 2), "both certificates are for adapters on one base"
            assert _code("verify", "--ledger", str(ledger.folder)) == 3
            path.unlink()
            seen = verify(ledger)
            assert not seen.refuted and "put it back" in str(seen.faults[0])
            assert _code("verify", "--ledger", str(ledger.folder)) == 2
        finally:
            path.write_bytes(whole)
    assert _code("verify", "--ledger", str(ledger.folder)) == 0


def _code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["requests", *arguments])
    return int(caught.value.code or 0)


def test_weights_that_were_laid_beside_the_certified_ones_are_found(ledger: Ledger) -> None:
    model = ledger.folder / "runs/0001/02-rows/model"
    shutil.copy(ledger.folder / "../model/model.safetensors", model)
    try:
        (fault,) = verify(ledger).faults
        assert fault.refutes and "has no model.safetensors" in str(fault)
        assert certified(ledger, model) == []
    finally:
        (model / "model.safetensors").unlink()


def test_a_copy_elsewhere_is_the_certified_model(ledger: Ledger, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(ledger.folder / "runs/0001/01-ana/model", tmp_path / "copy"))
    (copy / "README.md").write_text("another card")
    assert certified(ledger, copy) == ["ana"]
    with pytest.raises(ConfigurationError, match="one file of the model of ana: give the folder"):
        certified(ledger, copy / "adapter_model.safetensors")
    (copy / "adapter_config.json").write_text("{}")
    assert certified(ledger, copy) == []
    with pytest.raises(ConfigurationError, match="or the folder of a model"):
        certified(ledger, tmp_path)


def test_what_is_refused(ledger: Ledger, finished: Path, tmp_path: Path) -> None:
    recipe, other = finished / "recipe.yaml", Ledger(tmp_path / "other")
    other.add(Deletion("class", by_class(["1"])))
    other.add(Deletion("beyond", Selector(rows=(5000,))))
    other.add(Deletion("all", Selector(rows=tuple(range(len(facts()))))))
    cases: dict[str, Callable[[], object]] = {
        "request class: names a class, and texts have none": lambda: run(other, recipe),
        "request beyond: rows must be at least 0 and below": lambda: run(other, recipe, names=["beyond"]),
        "request all: ": lambda: run(other, recipe, names=["all"]),
        "expected texts of your own": lambda: run(other, recipe, ["data={source: tofu}"], ["beyond"]),
        "evidence.json: expected the evidence, which cannot be read": lambda: attest(ledger, "ana", finished),
        "no request is open": lambda: run(ledger, recipe),
        "ids are not in": lambda: by_ids(finished / "strange.txt", finished / "facts.jsonl"),
    }
    (finished / "strange.txt").write_text("Ana/born\nnobody\n")
    for text, act in cases.items():
        with pytest.raises(ConfigurationError) as caught:
            act()
        assert text in str(caught.value), (text, caught.value)
    assert not other.read()[1].batches


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_ids_live_in_the_data(place: Path, ending: str) -> None:
    rows = [{"question": fact["question"], "answer": fact["answer"], "id": fact["id"]} for fact in facts()]
    data = place / f"facts.{ending}"
    if ending == "csv":
        lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
        data.write_text("\n".join(lines))
    else:
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pylist(rows), data)
    assert by_ids(place / "request.txt", data).rows == (0, 1, 2, 3)


def test_a_person_s_texts_are_certified_by_one_id(place: Path) -> None:
    """What is held out of them for the contract is by text, not by id: nothing else of the same person is lost."""
    rows = [fact | {"id": fact["id"].split("/")[0]} for fact in facts()]
    (place / "facts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (place / "who.csv").write_text("id\nDana\n")
    ledger = Ledger(place / "ledger")
    ledger.add(Deletion("dana", by_ids(place / "who.csv", place / "facts.jsonl")))
    (entry,) = run(ledger, place / "recipe.yaml").entries
    told, parts = entry.body["records"], sequence.parts(read(ledger.folder / "runs/0001.yaml"))
    assert (entry.kind, told["ids"], told["named"], told["count"]) == ("certificate", 1, 3, 3)
    job = training_set(parts[0]).job(parts[0])
    held = training_set(parts[0]).holding([job], ([0, 1], [2, 3]))[0]
    left, parts_held = held.divided()
    assert len(left) + sum(map(len, parts_held.values())) == len(rows) - 3
    assert not verify(ledger).faults and "Dana" not in ledger.truth.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["adapters", "all weights"])
def test_the_next_batch_goes_on_from_the_last_model(place: Path, finished: Path, kind: str) -> None:
    adapters = kind == "adapters"
    if adapters:
        shutil.copytree(finished / "ledger", place / "ledger")  # its recipes' paths lead to where it was
        ledger = Ledger(place / "ledger")
    else:
        ledger = begun(place)
        assert run(ledger, place / "recipe.yaml", WHOLE).met
    before, count = ledger.read()[1].outcomes[-1], len(ledger.read()[0].entries)
    assert ("base" in before.body) == adapters == ("adapter_config.json" in before.body["model"]["files"])
    ledger.add(Deletion("more", Selector(rows=(14, 15))))
    ledger.add(Deletion("hard", Selector(rows=(20, 21))))
    recipe, later = place / "recipe.yaml", [*(LATER if adapters else ["model={}", *WHOLE[1:]]), *MORE]
    with pytest.raises(ConfigurationError, match=r"goes on from .*: leave it out"):
        run(ledger, recipe, names=["more"])
    more, *rest = run(ledger, recipe, later, ["more"]).entries
    assert more.kind == "certificate" and weights(more)[0] == weights(before)[1] != weights(more)[1]
    (tested,) = rest
    assert tested.kind == "retest" and [test["id"] for test in tested.body["tests"]] == ["ana", "rows"]
    assert [test["clauses"][0]["n"] for test in tested.body["tests"]] == [4, 2]
    assert json.loads(ledger.gone_file("0002").read_text()) == [0, 1, 2, 3, 9, 10]
    assert (
        tested.body["on"] == more.body["model"]
        and more.body["model"]["files"].keys() == before.body["model"]["files"].keys()
    )
    hard = run(ledger, recipe, [*later, *HARD], ["hard"]).entries[0]
    assert hard.kind == "rejection" and hard.body["cause"] == "missed" and "limit 9" in hard.body["reason"]
    assert not verify(ledger).faults and len(ledger.read()[0].entries) > count
    (ledger.folder / hard.body["model"]["file"] / "config.json").write_text("{}")
    with pytest.raises(ConfigurationError, match=r"expected the model that request hard left: .* is not the model"):
        ledger.add(Deletion("last", Selector(rows=(16,))))
        run(ledger, recipe, later)


def test_small_requests_together(place: Path) -> None:
    ledger = begun(place)
    done = run(ledger, place / "recipe.yaml", together=True)
    assert [entry.kind for entry in done.entries] == ["certificate"] * 2 and done.met
    assert {entry.body["verdict"] for entry in done.entries} == {"contract met, on 6 records of 2 requests together"}
    assert [entry.body["records"]["count"] for entry in done.entries] == [4, 3]
    assert not verify(ledger).faults


def test_the_attack_of_one_run_tells_a_model_that_knows_the_texts(place: Path) -> None:
    (place / "rows.json").write_text(json.dumps(list(range(21))))
    (place / "holdout.jsonl").write_text("".join(f'{{"question": "q {n}?", "answer": "In {n}."}}\n' for n in range(40)))
    recipe = read(place / "recipe.yaml", ["forget.indices=rows.json"])
    data = training_set(recipe)
    job = data.job(recipe)
    seen = data.membership(job, job.opened(recipe.model.weights), 0)
    assert seen is not None and (len(seen.forget), len(seen.holdout)) == (21, 40)
    found = _attacked(seen)
    assert found == {"holdout_attack": "refutes", "blind_baseline": "refutes"}, "other words are told without a model"
    like = replace(seen, holdout=seen.forget, blind=(seen.blind[0], seen.blind[0]))
    assert _attacked(like)["holdout_attack"] != "refutes" and _attacked(None) == {}
    assert _disjoint(data, job) == "supports"
    assert _disjoint(data, replace(job, measured=job.forget)) == "refutes"


@pytest.mark.slow
def test_killed_in_the_middle_of_a_batch_it_ends_as_if_nothing_had_been(place: Path, finished: Path) -> None:
    ledger, whole = begun(place), Ledger(finished / "ledger")

    def until(number: int) -> None:
        """Runs until so many steps were made or phases begun."""
        told: list[str] = []

        def watch(*said: Any) -> None:
            told.append(said[0])
            if told.count("unlearning") == number:
                signal.raise_signal(signal.SIGKILL)

        run(ledger, place / "recipe.yaml", watch=watch)

    for number in (4, 5):  # the second is in the second request
        assert forked(lambda: until(number)) == signal.SIGKILL  # noqa: B023
        assert ledger.read()[1].under_way is not None and not verify(ledger).refuted
    assert run(ledger).met
    ours, theirs = ([weights(entry) for entry in each.read()[1].outcomes] for each in (ledger, whole))
    assert ours == theirs and len(ours) == 2 and not verify(ledger).faults


def test_what_is_infeasible_is_rejected_and_the_model_stays(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, whole, seen = begun(place), sequence.run, []

    def refusing(recipe: Any, folder: Path, **rest: Any) -> Any:
        seen.append(recipe.model.weights)
        if recipe.requests[0].id == "ana":
            raise InfeasibleError("no room")
        return whole(recipe, folder, **rest)

    monkeypatch.setattr(batches.sequence, "run", refusing)
    done = run(ledger, place / "recipe.yaml")
    assert [entry.kind for entry in done.entries] == ["rejection", "certificate"]
    assert seen == [place / "model"] * 2, "no request has left a model yet"


@pytest.mark.slow
def test_evidence_over_several_fine_tunings_is_put_on_record(place: Path) -> None:
    ledger, recipe = begun(place), place / "recipe.yaml"
    assert run(ledger, recipe, [*TRAINED, "contract.forget=[{metric: loss, at_least: 0.1}]"]).met
    folder = ledger.folder / "runs/0001/01-ana"
    with pytest.raises(ConfigurationError, match="at least 20 examples"):
        collected(read(folder / "recipe.yaml", FEW), folder, run=folder)
    found = collected(read(folder / "recipe.yaml", FEW), folder, run=folder, few=True)
    assert found["own_run"]["before"] == weights(ledger.read()[1].outcomes[0])[0] and found["request"]["forget"] == 4
    entry = attest(ledger, "ana", folder)
    assert (
        entry.body["weights"]["after"] == found["own_run"]["after"] and "gap forget_probability" in entry.body["scores"]
    )
    assert not verify(ledger).faults and ledger.read()[1].requests["ana"].attested
    with pytest.raises(ConfigurationError, match="another model than the certified one"):
        attest(ledger, "rows", folder)
