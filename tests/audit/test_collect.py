"""From a recipe to `evidence.json`: what is in it, what is kept, what is refused."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from tests.report.card import card
from unweave import devices, ranks
from unweave.audit import experiment, models, work
from unweave.audit.claims import ITEMS
from unweave.audit.collect import _notes, evidence
from unweave.audit.estimate import Estimate, estimate
from unweave.audit.experiment import KINDS, Experiment
from unweave.audit.models import make
from unweave.commands import evidence as command
from unweave.errors import ConfigurationError, UnsupportedError
from unweave.modalities import read
from unweave.modalities.images import job as prepare
from unweave.modalities.images import training
from unweave.recipe.recipe import Recipe
from unweave.run.directory import check
from unweave.run.identity import resolve
from unweave.run.runner import run

RECIPE = """\
data: {source: digits}
forget: {class: 3}
training: {epochs: 1}
method: {name: hamu_q}
run: {steps: 2, forget_batch: 16, retain_batch: 32}
contract: none
evidence: {runs: 2, retrained: 4, retain_examples: 100, relearning: {steps: [0, 1, 2]}}
"""
NOTE = Path(__file__).parents[2] / "docs" / "design" / "0011-evidence-file.md"


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("once")
    (folder / "recipe.yaml").write_text(RECIPE)
    asked = read(folder / "recipe.yaml")
    return asked, folder / "out", evidence(asked, folder / "out")


@pytest.fixture
def made(once: tuple[Recipe, Path, dict[str, Any]], tmp_path: Path) -> tuple[Recipe, Path, dict[str, Any]]:
    """The recipe, a directory of one's own with what evidence left there, and what it returned."""
    asked, folder, found = once
    shutil.copytree(folder, tmp_path / "out")
    return asked, tmp_path / "out", copy.deepcopy(found)


