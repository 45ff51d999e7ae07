"""Requests on texts in a row: each on the model of the one before, all earlier ones read again, resumed bit for bit."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from unweave import modalities
from unweave.cli import main
from unweave.modalities import read, training_set
from unweave.report.build import build
from unweave.run import sequence
from unweave.run.retest import Retest

Write = Callable[..., Path]
RECIPE = """\
data: {source: texts, path: facts.jsonl, holdout: holdout.jsonl}
requests:
  - {id: ana, ids: request.txt}
  - {indices: rows.txt}
  - {id: lot, random: 0.2, seed: 3}
model: {weights: model, lora: {rank: 4}}
method: {name: npo}
step: {name: adamw, lr: 3.0e-3}
contract:
  keep: [{metric: loss, absolute: 4.0}]
  forget: [{metric: loss, at_least: 4.0}]
  every: 2
run: {steps: 6, forget_batch: 2, retain_batch: 4, checkpoint_every: 2}
evaluation: {quote: false, generate: 0, relearning: none}
"""
NAMES = ["01-ana", "02-2", "03-lot"]
MODELS = {
    "lora": [],
    "all weights": ["model={weights: model}", "step.lr=5.0e-4"],
    "from a base": ["model={base: base, lora: {rank: 4}}", "training={epochs: 2, batch: 8, lr: 0.02}"],
}


class Ended(Exception):
    """The sequence ends here."""


@pytest.fixture
def written(recipe: Write, tmp_path: Path) -> Path:
    (tmp_path / "rows.txt").write_text("1\n9\n10\n11\n")  # row 1 is Ana's: gone when it is asked for once more
    return recipe(RECIPE)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = (folder / "model").glob("*.safetensors")
    return load_file(file)


def summaries(folder: Path) -> list[Any]:
    return [json.loads((folder / name / "summary.json").read_text()) for name in NAMES]


@pytest.mark.parametrize("kind", MODELS)
def test_every_request_starts_from_the_last_model(written: Path, tmp_path: Path, kind: str) -> None:
    settings, opened = read(written, MODELS[kind]), []
    folder, whole = tmp_path / "out", sequence.modalities.original
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sequence.modalities, "original", lambda *a: opened.append(a[0].model.weights) or whole(*a))
        done = sequence.run(settings, folder)
    assert [entry["directory"] for entry in done["requests"]] == NAMES and done["status"] == "done"
    assert [len(entry["retests"]) for entry in done["requests"]] == [1, 2, 3]
    assert [entry["forget"] for entry in done["requests"]][:2] == [4, 3]
    found = summaries(folder)
    assert [s["model_before"] for s in found[1:]] == [s["model_after"] for s in found[:-1]]
    assert all(s["model_before"] != s["model_after"] for s in found)
    assert all(a["retain"] > b["retain"] for a, b in itertools.pairwise(found)), "rows stay away"
    guards = [clause["guard"]["n"] for s in found for clause in s["contract"] if clause["side"] == "keep"]
    assert len(guards) == 3 and len(set(guards)) == 1 and guards[0] > 0
    adapters = kind != "all weights"
    assert all((folder / name / "model" / "adapter_config.json").is_file() == adapters for name in NAMES)
    part = read(folder / "03-lot" / "recipe.yaml")
    assert part.model.weights == folder / "02-2" / "model" and len(part.already) == 2
    assert (part.model.lora is not None) == (kind == "from a base"), "its references are made with adapters, too"
    assert ("retrained" in json.loads((folder / "03-lot" / "scores.json").read_text())["models"]) == (
        kind == "from a base"
    )
    assert modalities.job(part).text == "a random 20 % of the texts", "a part can be read alone"
    assert opened.count(settings.model.weights) >= 3, "keep clauses compare with the first original"
    page = build(folder).read_text()
    assert "after 2" in page and "the texts named in request.txt" in page


def test_no_request_touches_what_is_measured_on(written: Path) -> None:
    settings = read(written, ["data.retain_sample=12"])
    assert settings.contract is not None
    jobs = sequence._jobs(settings, sequence.parts(settings), settings.contract.contract(), training_set(settings))
    gone: set[str] = set()
    for job in jobs:
        train, held = job.divided()
        guard, final, forget = set(held["guard"].ids), set(held["final"].ids), set(job.forget.ids)
        assert guard and final and not guard & final and not (guard | final) & (forget | set(train.ids))
        assert not gone & (forget | set(job.retain.ids)), "texts of earlier requests are gone from both sides"
        assert job.prints().keys() == {"forget", "retain", "guard", "final"}
        gone |= forget
    assert [len(job.retain) for job in jobs] == [12, 12, 12] and len(gone) >= 7


@pytest.mark.slow
def test_an_interrupted_sequence_goes_on_to_the_same_model(written: Path, tmp_path: Path) -> None:
    """Of adapters; a run of all weights is resumed in test_runner.py, a sequence of them in tests/run."""
    settings, steps = read(written), []

    def end(phase: str, done: int, total: int) -> None:
        steps.append(phase)
        if steps.count("unlearning") == 9:  # in the middle of the second request
            raise Ended

    with pytest.raises(Ended):
        sequence.run(settings, tmp_path / "cut", watch=end)
    assert sequence.finished(tmp_path / "cut") is None and (tmp_path / "cut" / "02-2").is_dir()
    done = sequence.run(settings, tmp_path / "cut", resume=True)
    whole = sequence.run(settings, tmp_path / "whole")
    assert done["status"] == "done"
    assert [entry["retests"] for entry in done["requests"]] == [entry["retests"] for entry in whole["requests"]]
    for name in NAMES:
        one, other = weights(tmp_path / "cut" / name), weights(tmp_path / "whole" / name)
        assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one), name


@pytest.mark.slow
def test_what_a_later_request_undid_is_unlearned_once_more(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, reads = Retest.read, []

    def undone(self: Retest, model: Any) -> Any:
        found = whole(self, model)
        if self.name == "ana":
            reads.append(found)
            self._met, found["met"] = True, len(reads) != 2
        return found

    monkeypatch.setattr(Retest, "read", undone)
    settings = read(written, ["sequence.repair=true", "requests=[{id: ana, ids: request.txt}, {indices: rows.txt}]"])
    done = sequence.run(settings, tmp_path / "out")
    assert done["regressions"] == [] and done["requests"][-1]["repaired"] == ["ana"]
    again = json.loads((tmp_path / "out" / "02-2-repair" / "summary.json").read_text())
    assert (again["request"], again["forget"]) == ("1 earlier requests once more", 4)


@pytest.mark.slow
def test_the_commands(written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["run", str(written), "-o", str(tmp_path / "out")])
    told = capsys.readouterr()
    assert caught.value.code in (0, 3), told.err
    assert "of the budget" in told.out and "lot" in told.out and (tmp_path / "out" / "report.html").is_file()
    with pytest.raises(SystemExit) as caught:
        main(["evaluate", str(tmp_path / "out" / "02-2")])
    told = capsys.readouterr()
    assert caught.value.code == 0 and "forget_probability" in told.out, told.err
    with pytest.raises(SystemExit) as caught:
        main(["diagnose", str(written)])
    assert caught.value.code == 0 and capsys.readouterr().out.count("to forget") == 3
