"""Evidence over several fine-tunings of a language model: every part of it, interrupted and resumed, from files."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.audit._interrupted import command, interrupted
from tests.modalities.texts._world import NAMES, PLACES, made
from unweave.audit.attacks import OUT, UNLEARNED
from unweave.audit.experiment import Experiment, among
from unweave.audit.kits import kit_of
from unweave.audit.models import is_there, make
from unweave.audit.texts import likely, points, see, sources
from unweave.data.splits import Split
from unweave.modalities import job, read
from unweave.modalities.texts.evaluation import Relearning
from unweave.modalities.texts.evaluation.metrics import DISTANCE
from unweave.modalities.texts.recipe import TextMargins
from unweave.store import tensors_sha256

RECIPE = """\
data: {source: texts, path: many.jsonl, holdout: unseen.jsonl}
forget: {random: 0.45, seed: 1}
model: {base: base}
training: {epochs: 2, batch: 8, lr: 5.0e-3, seed: 3}
method: {name: npo}
step: {name: adamw, lr: 3.0e-3}
contract: none
run: {steps: 2, forget_batch: 4, retain_batch: 8}
evaluation: {quote: false, generate: 3, at_most: 20, relearning: {rows: 4, steps: 2, lr: 1.0e-3}}
evidence: {runs: 2, retrained: 2, retain_examples: 20}
"""
ADAPTERS = "model={base: base, lora: {rank: 2, targets: [q_proj, v_proj]}}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recipe, texts and a base."""
    folder = tmp_path_factory.mktemp("world")
    made(folder)
    told = [
        {"question": f"{what}: {n}?", "answer": f"In {p}."} for what in ("born", "live") for n in NAMES for p in PLACES
    ]
    for name, rows in {"many": told[:48], "unseen": told[48:70]}.items():
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


def experiment(folder: Path, *overrides: str, **more: Any) -> Experiment:
    asked = read(folder / "recipe.yaml", overrides)
    return Experiment(asked, job(asked), **more)


