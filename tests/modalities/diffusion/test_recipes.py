"""What a recipe of a diffusion model may say, and how it is told what it may not."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.modalities.diffusion._pictures import RECIPE, pictures
from unweave.errors import ConfigurationError
from unweave.modalities import MODALITIES, job, of, read
from unweave.modalities.diffusion import sources
from unweave.modalities.diffusion.data import Conditioned
from unweave.modalities.diffusion.networks import unet
from unweave.modalities.diffusion.training import Training
from unweave.run import runner, sequence


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pictures(tmp_path / "pictures", each=10)
    return tmp_path


def told(folder: Path, text: str) -> str:
    (folder / "recipe.yaml").write_text(text)
    with pytest.raises(ConfigurationError) as refused:
        job(read(folder / "recipe.yaml"))
    return str(refused.value)


def test_defaults_are_those_of_small_denoisers(folder: Path) -> None:
    (folder / "recipe.yaml").write_text("data: {source: digits_to_draw}\nforget: {class: 3}\n")
    recipe = read(folder / "recipe.yaml")
    assert of(recipe) is MODALITIES["diffusion"]
    assert (recipe.step.name, recipe.step.arguments) == ("adam", {"lr": 5e-4})
    assert (recipe.run.forget_batch, recipe.run.retain_batch) == (64, 128)
    assert read(folder / "recipe.yaml", ["step={name: trust}"]).step.arguments == {}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("data: {source: digits_to_drew}\nforget: {class: 3}", ["recipe.yaml:1: data.source", "digits_to_draw"]),
        ("data: {source: digits_to_draw, size: 16}\nforget: {class: 3}", ["recipe.yaml:1: data", "no size"]),
        ("data: {source: picture_folder}\nforget: {class: 3}", ["recipe.yaml:1: data", "needs a 'path'"]),
        (RECIPE.replace("class: top", "class: tip"), ["no class is named 'tip'", "top"]),
        (RECIPE.replace("class: top", "class: top, random: 0.1"), ["recipe.yaml:2: forget", "class and random"]),
        (RECIPE.replace("class: top", "poison: 0.1"), ["recipe.yaml:2: forget.poison", "is for images"]),
        (RECIPE.replace("steps: 300", "steps: 0"), ["recipe.yaml:4: training.steps", "at least 1"]),
        (RECIPE.replace("steps: 300", "epochs: 300"), ["recipe.yaml:4: training.epochs"]),
        (RECIPE.replace("widths: [8, 16]", "widths: [7]"), ["model.widths must be multiples of 8"]),
        (RECIPE.replace("size: 8", "size: 9"), ["model.widths", "9 x 9 pixels"]),
        (
            RECIPE.replace("widths: [8, 16]", "widths: [8, 16], weights: here"),
            ["recipe.yaml:3: model.widths", "leave it out"],
        ),
        (RECIPE.replace("widths: [8, 16]", "weights: nowhere"), ["model.weights: no such file or folder"]),
        (
            RECIPE.replace("contract: none", "contract: {keep: [{metric: recognized, absolute: .1}]}"),
            ["recipe.yaml:7: contract.keep.0.metric", "recognised"],
        ),
        (
            RECIPE.replace("contract: none", "contract: {keep: [{metric: recognised, absolute: 5}]}"),
            ["recipe.yaml:7: contract.keep.0", "Did you mean 0.05?"],
        ),
        (RECIPE.replace("relabel_condition", "relable_condition"), ["recipe.yaml:5: method.name"]),
        (RECIPE.replace("relabel_condition", "uce, guide: -1"), ["recipe.yaml:5: method.guide", "at least 0"]),
        (RECIPE.replace("search: 5", "search: 0"), ["recipe.yaml:8: evaluation.attacks.search"]),
        (RECIPE.replace("search: 5", "which: [reading]"), ["recipe.yaml:8: evaluation.attacks.which.0", "relearning"]),
        (RECIPE.replace("search: 5", "which: [prompt]"), ["attacks.which: 'prompt' searches words"]),
        (RECIPE.replace("search: 5", "which: []"), ["recipe.yaml:8: evaluation.attacks.which", "at least 1"]),
        (RECIPE.replace("relabel_condition", "uce, gide: 1"), ["recipe.yaml:5: method.gide", "Did you mean 'guide'?"]),
    ],
)
def test_faults_have_a_place_and_say_what_is_meant(folder: Path, wrong: str, words: list[str]) -> None:
    found = told(folder, wrong)
    assert not [word for word in words if word not in found], found


def test_an_attack_that_is_none_is_one_fault(folder: Path) -> None:
    assert "at least 1" not in told(folder, RECIPE.replace("search: 5", "which: [reading]"))


def test_a_folder_must_fit_the_data(folder: Path) -> None:
    weights = RECIPE.replace("widths: [8, 16]", "weights: model").replace("guidance: 1", "")
    how = Training(timesteps=50)
    for classes, shape, words in (
        (5, (3, 8, 8), "must know the 3 classes of the data"),
        (3, (1, 8, 8), "draws images of 1 x 8 x 8 (channels, height, width), and the data are 3 x 8 x 8"),
        (3, (3, 16, 16), "the data are 3 x 8 x 8"),
    ):
        network = unet(classes, shape, (8, 16), how)
        network.save(network.build(), folder / "model")
        assert words in told(folder, weights)
    blind = unet(2, (3, 8, 8), (8, 16), replace(how, dropout=0.0))  # three rows for three classes: none means none
    blind.save(blind.build(), folder / "model")
    guided = weights.replace("evaluation: {", "evaluation: {guidance: 2.0, ")
    assert "the model has no condition that means none" in told(folder, guided)


def test_requests_in_a_row_whose_target_is_one_of_them_are_refused_at_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner.modalities, "original", lambda *_: pytest.fail("a model was made"))
    for target in ("left", "top"):
        text = RECIPE.replace("forget: {class: top}", "requests: [{class: top}, {class: left}]")
        text = text.replace("contract: none\n", "")
        (folder / "recipe.yaml").write_text(text.replace("relabel_condition}", f"relabel_condition, to: {target}}}"))
        with pytest.raises(ConfigurationError, match=f"method.to is '{target}', which is to be forgotten"):
            sequence.run(read(folder / "recipe.yaml"), folder / "out")
        assert not (folder / "out").exists()


def test_what_is_still_drawn_is_no_clause_where_every_class_is_kept(folder: Path) -> None:
    text = RECIPE.replace("contract: none", "contract: {forget: [{metric: generated, at_most: 0.1}]}")
    assert "'generated' is of requests that take whole classes" in told(
        folder, text.replace("class: top", "random: .2")
    )


def test_a_judge_reads_pictures_of_some_sizes(folder: Path) -> None:
    found = told(folder, RECIPE.replace("size: 8", "size: 12"))
    assert "reads images of 8 pixels a side, or of 16 and more; found 12" in found


def test_a_number_that_names_a_class_is_that_class(tmp_path: Path) -> None:
    """Folders 1, 10, 2: their places are others than their names."""
    pictures(tmp_path / "pictures", each=10)
    for name, number in zip(("left", "middle", "top"), ("1", "10", "2"), strict=True):
        (tmp_path / "pictures" / name).rename(tmp_path / "pictures" / number)
    for asked, gone in (("1", 0), ("10", 1), ('"1"', 0), ("[1, 2]", 0)):
        (tmp_path / "recipe.yaml").write_text(RECIPE.replace("class: top", f"class: {asked}"))
        found: Any = job(read(tmp_path / "recipe.yaml"))
        assert found.gone[0] == gone and found.text.startswith("class 1")
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("class: top", "class: 0"))
    with pytest.raises(ConfigurationError, match="no class is named '0'"):
        job(read(tmp_path / "recipe.yaml"))
    text = RECIPE.replace("class: top", "class: 1").replace("relabel_condition}", "relabel_condition, to: 2}")
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match="write the name in quotes, '2'"):
        job(read(tmp_path / "recipe.yaml"))


def test_a_class_that_an_earlier_request_took_is_not_among_those_to_keep(folder: Path) -> None:
    (folder / "recipe.yaml").write_text(RECIPE + "already: [{class: left}]\n")
    found: Any = job(read(folder / "recipe.yaml"))
    assert (found.gone, found.kept) == ((2,), (1,)) and found.task.others.tolist() == [1]
    assert set(found.retain.labels.tolist()) == {1}
    (folder / "recipe.yaml").write_text(RECIPE.replace("class: top", "random: 0.1"))
    whole: Any = job(read(folder / "recipe.yaml"))
    assert (whole.gone, whole.kept, whole.task.others) == ((), (0, 1, 2), None)


def test_the_digits_are_split_as_they_were_measured() -> None:
    source = sources.load("digits_to_draw")
    train = Conditioned.of(source.train)
    assert len(train) == 1347 and len(source.test) == 450 and len(source.classes) == 10
    assert (float(train.x0.min()), float(train.x0.max())) == (-1.0, 1.0)
    again = Conditioned.of(sources.load("digits_to_draw").train)
    assert train.fingerprint() == again.fingerprint()


def test_a_subset_keeps_the_numbers_of_its_images() -> None:
    data = Conditioned.of(sources.load("digits_to_draw").train)
    part = data.subset([5, 3, 9])
    batch = part.subset([2, 0]).batch([1, 0])
    assert batch["number"].tolist() == [5, 9] and list(batch) == ["x0", "condition", "label", "number"]
    assert part.digest(0) == data.digest(5) and part.digest(0) != data.digest(3)
    assert part[1]["condition"] == data.labels[3] and part.fingerprint() != data.subset([3, 5, 9]).fingerprint()


def test_what_the_data_alone_tell_is_refused_before_a_model_is_trained(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recipe does not know how many classes there are; its data do, and nothing has been spent on it yet."""
    monkeypatch.setattr(runner.modalities, "original", lambda *_: pytest.fail("a model was made"))
    for method, words in (
        ("{name: relabel_condition, to: 4}", "method.to is 4, and the classes are 0 to 2, and 3 for none"),
        ("{name: relabel_condition, to: lft}", "method.to is 'lft', and no class is named so. Did you mean 'left'?"),
        (
            "{name: relabel_condition, to: top}",
            "method.to is 'top', which is to be forgotten: give another condition",
        ),
        (
            "{name: relabel_condition, to: 2}",
            "method.to is 2, which is to be forgotten: give another condition",
        ),
        ("{name: hamu_q, over: {name: esd, at: 7}}", "method.at is 7, and the classes are 0 to 2"),
        ("{name: uce, guide: top}", "method.guide is 'top', which is to be forgotten"),
        ("{name: uce, guide: 2}", "method.guide is 2, which is to be forgotten"),
        ("{name: uce, preserve: [0, 2], guide: 1}", "method.preserve has 'top', which is to be forgotten"),
        ("{name: uce, guide: 5}", "method.guide is 5, and the classes are 0 to 2, and 3 for none"),
        ("{name: uce, erase: [left], guide: middle}", "method.erase leaves out 'top', which is to be forgotten"),
        ("{name: relabel_condition, classes: 2}", "method.classes is 2, and the data have 3 classes"),
        ("{name: relabel_condition, to: left}\nalready: [{class: left}]", "method.to is 'left', which is to be forgot"),
        ("{name: esd, at: left}\nalready: [{class: left}]", "method.at is 'left', which is to be forgotten"),
    ):
        (folder / "recipe.yaml").write_text(RECIPE.replace("{name: relabel_condition}", method))
        with pytest.raises(ConfigurationError, match=re.escape(words)):
            runner.run(read(folder / "recipe.yaml"), folder / "out")
        assert not (folder / "out").exists()
