"""What goes with a model counts as much as its weights: schedule, encoders, conditions, and the base of adapters."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from tests.modalities.diffusion import _pictures
from tests.modalities.diffusion._pictures import pictures
from tests.modalities.diffusion._pipeline import RECIPE, captioned, pipeline
from unweave.errors import ConfigurationError
from unweave.modalities import job, read
from unweave.modalities.diffusion import folders
from unweave.modalities.diffusion.data import Conditioned
from unweave.modalities.diffusion.frozen import Frozen
from unweave.modalities.diffusion.lora import Lora, adapted
from unweave.modalities.diffusion.networks import Network, unet
from unweave.modalities.diffusion.training import Training, train
from unweave.modalities.images.tensors import TensorImages
from unweave.run import identity
from unweave.run.identity import check_same, resolve
from unweave.tasks import Diffusion

UNJUDGED = RECIPE.replace("looks: 2", "looks: 2, judge: none")
SHAPE = (3, 8, 8)
SCHEDULER = "scheduler/scheduler_config.json"


@pytest.fixture
def world(tmp_path: Path) -> Path:
    pipeline(tmp_path / "pipeline"), captioned(tmp_path / "pictures", each=8)
    (tmp_path / "recipe.yaml").write_text(UNJUDGED)
    return tmp_path


def edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def made(folder: Path) -> Any:
    return job(read(folder / "recipe.yaml"))


OTHERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "prediction": (lambda at: edit(at / SCHEDULER, prediction_type="v_prediction"), "its schedule is another one"),
    "timesteps": (lambda at: edit(at / SCHEDULER, num_train_timesteps=500), "its schedule is another one"),
    "latents": (
        lambda at: edit(at / "vae/config.json", scaling_factor=1.0),
        "its autoencoder or text encoder is another",
    ),
    "encoder": (
        lambda at: edit(at / "tokenizer/tokenizer_config.json", model_max_length=6),
        "its autoencoder or text encoder is another",
    ),
    "conditions": (
        lambda at: (shutil.rmtree(at), (net := unet(3, SHAPE, (8,), Training())).save(net.build(), at)),
        "its conditions are others",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_a_folder_that_goes_with_something_else_is_no_model_of_the_recipe(name: str, world: Path) -> None:
    change, words = OTHERS[name]
    shutil.copytree(world / "pipeline", world / "other")
    found = made(world)
    found.opened(world / "other")
    change(world / "other")
    with pytest.raises(ConfigurationError, match=f"is no model of this recipe:.*{words}"):
        found.opened(world / "other")


def test_a_class_that_is_none_elsewhere(tmp_path: Path) -> None:
    """Of the same number of rows: here one of them means none, there it is a class."""
    pictures(tmp_path / "pictures", each=10)
    for name, classes in (("own", 3), ("other", 2)):
        network = unet(classes, SHAPE, (8, 16), Training(timesteps=50, dropout=0.0))
        network.save(network.build(), tmp_path / name)
    text = _pictures.RECIPE.replace("widths: [8, 16]", "weights: own")
    (tmp_path / "recipe.yaml").write_text(text.replace("attacks: {images: 5, search: 5, drawn: 20}", "judge: none"))
    with pytest.raises(ConfigurationError, match="its conditions are others"):
        made(tmp_path).opened(tmp_path / "other")


@pytest.mark.parametrize("part", ["vae/config.json", "tokenizer/tokenizer_config.json", "tokenizer/vocabulary"])
def test_what_is_kept_of_images_and_texts_is_of_these_configurations(part: str, world: Path) -> None:
    around = Frozen(world / "pipeline", True, True, torch.device("cpu"))
    images = TensorImages(torch.rand(2, 3, 8, 8), torch.tensor([0, 1]))
    look = lambda at: at.entered(images) if part.startswith("vae") else at.embedded(["a top bar"])  # noqa: E731
    before = look(around)
    if part == "tokenizer/vocabulary":
        file = world / "pipeline" / "tokenizer" / "tokenizer.json"
        content = json.loads(file.read_text())
        words = content["model"]["vocab"]
        words["t</w>"], words["a</w>"], words["t"], words["o"] = words["a</w>"], words["t</w>"], words["o"], words["t"]
        file.write_text(json.dumps(content))
    else:
        edit(world / "pipeline" / part, scaling_factor=3.0, model_max_length=6)
    again = look(Frozen(world / "pipeline", True, True, torch.device("cpu")))
    assert again.shape != before.shape or not torch.allclose(again, before)


def test_a_run_does_not_go_on_with_another_schedule(world: Path) -> None:
    def what() -> dict[str, Any]:
        recipe = read(world / "recipe.yaml")
        return identity.identity(resolve(recipe, job(recipe), world / "out"))

    before = what()
    check_same(before, what())
    edit(world / "pipeline" / SCHEDULER, prediction_type="v_prediction")
    with pytest.raises(ConfigurationError, match="schedule set changed since the run began"):
        check_same(before, what())


def test_adapters_are_for_the_weights_that_they_were_written_for(world: Path) -> None:
    network, folder = folders.read(world / "pipeline")
    network.save(adapted(folders.opened(network, folder), Lora()), world / "adapters", folder)
    folders.opened(*folders.read(world / "adapters"))
    file = folders.weights_of(network, folder)
    tensors = safetensors.torch.load_file(file)
    safetensors.torch.save_file({name: 1.5 * each for name, each in tensors.items()}, file, {"format": "pt"})
    with pytest.raises(ConfigurationError, match="adapters for weights that were changed since"):
        folders.opened(*folders.read(world / "adapters"))


def test_what_is_not_said_of_a_training_is_written_nowhere(tmp_path: Path) -> None:
    pictures(tmp_path / "pictures", each=10)
    network = replace(unet(3, SHAPE, (8, 16), Training(timesteps=50)), trained=None)
    network.save(network.build(), tmp_path / "own")
    text = _pictures.RECIPE.replace("widths: [8, 16]", "weights: own").replace(
        "evaluation: {", "evaluation: {guidance: 3, "
    )
    for training, said in (("{steps: 3}", None), ("{steps: 3, dropout: 0.2}", 0.2)):
        (tmp_path / "recipe.yaml").write_text(
            text.replace("{steps: 300, batch: 32, lr: 5.0e-3, ema: 0.9, timesteps: 50}", training)
        )
        if said is None:
            with pytest.raises(ConfigurationError, match="nobody says whether"):
                made(tmp_path)
            (tmp_path / "recipe.yaml").write_text((tmp_path / "recipe.yaml").read_text().replace("guidance: 3, ", ""))
        found = made(tmp_path)
        assert found.training.steps == 3 and found.task.dropout == (said or 0.0)
        found.save(found.network.build(), tmp_path / "left")
        noted = folders.read(tmp_path / "left")[0].trained
        assert (noted is None) if said is None else (noted.dropout == said)


def test_a_transformer_drops_conditions_once() -> None:
    """By the task: diffusers' class would drop a tenth more by itself."""
    config = {
        "_class_name": "DiTTransformer2DModel", "sample_size": 8, "in_channels": 1, "out_channels": 1, "patch_size": 2,
        "num_layers": 1, "num_attention_heads": 1, "attention_head_dim": 8, "num_embeds_ada_norm": 3,
        "norm_num_groups": 8,
    }  # fmt: skip
    model = Network("transformer", config, {}).build()
    seen = list[torch.Tensor]()
    for module in model.modules():
        if hasattr(module, "embedding_table"):
            module.embedding_table.register_forward_pre_hook(lambda _, given: seen.append(given[0].clone()))
    data = Conditioned(torch.randn(30, 1, 8, 8), torch.arange(30) % 3)
    train(model, Diffusion(unet(3, SHAPE, (8,), Training()).schedule, null=3), data, Training(steps=20, dropout=0.0))
    assert len(seen) >= 20 and not any(bool((each == 3).any()) for each in seen)