def test_the_file_is_what_the_note_says(made: tuple[Recipe, Path, dict[str, Any]]) -> None:
    _, folder, found = made
    assert json.loads((folder / "evidence.json").read_text()) == json.loads(json.dumps(found))
    keys = {key for row in re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", NOTE.read_text(), re.M) for key in row.split(", ")}
    named = {key.strip("`") for key in keys}
    assert set(found) <= named
    assert found["status"] == "complete" and found["pending"] == [] and found["seconds"] > 0
    assert [len(found["runs"]["seeds"][kind]) for kind in ("original", "retrained", "unlearned")] == [2, 4, 2]
    assert len(found["runs"]["models"]) == 8 and len({m["sha256"] for m in found["runs"]["models"]}) == 8
    assert set(found["gaps"]) == {"unlearned", "original", "null", "values"} and found["gaps"]["null"] is not None
    assert found["request"]["whole_classes"] == [3] and found["request"]["holdout"] > 20
    forget = found["per_example"]["forget"]
    assert len(forget["worst"]) == 10 and {each["label"] for each in forget["worst"]} == {3}
    rows = [each["row"] for each in forget["worst"]]
    assert (prepare.request(made[0]).train.labels[rows] == 3).all()
    assert len(forget["ecdf"]["t"]) == len(forget["ecdf"]["null"]) == forget["n"]
    assert set(found["attacks"]["triple"]) == {"loss", "joined", "lira", "rmia"}
    curves = [found["attacks"]["blind"]["roc"]]
    curves += [m["roc"] for t in found["attacks"]["triple"].values() for m in t["models"].values()]
    assert len(curves) == 13 and all(c[0] == [0, 0] and c[-1] == [1, 1] for c in map(_lists, curves))
    assert [each["source"] for each in found["robustness"]["relearning"]] == ["forget", "related", "unrelated"]
    assert [each["precision"] for each in found["robustness"]["precision"]] == ["fp32", "int8", "int4"]
    assert [item["name"] for item in found["claim"]["items"]] == list(ITEMS)


def test_the_card_that_pages_are_tested_with_has_the_form_of_a_real_one(
    made: tuple[Recipe, Path, dict[str, Any]],
) -> None:
    drawn, real = card(), json.loads(json.dumps(made[2]))
    assert list(_unlike(drawn, real, "evidence")) == []
    drawn["cost"].pop("share")
    assert set(_unlike(drawn, {**real, "claim": []}, "evidence")) == {"evidence.cost.share", "evidence.claim"}


def test_asked_again_it_trains_nothing(
    made: tuple[Recipe, Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, folder, first = made

    def never(*_: object, **__: object) -> None:
        raise AssertionError("everything is in the cache")

    for module, name in ((training, "train"), (models.Session, "start")):
        monkeypatch.setattr(module, name, never)
    again = evidence(asked, folder)
    same = ("gaps", "per_example", "attacks", "over_runs", "robustness", "claim", "margins")
    assert [again[part] == first[part] for part in same] == [True] * 7
    assert all(model["cached"] for model in again["runs"]["models"])


def test_the_first_unlearned_model_is_that_of_the_run(made: tuple[Recipe, Path, dict[str, Any]]) -> None:
    """What evidence is about is what `unweave run` saves, and code that changed is another fingerprint."""
    asked, folder, found = made
    summary = run(asked, folder.with_name("run"))
    first = next(model for model in found["runs"]["models"] if model["kind"] == "unlearned")
    assert summary["model_after"] == first["sha256"]


def test_other_code_is_another_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    before = experiment.kept_at({"a": 1})
    assert before == experiment.kept_at({"a": 1}) != experiment.kept_at({"a": 2})
    monkeypatch.setattr(experiment, "code_sha256", lambda: "other")
    assert experiment.kept_at({"a": 1}) != before


@pytest.mark.slow
def test_what_was_ended_goes_on(recipe: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C three times: the parts that are known are on disk, and the end is what it would have been."""
    asked = read(recipe(RECIPE.replace("epochs: 1", "epochs: 1, seed: 40")))
    folder, real, sittings, jobs = tmp_path / "out", work.do, 0, 0

    def interrupted(world: Experiment, job: work.Piece) -> dict[str, Any]:
        nonlocal jobs
        jobs += 1
        if jobs in (3, 12, 25):
            raise KeyboardInterrupt
        return real(world, job)

    monkeypatch.setattr(work, "do", interrupted)
    while True:
        sittings += 1
        try:
            found = evidence(asked, folder)
            break
        except KeyboardInterrupt:
            part = json.loads((folder / "evidence.json").read_text())
            assert part["status"] == "running" and "claim" in part["pending"] and part["claim"] is None
    assert sittings == 4 and found["status"] == "complete"
    assert evidence(asked, tmp_path / "other")["claim"] == found["claim"]


def test_shadows_are_asked_for(recipe: Callable[..., Path], tmp_path: Path) -> None:
    asked = read(recipe(RECIPE.replace("retrained: 4", "retrained: 2, shadows: 9")))
    found = evidence(asked, tmp_path / "out")["over_runs"]["u_lira"]
    assert found["auc"]["sizes"] == {"runs": 9, "records": len(found["records"])} and found["auc"]["value"] is not None


def test_the_estimate_counts_what_is_missing(recipe: Callable[..., Path]) -> None:
    world = _world(read(recipe(RECIPE.replace("epochs: 1", "epochs: 1, seed: 120"))))
    before = estimate(world, 1)
    assert before.missing == {"original": 2, "retrained": 4, "unlearned": 2, "shadow": 0} and before.recorded == []
    assert "2 originals" in str(before) and "extrapolated" in str(before)
    make(world, "original", 0)
    make(world, "retrained", 3)
    after = estimate(world, 2)
    assert after.missing == {"original": 1, "retrained": 3, "unlearned": 2, "shadow": 0}
    assert after.recorded == ["original", "retrained"] and "2 processes" in str(after)
    each = {"original": 10.0, "retrained": 8.0, "unlearned": 3.0, "attacks": 1.0, "shadow": 13.0}
    assert Estimate({"original": 3, "retrained": 2, "unlearned": 0}, each, (), 6, 2).seconds == 1 + 2 * 10 + 8 + 3
    pools = Estimate({"original": 0, "retrained": 0, "unlearned": 0}, each, KINDS, 6, 2, start=3.0)
    assert pools.seconds == 3 + 1 + 3, "the processes begin once, for three kinds and the attacks"
    told = Estimate({"original": 0, "retrained": 0, "unlearned": 0, "shadow": 16}, each, KINDS, 6, 2)
    assert told.seconds == 1 + 8 * 13 + 3 and str(told).startswith("to make: 16 shadows (13 s each)")


def test_shadows_are_part_of_the_estimate(recipe: Callable[..., Path]) -> None:
    world = _world(
        read(recipe(RECIPE.replace("epochs: 1", "epochs: 1, seed: 160").replace("runs: 2", "runs: 2, shadows: 9")))
    )
    assert estimate(world, 1).missing["shadow"] == 9
    make(world, "shadow", 1)
    there = estimate(world, 1)
    assert there.missing["shadow"] == 8 and there.each["shadow"] > there.each["original"]


def test_margins_that_change_are_said(made: tuple[Recipe, Path, dict[str, Any]]) -> None:
    asked, folder, first = made
    assert evidence(asked, folder)["margins"] == first["margins"], "settled when it was first asked"
    section = asked.evidence.model_copy(update={"margins": asked.evidence.margins.model_copy(update={"UA": 50.0})})
    later = evidence(asked.model_copy(update={"evidence": section}), folder)
    assert later["margins"]["digest"] != first["margins"]["digest"]
    assert any("margins were changed" in note for note in later["notes"])


def test_a_reference_that_saw_the_forget_set_is_refused(recipe: Callable[..., Path], tmp_path: Path) -> None:
    asked = read(recipe(RECIPE.replace("epochs: 1", "epochs: 3")))
    world = _world(asked)
    files = []
    for name, model in (("saw", make(world, "original", 0)), ("never", make(world, "retrained", 0))):
        files.append(tmp_path / f"{name}.safetensors")
        safetensors.torch.save_file(model.model.state_dict(), files[-1])
    with pytest.raises(ConfigurationError) as caught:
        evidence(asked, tmp_path / "out", references=files)
    assert len(caught.value.faults) == 1 and "saw.safetensors: this reference saw the forget set" in str(caught.value)
    with pytest.raises(ConfigurationError, match="two models that never saw the forget set, found 1"):
        evidence(asked, tmp_path / "out", references=files[1:])


def test_what_no_unlearning_could_do_is_refused_before_any_training(
    recipe: Callable[..., Path], tmp_path: Path
) -> None:
    asked = read(recipe(RECIPE), ["method={name: dpo}"])
    with pytest.raises(ConfigurationError, match="Where there are no texts choose another method"):
        evidence(asked, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_evidence_does_not_land_beside_another_run(made: tuple[Recipe, Path, dict[str, Any]], tmp_path: Path) -> None:
    asked, folder, _ = made
    check(folder, resume=False, overwrite=False)  # evidence may come before its run
    other = asked.model_copy(update={"run": asked.run.model_copy(update={"steps": 7})})
    (folder / "recipe.yaml").write_text(resolve(other, prepare.request(other), folder).to_yaml())
    with pytest.raises(ConfigurationError, match=r"holds the run of another recipe \(it differs in .*run.steps"):
        evidence(asked, folder)
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "thesis.tex").write_text("")
    with pytest.raises(ConfigurationError, match="holds more than a run"):
        evidence(asked, tmp_path / "strange")


def test_several_processes_are_the_commands(
    recipe: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes that a program of the user's grouped would each do all of it in one folder."""
    monkeypatch.setattr(ranks, "world", lambda: 2)
    with pytest.raises(UnsupportedError, match=r"is a command: torchrun .* -m unweave evidence"):
        evidence(read(recipe()), tmp_path / "out")
    monkeypatch.setattr(ranks, "commanded", lambda: True)
    for given in ({"workers": 2}, {"executor": ThreadPoolExecutor(1)}):
        with pytest.raises(UnsupportedError, match="leave these out"):
            evidence(read(recipe()), tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def test_workers_where_nobody_says_how_many(recipe: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = read(recipe())
    monkeypatch.setattr(command, "cores", lambda: 7)
    assert command._usual(asked) == 7
    monkeypatch.setattr(devices, "chosen", lambda name: torch.device("meta"))
    assert command._usual(asked) == 1, "they would share the device"


def test_what_these_sets_do_not_allow_is_said(recipe: Callable[..., Path], tmp_path: Path) -> None:
    """The contract that steers by the holdout, and a forget set of 12 records."""
    (tmp_path / "rows.txt").write_text("\n".join(map(str, range(12))))
    few = RECIPE.replace("contract: none\n", "").replace("{class: 3}", "{indices: rows.txt}")
    notes = list(_notes(_world(read(recipe(few))), []))
    assert len(notes) == 2 and "steered every run by a membership attack" in notes[0]
    assert "The forget set has 12 examples, fewer than 20: attacks on the population are left undefined" in notes[1]
    assert not list(_notes(_world(read(recipe(RECIPE))), []))


def test_a_holdout_unlike_the_forget_set_is_said_and_left_out_of_the_claim(
    recipe: Callable[..., Path], tmp_path: Path
) -> None:
    """The brightest digits are to be forgotten: unseen ones are darker, which shows without any model."""
    train = prepare.request(read(recipe(RECIPE))).train
    bright = train.images.flatten(1).sum(1).argsort(descending=True)[:80]
    (tmp_path / "rows.txt").write_text("\n".join(map(str, bright.tolist())))
    asked = read(recipe(RECIPE.replace("{class: 3}", "{indices: rows.txt}").replace("retrained: 4", "retrained: 2")))
    found = evidence(asked, tmp_path / "out")
    blind = found["attacks"]["blind"]
    assert blind["value"] > blind["null"]["high"] and blind["p"] <= 0.001
    assert any("not exchangeable" in note for note in found["notes"])
    items = {item["name"]: item["finding"] for item in found["claim"]["items"]}
    assert items["blind_baseline"] == "refutes" and found["claim"]["level"] in (None, "E0")
    assert not any("without the model" in sentence for sentence in found["claim"]["against"]), "it is about the holdout"


def _unlike(one: Any, other: Any, where: str) -> Iterator[str]:
    """Where two contents differ in keys or types; what is missing with a reason, and who ran it where, do not count."""
    if one is None or other is None or where.endswith((".environment", ".contract", ".sizes")):
        return
    if isinstance(one, dict) and isinstance(other, dict):
        if any({"reason"} <= each.keys() <= {"reason", "title"} for each in (one, other)):
            return
        for key in sorted(one.keys() ^ other.keys()):
            yield f"{where}.{key}"
        for key in one.keys() & other.keys():
            yield from _unlike(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list) and isinstance(other, list):
        if one and other:
            yield from _unlike(one[0], other[0], f"{where}[]")
    elif type(one) is not type(other) and not {type(one), type(other)} <= {int, float}:
        yield where


def _world(asked: Recipe) -> Experiment:
    return Experiment(asked, prepare.request(asked))


def _lists(curve: Any) -> list[list[float]]:
    return [list(point) for point in curve]
