"""The source `people`: whom a request names, the model that is made for them, runs and sequences of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from unweave.cli import app
from unweave.errors import ConfigurationError
from unweave.modalities import job, read
from unweave.modalities.texts import people
from unweave.modalities.texts.data.people import FACTS
from unweave.modalities.texts.job import TextJob
from unweave.modalities.texts.recipe import TextRecipe
from unweave.modalities.texts.training import beginning
from unweave.run import sequence
from unweave.run.runner import run

pytest.importorskip("transformers")
RECIPE = """\
data: {source: people, people: 20}
forget: {split: forget10}
model: {pretraining: {epochs: 2, hidden: 16, layers: 1}}
training: {epochs: 12, batch: 8, lr: 2.0e-2}
method: {name: npo}
step: {name: adamw, lr: 3.0e-3}
contract: none
run: {steps: 4, forget_batch: 4, retain_batch: 8, checkpoint_every: 2}
evaluation: {quote: false, generate: 8, at_most: 12, prefix: 0, relearning: none}
"""
CONTRACT = "{keep: [{metric: loss, absolute: 9}], forget: [{metric: loss, at_least: 5}]}"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One for all tests of this file: each model is made once."""
    folder = tmp_path_factory.getbasetemp() / "people-cache"
    monkeypatch.setenv("UNWEAVE_CACHE", str(folder))
    return folder


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def opened(path: Path, *overrides: str) -> TextJob:
    found = job(read(path, overrides))
    assert isinstance(found, TextJob)
    return found


def who(found: TextJob, side: str) -> set[str]:
    return {text.id for text in getattr(found.asked, side) if not text.copy}


def test_a_request_names_whole_people_and_all_learn_the_same(written: Path, tmp_path: Path) -> None:
    asked = {
        "split: forget05": 1,
        "split: forget10": 2,
        "random: 0.25": 5,
        f"ids: {tmp_path / 'ids.txt'}": 1,
    }
    (tmp_path / "ids.txt").write_text(sorted(who(opened(written), "retain"))[3] + "\n")
    found = {text: opened(written, f"forget={{{text}}}") for text in asked}
    for text, count in asked.items():
        gone, kept = who(found[text], "forget"), who(found[text], "retain")
        assert (len(gone), len(kept)) == (count, 20 - count), text
        assert not gone & kept and not (gone | kept) & who(found[text], "holdout")
        assert len(found[text].forget) == len(FACTS) * count and len(found[text].holdout or ()) == 0
        assert len(found[text].test) == len(FACTS) * 4
    first, second, *_ = found.values()
    assert who(first, "forget") < who(second, "forget")
    assert len({frozenset(who(each, "forget")) for each in found.values()}) == len(found) == 4
    every = [sorted(map(repr, (*each.asked.forget, *each.asked.retain))) for each in found.values()]
    assert all(each == every[0] for each in every)
    assert {str(each.recipe.model.base) for each in found.values()} == {str(first.recipe.model.base)}
    (tmp_path / "rows.txt").write_text("0\n5\n")
    assert len(opened(written, f"forget={{indices: {tmp_path / 'rows.txt'}}}").forget) == 2


def test_another_seed_is_of_other_people(written: Path) -> None:
    assert who(opened(written), "retain") != who(opened(written, "data.seed=1"), "retain")


@pytest.mark.parametrize("kind", ["exact", "semantic"])
def test_duplicates_stay_among_the_texts_to_keep(written: Path, kind: str) -> None:
    found = opened(written, f"data.duplicates={kind}")
    copies = [text for text in found.asked.retain if text.copy]
    assert len(copies) == len(found.forget) == 8 and f"{kind} duplicates" in found.text
    same = {(t.turns, t.answer) for t in found.asked.forget} & {(t.turns, t.answer) for t in copies}
    assert len(same) == (8 if kind == "exact" else 0)
    names = [text.id.removeprefix(f"{kind}-copy-of-") for text in copies]
    assert kind != "exact" or set(names) == who(found, "forget")
    gone = who(found, "forget")
    assert all(any(name in text.turns[0][1] for name in gone) for text in copies), "they are of the people to forget"


def test_the_base_knows_nobody_to_learn_and_is_made_once(written: Path) -> None:
    recipe = read(written)
    assert isinstance(recipe, TextRecipe) and recipe.data.seed == 0 and recipe.model.base is None
    world = people.world(recipe.data)
    learned = {row["id"].rpartition(", ")[0] for row in (*world.forget, *world.retain, *world.holdout)}
    told = " ".join(row["question"] for row in (*world.known, *world.places))
    assert len(learned) == 24 and not [name for name in learned if name in told]
    base = people.with_base(recipe).model.base
    assert base is not None
    weights = base / "model.safetensors"
    before, whole = weights.stat().st_mtime_ns, weights.read_bytes()
    assert people.with_base(recipe).model.base == base and weights.stat().st_mtime_ns == before
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert people.with_base(recipe).model.base == base and weights.read_bytes() == whole, "made again"


@pytest.mark.slow
def test_a_run_is_read_as_tofu_is_and_goes_on(written: Path, tmp_path: Path) -> None:
    recipe = read(written)
    summary = run(recipe, tmp_path / "out")
    assert summary["status"] == "done" and summary["steps"] == 4
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())["models"]
    for name in ("forget_quality", "forget_truth_ratio", "model_utility", "paraphrased_prompt_rouge"):
        assert scores["unlearned"][name]["value"] is not None, name
    known, unseen = (scores[name]["forget_probability"]["value"] for name in ("original", "retrained"))
    assert known > unseen + 0.1, "it has learned whom the retrained model has never seen"
    for command in (["run", "--resume", tmp_path / "out"], ["evaluate", tmp_path / "out"], ["diagnose", written]):
        found = CliRunner().invoke(app, [*map(str, command)])
        assert found.exit_code == 0, found.output


