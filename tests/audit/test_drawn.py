"""Evidence over several trainings of models that draw: every part, from the command line, interrupted and resumed."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch

from tests.audit._interrupted import command, interrupted
from tests.modalities.diffusion._pictures import RECIPE, pictures
from unweave.audit.drawn import see
from unweave.audit.experiment import Experiment
from unweave.audit.kits import kit_of
from unweave.audit.models import make
from unweave.modalities import job, read
from unweave.modalities.diffusion.evaluation import search

QUICK = (
    RECIPE.replace("steps: 300", "steps: 10")
    .replace("steps: 4,", "steps: 2,")
    .replace("sampling_steps: 5", "sampling_steps: 2")
    .replace("search: 5", "search: 1")
)
SOME = "evidence: {runs: 2, retrained: 2, retain_examples: 20}\n"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    pictures(tmp_path / "pictures")
    (tmp_path / "recipe.yaml").write_text(QUICK + SOME)
    return tmp_path / "recipe.yaml"


@pytest.mark.slow
def test_evidence_goes_all_the_way_and_on_after_an_interruption(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(search, "relearned", lambda model, *_, **__: ((step, model) for step in search.STEPS))
    folder = tmp_path / "out"
    interrupted(recipe, folder, monkeypatch)
    capsys.readouterr()
    assert command("evidence", recipe, "-o", folder, "--workers", 1) in (0, 3)
    out, err = capsys.readouterr()
    assert "to make: 1 unlearned" in err and "attacks on 6" in err
    for title in (
        "UA_drawn, unlearned",
        "search, original",
        "loss, unlearned",
        "relearning, search",
        "int4",
    ):
        assert title in out, title
    found = json.loads((folder / "evidence.json").read_text())
    gaps = found["gaps"]["original"]["metrics"]
    assert list(gaps) == ["UA_drawn", "RA_drawn", "MIA_denoising", "search"]
    assert all(each["sizes"] == {"unlearned runs": 2, "retrained runs": 2} for each in gaps.values())
    assert found["per_example"]["forget"]["n"] == 80 and found["per_example"]["retain"]["n"] == 20
    assert [each["source"] for each in found["robustness"]["relearning"]] == ["search", "forget", "unrelated"]
    assert found["claim"]["level"] in ("E0", "E1", None)
    assert command("report", folder) == 0 and "minus the mean denoising loss" in (folder / "report.html").read_text()


def test_one_by_one_examples_have_no_class_to_be_drawn(recipe: Path) -> None:
    recipe.write_text(QUICK.replace("{class: top}", "{random: 0.2}") + SOME)
    asked = read(recipe)
    world = Experiment(asked, job(asked))
    kit = kit_of(asked)
    assert list(kit.metrics(world)) == ["RA_drawn", "MIA_denoising"] and list(kit.tow(world)) == ["RA_drawn"]
    assert kit.attack(world, "retrained", 0) == {"relearning": {}, "precision": {}}
    assert kit.robustness(world, {}) == {"relearning": [], "precision": []}
    assert set(kit.metrics(world)) < set(see(world, make(world, "retrained", 0)).sheet())


@pytest.mark.slow
def test_a_world_is_the_same_in_another_process(recipe: Path) -> None:
    asked = read(recipe)
    world = Experiment(asked, job(asked))
    made = make(world, "original", 0)
    assert len(kit_of(asked).records(world, made.model)) == len(world.request.forget)
    here, there = see(world, made), see(pickle.loads(pickle.dumps(world)), made)
    assert torch.equal(torch.tensor(here.forget.margin), torch.tensor(there.forget.margin))


def test_what_cannot_be_compared_is_refused_before_anything_is_trained(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("evidence", recipe, "-o", tmp_path / "out", "--reference", recipe, "--reference", recipe) == 2
    assert "references: models that draw are retrained for evidence" in capsys.readouterr().err