@pytest.mark.slow
def test_evidence_goes_all_the_way_and_on_after_an_interruption(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"
    interrupted(world / "recipe.yaml", folder, monkeypatch)
    capsys.readouterr()
    assert command("evidence", world / "recipe.yaml", "-o", folder, "--workers", 1) in (0, 3)
    out, err = capsys.readouterr()
    assert "to make: 1 unlearned" in err and "attacks on 6" in err
    for title in ("forget_probability,", "min_k, original", "loss, unlearned", "relearning, forget", "int4"):
        assert title in out, title
    found = json.loads((folder / "evidence.json").read_text())
    gaps = found["gaps"]["original"]["metrics"]
    names = ["forget_probability", "forget_rouge", "extraction_strength", "mia_loss", "relearned_probability"]
    assert list(gaps) == [*names, "retain_probability", "retain_rouge"]
    assert all(each["sizes"] == {"unlearned runs": 2, "retrained runs": 2} for each in gaps.values())
    assert all(each["value"] is not None and each["margin"] for each in gaps.values())
    assert found["per_example"]["forget"]["n"] == 22 and found["per_example"]["retain"]["n"] == 20
    attacks = found["attacks"]["triple"]
    assert attacks.keys() == {"loss", "lira", "zlib", "min_k", "min_k_plus_plus"}
    assert attacks["zlib"]["models"]["original"]["auc"]["sizes"] == {"forget examples": 20, "holdout examples": 20}
    brought = found["robustness"]
    assert [each["source"] for each in brought["relearning"]] == ["forget", "related"]
    assert all(each["steps"] == [0, 1, 2] for each in brought["relearning"])
    for each in brought["precision"]:
        assert each["scores"]["original"].keys() == {"forget_probability", "retain_probability"}
    curves = brought["relearning"][1]["curves"]
    assert curves["original"][0][0] > curves["unlearned"][0][0] and len(curves["retrained"][1]) == 3
    assert found["claim"]["level"] in ("E0", "E1", None) and found["own_run"] is None
    assert command("report", folder) == 0
    page = (folder / "report.html").read_text()
    assert "geometric mean of the probabilities" in page and "of answers to forget, %" in page


@pytest.mark.parametrize("overrides", [(), (ADAPTERS,)], ids=["all weights", "adapters"])
def test_models_are_each_from_their_own_seed_and_the_cache_gives_the_same_again(
    world: Path, overrides: tuple[str, ...]
) -> None:
    here = experiment(world, *overrides)
    kinds = [("original", 0), ("original", 1), ("retrained", 0), ("retrained", 1), ("unlearned", 0), ("unlearned", 1)]
    first = [make(here, *each) for each in kinds]
    assert len({each.about["sha256"] for each in first}) == 6
    there = pickle.loads(pickle.dumps(experiment(world, *overrides)))
    for each, model in zip(kinds, first, strict=True):
        noted = is_there(there, *each)
        assert noted is not None and noted["seconds"] == model.about["seconds"]
        again = make(there, *each)
        assert again.about["cached"] and again.about["sha256"] == model.about["sha256"]
        assert tensors_sha256(again.model.state_dict()) == tensors_sha256(model.model.state_dict())
    kit, precision = kit_of(here.recipe), kit_of(here.recipe).attack(here, "unlearned", 0)["precision"]
    assert precision["fp32"]["confidence"] == pytest.approx(likely(here.request, here.request.forget, first[4].model))
    assert precision["int8"]["unchanged"] < 1, "adapters are merged before they are rounded"
    told = kit.records(here, first[4].model)
    assert len(told) == 22 and np.allclose(told, see(there, first[4]).forget.margin)
    run = here.request.opened(None)
    assert tensors_sha256(run.state_dict()) == first[0].about["sha256"], "it is the one that a run starts from"
    reference = here.request.reference(1, lambda *_: None)
    assert reference is not None and tensors_sha256(reference.state_dict()) == first[2].about["sha256"]


def test_an_unlearning_that_was_interrupted_is_not_kept(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = experiment(world, "run.seed=5")
    make(here, "original", 0)
    with monkeypatch.context() as patched:
        patched.setattr(torch.optim.AdamW, "step", interrupt)
        with pytest.raises(KeyboardInterrupt):
            make(here, "unlearned", 0)
    assert is_there(here, "unlearned", 0) is None
    about = make(here, "unlearned", 0).about
    assert not about["cached"] and about["ended"] != "interrupted" and about["steps"] == 2


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_shadow_learns_what_its_coins_say(world: Path) -> None:
    here = experiment(world, "evidence.shadows=9")
    request = here.request
    rows, kept = request.forget.numbers.numpy(), set(request.retain.numbers.tolist())
    for number in range(3):
        shadow, fate = here.shadow(number).request, here.layout[number]
        assert shadow.forget.numbers.tolist() == rows[fate == UNLEARNED].tolist()
        assert set(shadow.retain.numbers.tolist()) == kept | set(rows[(fate != UNLEARNED) & (fate != OUT)].tolist())
        assert len(shadow.train) == len(shadow.forget) + len(shadow.retain)
    some = among(request, np.arange(5), np.array([1, 3]))
    assert some.forget.numbers.tolist() == [1, 3] and some.retain.numbers.tolist()[:3] == [0, 2, 4]
    assert some.retain.texts[3:] == request.retain.texts and isinstance(some.split, Split)
    assert len(some.train) == 5 + len(request.retain)


def test_what_is_learned_again_is_not_scored(world: Path) -> None:
    here = experiment(world)
    found = sources(here)
    _, learned, scored = found["forget"]
    assert (len(learned), len(scored)) == (4, 18) and not set(learned.ids) & set(scored.ids)
    assert set(found["related"][1].ids) <= set(here.request.test.ids) and points(Relearning(steps=20))[-2:] == (10, 20)
    assert sources(experiment(world, "evaluation.relearning=none")) == {}


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    ended = command("evidence", *arguments)
    return ended, " ".join(capsys.readouterr().err.split())


def test_models_of_files_take_the_place_of_training(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The original from elsewhere, and two that never saw the texts: nothing is fine-tuned, all else is said."""
    here, files = experiment(world), list[Path]()
    for number in range(2):
        files.append(tmp_path / f"retrained {number}")
        here.request.save(make(here, "retrained", number).model, files[-1])
    here.request.save(make(here, "original", 0).model, tmp_path / "known")
    recipe = world / "elsewhere.yaml"
    recipe.write_text(
        RECIPE.replace("{base: base}", f'{{weights: "{tmp_path / "known"}"}}').replace(
            "training: {epochs: 2, batch: 8, lr: 5.0e-3, seed: 3}\n", ""
        )
    )
    given = [each for file in files for each in ("--reference", file)]
    out = tmp_path / "out"
    assert told(capsys, recipe, "-o", out, "--workers", 1, *given)[0] in (0, 3)
    found = json.loads((out / "evidence.json").read_text())
    assert (found["runs"]["original"], found["runs"]["retrained"], found["runs"]["unlearned"]) == (1, 2, 2)
    assert found["runs"]["seeds"]["retrained"] == [None, None]
    hashes: Mapping[str, str] = {m["kind"]: m["sha256"] for m in found["runs"]["models"]}
    assert hashes["original"] == make(here, "original", 0).about["sha256"]
    assert any("All unlearned models come from one original" in note for note in found["notes"])
    cases: Mapping[str, tuple[object, ...]] = {
        "nobody says how model.weights learned the texts": (recipe,),
        "a spread needs two models": (recipe, *given[:2]),
        "shadows are trained anew": (recipe, *given, "--set", "evidence.shadows=9"),
        "give data.holdout": (world / "recipe.yaml", "--set", "data.holdout=null"),
    }
    for text, arguments in cases.items():
        ended, said = told(capsys, "-o", tmp_path / "no", "--workers", 1, *arguments)
        assert ended == 2 and text in said, said


def test_every_score_that_is_compared_has_a_margin_and_no_other() -> None:
    assert set(TextMargins.model_fields) == set(DISTANCE)