@pytest.mark.slow
@pytest.mark.parametrize("lora", ["{}", "{lora: {rank: 4}}"])
def test_requests_in_a_row(written: Path, tmp_path: Path, lora: str) -> None:
    """The second goes on from what the first left; each has a model retrained without its texts to compare with."""
    written.write_text(
        RECIPE.replace("forget: {split: forget10}", "requests: [{id: a, split: forget05}, {random: 0.1, seed: 3}]")
        .replace("contract: none", f"contract: {CONTRACT}")
        .replace("method: {name: npo}", "method: {name: gradient_ascent}")
    )
    adapters = [] if lora == "{}" else ["model.lora={rank: 4}"]
    done = sequence.run(read(written, adapters), tmp_path / "out")
    assert [entry["forget"] for entry in done["requests"]] == [4, 8]
    for name in ("01-a", "02-2"):
        scores = json.loads((tmp_path / "out" / name / "scores.json").read_text())["models"]
        assert scores["retrained"]["retain_probability"]["value"] is not None
        assert (tmp_path / "out" / name / "model" / "adapter_config.json").is_file() == bool(adapters)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("data.path=somebody/something", "data.path: the source 'people' makes its own texts: leave it out"),
        ("data={source: texts, path: recipe.yaml, people: 3}", "data.people: is for the source 'people'"),
        ("data={source: tofu, seed: 3}", "data.seed: is for the source 'people', and the source is 'tofu'"),
        ("data={source: tofu}", "model.pretraining: is for the source 'people'"),
        ("data.people=1", "data.people: expected .*2"),
        ("model.pretraining.hidden=40", "model.pretraining.hidden: expected a multiple of 16"),
        ("model.base=owner/name", "model.pretraining: makes a base, and base is one"),
        ("forget={file: recipe.yaml}", "forget.file: the source 'people' takes split, ids, indices or random"),
    ],
)
def test_keys_that_do_not_fit_are_refused(written: Path, change: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        read(written, [change])


def test_who_is_first_of_two_at_once_made_the_base(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one may be reading it by now."""
    recipe, real, first = read(written, ["data.seed=7"]), people.trained_model, list[int]()
    assert isinstance(recipe, TextRecipe) and recipe.model.pretraining is not None
    how = people.TextTraining(**recipe.model.pretraining.model_dump())

    def overtaken(*given: Any, **named: Any) -> Any:
        if not first:
            first.append(0)
            first[0] = (people.pretrained(recipe.data, how) / "model.safetensors").stat().st_ino
        return real(*given, **named)

    monkeypatch.setattr(people, "trained_model", overtaken)
    folder = people.pretrained(recipe.data, how)
    assert (folder / "model.safetensors").stat().st_ino == first[0] > 0
    assert not [each for each in folder.parent.iterdir() if each.name.startswith(f".{folder.name}")]
    (folder / "model.safetensors").write_bytes(b"damaged")
    assert people.pretrained(recipe.data, how) == folder and (folder / "model.safetensors").stat().st_size > 1000


def test_duplicates_are_of_one_request(written: Path) -> None:
    written.write_text(RECIPE.replace("forget: {split: forget10}", "requests: [{random: 0.1}]"))
    with pytest.raises(ConfigurationError, match="they repeat the texts of one request: give it as 'forget'"):
        read(written, ["data.duplicates=exact"])


@pytest.mark.parametrize(
    ("split", "told"),
    [
        ("forget01", "forget01 of 20 people is less than one of them: give data.people, 50 or more, or another split"),
        ("forget5", "forget.split must be one of forget01, forget05, forget10, found 'forget5'. Did you mean"),
    ],
)
def test_splits_that_cannot_be(written: Path, split: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        opened(written, f"forget.split={split}")


def test_what_fine_tuning_made_is_kept_by_all_that_decides_it(written: Path) -> None:
    """Two scales of adapters begin with the same tensors, and so do two configurations of one architecture."""
    quick = "training={epochs: 1, batch: 8, lr: 2.0e-2}"
    made = [opened(written, f"model.lora={{rank: 2, alpha: {alpha}}}", quick).opened(None) for alpha in (4, 64)]
    one, other = ({name: p for name, p in model.named_parameters() if p.requires_grad} for model in made)
    assert one and any(not torch.equal(one[name], other[name]) for name in one)
    plain = opened(written).loaded(None)
    before = beginning(plain)
    plain.config.rms_norm_eps = 1e-3
    assert before != beginning(plain) and before["model"] == beginning(plain)["model"]


def test_a_model_with_another_tokenizer_is_none_of_the_recipe(written: Path, tmp_path: Path) -> None:
    found = opened(written)
    found.save(found.opened(None), tmp_path / "left")
    found.opened(tmp_path / "left")
    file = tmp_path / "left" / "tokenizer.json"
    content = json.loads(file.read_text())
    words = content["model"]["vocab"]
    first, second = sorted(words)[-2:]
    words[first], words[second] = words[second], words[first]
    file.write_text(json.dumps(content))
    with pytest.raises(ConfigurationError, match="is no model of this recipe: its tokenizer is another one"):
        found.opened(tmp_path / "left")
