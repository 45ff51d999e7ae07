"""A model of texts that is trained here: the built-in digits, asked for by their names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.modalities.diffusion.test_pipelines import command
from unweave.errors import ConfigurationError
from unweave.modalities import job, read
from unweave.modalities.diffusion import folders, letters
from unweave.modalities.diffusion.frozen import Frozen

pytestmark = pytest.mark.filterwarnings("ignore::unweave.guards.GuardWarning")  # of a model that hardly knows anything
RECIPE = """\
data: {source: digits_to_draw, prompt: "a {class}"}
forget: {prompts: a 3}
model: {texts: true, widths: [8, 16]}
training: {steps: 20}
method: {name: uce, guide: a 4}
contract: none
evaluation: {images: 20, sampling_steps: 2, looks: 1, retrained: 0, quote: false, attacks: none, judge: none}
"""
STEPS = RECIPE.replace("{name: uce, guide: a 4}", "{name: relabel_condition, to: a 4}") + (
    "step: {name: adam, lr: 0.1}\nrun: {steps: 2, forget_batch: 8, retain_batch: 8}\n"
)


def written(folder: Path, text: str = RECIPE) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def test_the_encoder_tells_texts_apart_and_is_always_the_same(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    texts = [f"a {digit}" for digit in range(10)]
    first = Frozen(letters.folder(), False, True, torch.device("cpu")).embedded(texts)
    monkeypatch.setenv("UNWEAVE_CACHE", str(tmp_path))
    again = Frozen(letters.folder(), False, True, torch.device("cpu")).embedded(texts)
    assert letters.folder().is_relative_to(tmp_path) and torch.equal(first, again)
    assert first.shape == (10, letters.LENGTH, letters.WIDTH)
    token = (first[:, None] - first).norm(dim=-1).amax(-1)[~torch.eye(10, dtype=bool)]  # where two texts differ most
    assert len(token) == 90 and float(token.min()) > letters.WIDTH**0.5 / 4  # a token's numbers are normalised


@pytest.mark.slow
def test_what_a_run_leaves_is_a_folder_with_its_encoder(tmp_path: Path) -> None:
    """From which another run goes on, that knows how the model was trained; and its original is cached."""
    assert command("run", written(tmp_path, STEPS), "-o", tmp_path / "one") == 0
    network, folder = folders.read(tmp_path / "one")
    assert network.texts and network.trained is not None and network.trained.steps == 20
    assert {each.name for each in folder.iterdir()} >= {"unet", "scheduler", "text_encoder", "tokenizer"}
    assert (tmp_path / "one" / "grid.png").stat().st_size > 0
    text = STEPS.replace("{texts: true, widths: [8, 16]}", "{weights: one}").replace("training: {steps: 20}\n", "")
    assert command("run", written(tmp_path, text), "-o", tmp_path / "two") == 0


def test_captions_of_a_folder_are_read_by_the_same(tmp_path: Path) -> None:
    from tests.modalities.diffusion._pipeline import captioned

    captioned(tmp_path / "pictures")
    text = RECIPE.replace(
        '{source: digits_to_draw, prompt: "a {class}"}', "{source: picture_folder, path: pictures, size: 8}"
    )
    text = text.replace("forget: {prompts: a 3}", 'forget: {prompts: "a top*"}').replace(
        "guide: a 4", "guide: a square"
    )
    made = job(read(written(tmp_path, text)))
    assert made.view.prompts == made.view.classes and made.train[0]["condition"].shape == (
        letters.LENGTH,
        letters.WIDTH,
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("texts: true", "weights: nowhere, texts: true"), "model.weights says what conditions are, leave it out"),
        (("texts: true, ", ""), r"the model knows no texts \(model.texts: true trains one that does\): leave it out"),
        (("a 4}", "a 3}"), "method.guide is 'a 3', which is to be forgotten"),
        (("prompts: a 3", "prompts: []"), "forget.prompts: it names nothing that is to be forgotten"),
        (("prompts: a 3", "prompts: a 12"), "no prompt is 'a 12', or like it"),
    ],
)
def test_what_does_not_fit_is_told(change: tuple[str, str], told: str, tmp_path: Path) -> None:
    assert RECIPE.count(change[0]) == 1
    with pytest.raises(ConfigurationError, match=told):
        job(read(written(tmp_path, RECIPE.replace(*change))))
