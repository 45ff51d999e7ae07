"""Several requests in a row: one budget, earlier requests tested again, repaired if asked; resumed where it stopped."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from unweave.commands import evaluate
from unweave.errors import ConfigurationError
from unweave.modalities import read, training_set
from unweave.modalities.images import job as prepare
from unweave.report.build import build
from unweave.run import sequence
from unweave.run.retest import Retest

Write = Callable[..., Path]
RECIPE = """\
data: {source: digits}
requests:
  - {id: threes, class: 3}
  - {id: few, random: 0.05, seed: 1}
  - {class: 7}
training: {epochs: 4}
contract:
  keep: [{metric: accuracy, absolute: 0.08}]
  forget: [{metric: accuracy, at_most: 0.5}]
run: {steps: 12, forget_batch: 32, retain_batch: 64}
evaluation: {retrained: 0, quote: false}
guards: {near_duplicates: "off"}
"""


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "model" / "model.safetensors")


def test_every_request_starts_from_the_last_model_and_keeps_the_first_original(recipe: Write, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    done = sequence.run(read(recipe(RECIPE)), folder)
    assert [entry["directory"] for entry in done["requests"]] == ["01-threes", "02-few", "03-3"]
    assert [len(entry["retests"]) for entry in done["requests"]] == [1, 2, 3] and done["status"] == "done"
    summaries = [json.loads((folder / e["directory"] / "summary.json").read_text()) for e in done["requests"]]
    assert [s["model_before"] for s in summaries[1:]] == [s["model_after"] for s in summaries[:-1]]
    assert all(s["retain"] > t["retain"] for s, t in itertools.pairwise(summaries)), "rows stay away"
    first = [row for row in summaries[0]["contract"] if row["side"] == "keep"]
    for summary in summaries[1:]:
        keep = [row for row in summary["contract"] if row["side"] == "keep"]
        assert [row["guard"]["n"] for row in keep] == [row["guard"]["n"] for row in first]
        assert all(row["guard"]["bound"] <= row["limit"] for row in keep)
    lefts = [entry["left"] for entry in done["requests"]]
    assert all(0 <= left <= 1 for left in lefts) and "request" in done["advice"]
    assert json.loads((folder / "sequence.json").read_text()) == done
    page = build(folder).read_text()
    assert "threes" in page and "after few" in page


def test_no_request_touches_what_is_measured_on(recipe: Write) -> None:
    settings = read(recipe(RECIPE))
    singles = sequence.parts(settings)
    assert settings.contract is not None
    requests = sequence._jobs(settings, singles, settings.contract.contract(), training_set(settings))
    rows = [set(map(int, part)) for part in requests[0].held or ()]
    assert len(rows) == 2 and min(map(len, rows)) > 100 and not rows[0] & rows[1]
    taken: set[int] = set()
    for request in requests:
        forget, retain = set(map(int, request.split.forget)), set(map(int, request.split.retain))
        assert not forget & (rows[0] | rows[1]) and rows[0] | rows[1] <= retain
        assert not taken & (forget | retain), "rows of earlier requests are gone from both sides"
        taken |= forget
    assert len(requests) == 3


def test_what_a_later_request_undid_is_reported_and_repaired(
    recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second look at the first request fails, as if the second request had undone it, until it is repaired."""
    whole, reads = Retest.read, {"threes": 0}

    def undone(self: Retest, model: Any) -> Any:
        found = whole(self, model)
        if self.name == "threes":
            reads["threes"] += 1
            self._met = True
            found["met"] = reads["threes"] != 2
        return found

    two = RECIPE.replace("  - {class: 7}\n", "")
    monkeypatch.setattr(Retest, "read", undone)
    done = sequence.run(read(recipe(two)), tmp_path / "plain")
    assert done["regressions"] == ["threes"] and done["requests"][-1]["repaired"] == []
    reads["threes"] = 0
    repaired = sequence.run(read(recipe(two), ["sequence.repair=true"]), tmp_path / "repaired")
    assert repaired["regressions"] == [] and repaired["requests"][-1]["repaired"] == ["threes"]
    assert (tmp_path / "repaired" / "02-few-repair" / "summary.json").exists()


@pytest.mark.slow
def test_an_interrupted_sequence_goes_on_to_the_same_model(
    recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    parts = Path("parts")  # also where the folder is given as a relative path
    settings = read(recipe(RECIPE))
    sequence.run(settings, tmp_path / "whole")
    steps = []

    def stop(phase: str, done: int, total: int) -> None:
        steps.append(phase)
        if steps.count("unlearning") == 15:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sequence.run(settings, parts, watch=stop)
    assert sequence.finished(parts) is None
    done = sequence.run(settings, parts, resume=True)
    again = sequence.run(settings, parts, resume=True)
    assert again["requests"] == done["requests"]
    done = again
    assert done["status"] == "done" and sequence.finished(parts) == done
    for name in ("01-threes", "02-few", "03-3"):
        one, other = weights(tmp_path / "whole" / name), weights(parts / name)
        assert all(torch.equal(one[key], other[key]) for key in one), name


def test_a_whole_sequence_is_not_evaluated(recipe: Write) -> None:
    with pytest.raises(ConfigurationError, match=r"one request, found a sequence: give the folder of one of its runs"):
        evaluate.main(Path("gone"), recipe(RECIPE), [], as_json=False)


def test_advice() -> None:
    cases = {
        (0.8, 0.6): "about 3 more requests",
        (0.7, 0.4): "about 1 more request ",
        (0.6, 0.1): "time to retrain: 10 %",
        (1.0, 1.0): "no need",
    }
    for lefts, text in cases.items():
        assert text in sequence.advice(lefts, exhausted=False), lefts
    assert "used the budget up" in sequence.advice((0.5,), exhausted=True)
    assert len(cases) == 4


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("forget: {class: 1}\n", "exactly one of forget, requests"),
        ("requests: [{id: a, class: 1}, {id: a, class: 2}]\n", "more than once"),
        ("requests: [{class: 1}, {poison: 0.1}]\n", "poison"),
        ("requests: [{id: ../up, class: 1}]\n", "id"),
    ],
)
def test_recipes_that_cannot_be(recipe: Write, text: str, expected: str) -> None:
    start = RECIPE if text.startswith("forget") else "data: {source: digits}\n"
    with pytest.raises(ConfigurationError, match=expected):
        read(recipe(start + text))


def test_a_request_of_which_nothing_is_left(recipe: Write, tmp_path: Path) -> None:
    twice = "data: {source: digits}\nrequests: [{class: 1}, {class: 1}]\n"
    with pytest.raises(ConfigurationError, match="at least one example"):
        sequence.run(read(recipe(twice)), tmp_path / "out")
    single = read(recipe("data: {source: digits}\nforget: {class: 1}\nalready: [{class: 2}]\n"))
    request = prepare.request(single)
    assert not np.isin(2, request.retain.labels.numpy()) and not np.isin(1, request.retain.labels.numpy())
