"""Denoisers in folders of diffusers: built, read, refused, and written so that plain diffusers reads them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch

from unweave.errors import ConfigurationError
from unweave.modalities.diffusion import folders
from unweave.modalities.diffusion.folders import opened, read
from unweave.modalities.diffusion.networks import Network, unet
from unweave.modalities.diffusion.training import Training
from unweave.tasks import Diffusion

SHAPE = (1, 8, 8)
TINY = unet(3, SHAPE, (8, 16), Training(timesteps=50))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    TINY.save(TINY.build(), tmp_path / "saved")
    return tmp_path / "saved"


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def asked(model: torch.nn.Module) -> torch.Tensor:
    x = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return Diffusion(TINY.schedule, null=3).seen(model, x, torch.tensor([3, 40]), torch.tensor([0, 3]))


def test_the_network_of_the_digits_has_the_size_that_is_told() -> None:
    network = unet(10, SHAPE, (16, 32), Training())
    assert sum(p.numel() for p in network.build().parameters()) == 160_401
    assert network.null(10) == 10 and network.shape == SHAPE and len(network.schedule) == 1000


def test_initial_weights_follow_the_seed_alone() -> None:
    state = torch.random.get_rng_state()
    first, again, other = (TINY.build(seed).state_dict()["conv_in.weight"] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_what_was_saved_is_read_again(folder: Path) -> None:
    network, place = read(folder)
    assert network.about()["config"].items() >= TINY.about()["config"].items()
    assert torch.equal(network.schedule.alphas_cumprod, TINY.schedule.alphas_cumprod)
    assert network.trained == Training(timesteps=50), "how it was trained stands beside it"
    assert torch.equal(asked(opened(network, place)), asked(TINY.build()))
    assert (folder / "model_index.json").is_file() and (folder / "unet" / "config.json").is_file()


def test_a_run_is_read_as_its_model(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder, tmp_path / "run" / "model")
    assert read(tmp_path / "run")[1] == tmp_path / "run" / "model"


def test_plain_diffusers_gives_the_same(folder: Path) -> None:
    """Without a line of ours; in a process that has none either: test_pipelines.py."""
    diffusers = pytest.importorskip("diffusers")
    model = diffusers.UNet2DModel.from_pretrained(folder, subfolder="unet", use_safetensors=True)
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = model(x, torch.tensor([3, 40]), class_labels=torch.tensor([0, 3])).sample
    assert torch.equal(found, asked(TINY.build()))
    schedule = diffusers.DDIMScheduler.from_pretrained(folder, subfolder="scheduler").alphas_cumprod
    torch.testing.assert_close(schedule.double(), TINY.schedule.alphas_cumprod, rtol=1e-4, atol=0)


def test_all_else_of_a_folder_is_kept_and_its_weights_are_replaced(folder: Path, tmp_path: Path) -> None:
    (folder / "feature").mkdir()
    (folder / "feature" / "a.txt").write_text("kept")
    edit(folder / "scheduler" / "scheduler_config.json", steps_offset=1)
    network, place = read(folder)
    model = opened(network, place)
    with torch.no_grad():
        next(model.parameters()).add_(1)
    network.save(model, tmp_path / "new", place)
    assert (tmp_path / "new" / "feature" / "a.txt").read_text() == "kept"
    for name in ("scheduler/scheduler_config.json", "model_index.json"):
        assert (tmp_path / "new" / name).read_bytes() == (folder / name).read_bytes()
    assert torch.equal(asked(opened(*read(tmp_path / "new"))), asked(model))
    assert not torch.equal(asked(model), asked(TINY.build()))


def test_averaged_weights_are_those_that_are_sampled(folder: Path, tmp_path: Path) -> None:
    other = TINY.build(7)
    other.save_pretrained(folder / "unet_ema")
    network, place = read(folder)
    assert folders.place_of(place, "unet").name == "unet_ema"
    assert torch.equal(asked(opened(network, place)), asked(other))
    network.save(other, tmp_path / "new", place)
    assert not (tmp_path / "new" / "unet_ema").exists(), "the old average would be sampled instead"
    assert torch.equal(asked(opened(*read(tmp_path / "new"))), asked(other))


def pickled(folder: Path) -> None:
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({}, folder / "unet" / "diffusion_pytorch_model.bin")


def flow(folder: Path) -> None:
    edit(folder / "scheduler" / "scheduler_config.json", _class_name="FlowMatchEulerDiscreteScheduler")


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no scheduler": (lambda f: shutil.rmtree(f / "scheduler"), "must hold scheduler/scheduler_config.json"),
    "a pickle": (pickled, "diffusion_pytorch_model.bin: a pickle"),
    "flow matching": (flow, "flow matching"),
    "a prediction": (
        lambda f: edit(f / "scheduler" / "scheduler_config.json", prediction_type="score"),
        "prediction_type must be one of",
    ),
    "no network": (lambda f: shutil.rmtree(f / "unet"), "must hold unet/config.json or transformer/config.json"),
    "a codebook": (lambda f: (f / "vqvae").mkdir(), "holds vqvae"),
    "an empty autoencoder": (lambda f: (f / "vae").mkdir(), "vae/config.json cannot be read"),
    "another class": (lambda f: edit(f / "unet" / "config.json", _class_name="UNet1DModel"), "expected UNet2DModel"),
    "no weights": (
        lambda f: (f / "unet" / "diffusion_pytorch_model.safetensors").unlink(),
        "was the download cut off",
    ),
    "torn JSON": (lambda f: (f / "unet" / "config.json").write_text("{"), "config.json cannot be read"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_named(folder: Path, name: str) -> None:
    spoil, told = REFUSED[name]
    spoil(folder)
    with pytest.raises(ConfigurationError) as refused:
        read(folder)
    assert told in str(refused.value) and str(folder) in str(refused.value)


def test_a_checkpoint_file_is_refused_as_a_pickle(tmp_path: Path) -> None:
    file = tmp_path / "sd.ckpt"
    file.write_bytes(b"x")
    with pytest.raises(ConfigurationError, match=r"must be a folder of diffusers.*\n?.*pickle \(\.ckpt\)"):
        read(file)


def test_weights_that_do_not_fit_or_are_not_finite(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = safetensors.torch.load_file(path)
    weights["conv_in.bias"][0] = torch.nan
    safetensors.torch.save_file(weights, path)
    with pytest.raises(ConfigurationError, match=r"1 are not finite \(conv_in\.bias"):
        opened(*read(folder))
    del weights["conv_in.bias"]
    safetensors.torch.save_file(weights, path)
    with pytest.raises(ConfigurationError, match="1 do not fit"):
        opened(*read(folder))
    path.write_bytes(b"torn")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        opened(*read(folder))


def test_classes_and_the_null_condition() -> None:
    assert TINY.null(3) == 3
    assert replace(TINY, trained=None).null(4) is None, "four rows for four classes: none of them means none"
    with pytest.raises(ConfigurationError, match="and the last means none; found 4"):
        TINY.null(4)  # a row stood for none in its training
    with pytest.raises(ConfigurationError, match="must know the 5 classes"):
        TINY.null(5)
    transformer = Network("transformer", {"num_embeds_ada_norm": 3, "sample_size": 8, "in_channels": 1}, {})
    assert transformer.null(3) == 3
    with pytest.raises(ConfigurationError, match="and the last means none; found 4"):
        transformer.null(4)


@pytest.mark.parametrize(("widths", "shape"), [((12, 16), SHAPE), ((8, 8, 8, 8, 8), SHAPE), ((8, 16), (1, 8, 10))])
def test_widths_that_no_network_has(widths: tuple[int, ...], shape: tuple[int, int, int]) -> None:
    with pytest.raises(ConfigurationError, match=r"model\.widths"):
        unet(3, shape, widths, Training())
