"""Denoisers of diffusers: built from nothing, read from a folder, and written back in the layout that they came in."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unweave.errors import ConfigurationError, gathered
from unweave.extras import require
from unweave.modalities.diffusion.training import LONG, Training
from unweave.store import write_json
from unweave.tasks import Schedule

PARTS = {"unet": "UNet2DModel", "transformer": "DiTTransformer2DModel"}
_WEIGHTS, _SCHEDULER = "diffusion_pytorch_model.safetensors", "scheduler_config.json"
_TRAINED = "unweave.json"  # how a model was trained that was trained here
_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
_LATENT = ("vae", "vqvae", "text_encoder")
_WRITER = ("_class_name", "_diffusers_version", "_name_or_path")


@dataclass(frozen=True)
class Network:
    """A denoiser before it has weights, with the schedule that it goes with.

    Attributes:
        part: the folder of a pipeline that it stands in, "unet" or "transformer".
        config: of the network, as diffusers writes it.
        scheduler: likewise of the scheduler.
        trained: how, where that is known.
    """

    part: str
    config: dict[str, Any]
    scheduler: dict[str, Any]
    trained: Training | None = field(default=None, compare=False)

    @property
    def schedule(self) -> Schedule:
        """What the scheduler's configuration says."""
        return Schedule.of(self.scheduler)

    @property
    def kind(self) -> str:
        """The class that diffusers has for it."""
        return PARTS[self.part]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of what it denoises."""
        size = self.config["sample_size"]
        height, width = size if isinstance(size, list | tuple) else (size, size)
        return self.config["in_channels"], height, width

    def null(self, classes: int) -> int | None:
        """The condition that means none of a network for so many classes; None where it has no row for it.

        Raises:
            ConfigurationError: it knows another number of classes.
        """
        if self.part == "transformer":
            rows = int(self.config.get("num_embeds_ada_norm") or 0) + 1
        else:
            rows = int(self.config.get("num_class_embeds") or 0)
        if rows not in (classes, classes + 1):
            raise ConfigurationError(
                f"the network must know the {classes} classes of the data, and one more where a condition means none; "
                f"found {rows} conditions: take the data that it was trained on"
            )
        return classes if rows > classes else None

    def build(self, seed: int = 0) -> nn.Module:
        """The untrained network; the initial weights depend on `seed` alone.

        Raises:
            ConfigurationError: diffusers cannot build it.
        """
        kind = getattr(require("diffusers", "diffusion"), self.kind)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                made: nn.Module = kind.from_config(self.config)
            except Exception as error:  # whatever diffusers raises for a configuration that is none
                raise ConfigurationError(f"{self.kind} cannot be built so: {_line(error)}") from error
        return made.eval()

    def about(self) -> dict[str, Any]:
        """All that decides what is built, as plain data."""
        return {
            "part": self.part,
            **{n: {k: v for k, v in c.items() if k not in _WRITER} for n, c in self._configs().items()},
        }

    def save(self, model: nn.Module, folder: Path, like: Path | None = None) -> None:
        """Writes a pipeline's folder that diffusers reads, all or nothing.

        Args:
            model: of this network.
            folder: to write; what was there is replaced.
            like: the folder that the model came from, whose other parts are copied.
        """
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = folder.with_name(f".{folder.name}")
        shutil.rmtree(partial, ignore_errors=True)
        own = (f"{self.part}_ema", self.part, "scheduler", _TRAINED)
        if like is not None:
            shutil.copytree(like, partial, ignore=lambda at, names: {*own} & {*names} if Path(at) == like else set())
        partial.mkdir(exist_ok=True)
        saved: Any = model
        saved.save_pretrained(partial / self.part, safe_serialization=True)
        diffusers = require("diffusers", "diffusion")
        if like is None:
            diffusers.DDIMScheduler.from_config(self.scheduler).save_pretrained(partial / "scheduler")
            index = {"_class_name": "DDIMPipeline", "_diffusers_version": diffusers.__version__}
            index |= {self.part: ["diffusers", self.kind], "scheduler": ["diffusers", "DDIMScheduler"]}
            write_json(partial / "model_index.json", index)
        else:
            shutil.copytree(like / "scheduler", partial / "scheduler")
        if self.trained is not None:
            write_json(partial / _TRAINED, {"training": asdict(self.trained)})
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)

    def _configs(self) -> dict[str, dict[str, Any]]:
        return {"config": self.config, "scheduler": self.scheduler}


def unet(classes: int, shape: tuple[int, int, int], widths: tuple[int, ...], training: Training) -> Network:
    """A `UNet2DModel` of plain convolution blocks, one a level, and a row for the condition that means none.

    (16, 32) on 8 x 8 grey images with ten classes has 160,401 parameters.

    Raises:
        ConfigurationError: widths that groups of 8 channels do not divide, or more levels than the images have.
    """
    channels, height, width = shape
    if height != width or height % 2 ** (len(widths) - 1) or any(each % 8 for each in widths) or not widths:
        raise ConfigurationError(
            f"model.widths must be multiples of 8, and every level but the first halves square images; found "
            f"{list(widths)} for {height} x {width} pixels"
        )
    config = {
        "sample_size": height,
        "in_channels": channels,
        "out_channels": channels,
        "layers_per_block": 1,
        "block_out_channels": list(widths),
        "down_block_types": ["DownBlock2D"] * len(widths),
        "up_block_types": ["UpBlock2D"] * len(widths),
        "norm_num_groups": 8,
        "add_attention": False,
        "num_class_embeds": classes + 1,
    }
    scheduler = {
        "num_train_timesteps": training.timesteps,
        "beta_schedule": "linear",
        "beta_start": 1e-4 * LONG / training.timesteps,
        "beta_end": 0.02 * LONG / training.timesteps,
        "prediction_type": "epsilon",
        "clip_sample": True,
        "timestep_spacing": "leading",
    }
    return Network("unet", config, scheduler, training)


def read(folder: Path) -> tuple[Network, Path]:
    """The network of a pipeline's folder, or of a run's, and that folder; no weights are read.

    Raises:
        ConfigurationError: no such folder, no network or no scheduler in it, a kind that is not known, a model of
            latents, flow matching, or weights that are pickles; all of them at once.
    """
    folder = folder / "model" if (folder / "model").is_dir() else folder
    if not folder.is_dir():
        raise ConfigurationError(
            f"{folder} must be a folder of diffusers, with unet/ (or transformer/) and scheduler/: fetch it first "
            "(hf download OWNER/NAME --local-dir FOLDER); nothing is fetched here"
            + (f". {_pickled(folder)}" if folder.suffix in _PICKLES else "")
        )
    part = next((name for name in PARTS if (folder / name / "config.json").is_file()), None)
    faults = []
    weights = folder if part is None else place_of(folder, part)
    if part is None:
        pickles = [path.name for path in sorted(folder.iterdir()) if path.suffix in _PICKLES]
        faults.append(f"{folder} must hold unet/config.json or transformer/config.json, and holds neither")
        faults += [f"{folder / name}: {_pickled(folder / name)}" for name in pickles]
    elif not (weights / _WEIGHTS).is_file():
        pickled = [path for path in sorted(weights.iterdir()) if path.suffix in _PICKLES]
        faults += [f"{path}: {_pickled(path)}" for path in pickled]
        faults += [] if pickled else [f"{weights} holds no {_WEIGHTS}: was the download cut off?"]
    if latent := [name for name in _LATENT if (folder / name).is_dir()]:
        faults.append(
            f"{folder} holds {' and '.join(latent)}: a recipe takes models of images and their classes so far, and "
            "models of latents or texts from Python (unweave.unlearn with task=Diffusion(...))"
        )
    if not (folder / "scheduler" / _SCHEDULER).is_file():
        faults.append(
            f"{folder} must hold scheduler/{_SCHEDULER}: the schedule is part of the model, and a wrong one is silent"
        )
    if faults or part is None:
        raise ConfigurationError(faults)
    config, scheduler = gathered(
        lambda: _json(weights / "config.json"), lambda: _json(folder / "scheduler" / _SCHEDULER)
    )
    if config.get("_class_name") != PARTS[part]:
        raise ConfigurationError(
            f"{weights / 'config.json'}: expected {' or '.join(PARTS.values())}, found {config.get('_class_name')}"
        )
    try:
        Schedule.of(scheduler)
    except ConfigurationError as error:
        raise ConfigurationError([f"{folder / 'scheduler' / _SCHEDULER}: {fault}" for fault in error.faults]) from error
    trained = None
    if (folder / _TRAINED).is_file():
        trained = Training(**_json(folder / _TRAINED).get("training", {}))
    return Network(part, config, scheduler, trained), folder


def place_of(folder: Path, part: str) -> Path:
    """Where the weights lie that are sampled: the averaged ones, where a folder holds both."""
    averaged = folder / f"{part}_ema"
    return averaged if averaged.is_dir() else folder / part


def opened(network: Network, folder: Path) -> nn.Module:
    """The network with the weights of its folder, in float32 and eval mode.

    Raises:
        ConfigurationError: they cannot be read, do not fit, or are not finite.
    """
    kind: Any = getattr(require("diffusers", "diffusion"), network.kind)
    place = place_of(folder, network.part)
    try:
        model, told = kind.from_pretrained(
            place, local_files_only=True, use_safetensors=True, output_loading_info=True, low_cpu_mem_usage=False
        )
    except Exception as error:  # whatever diffusers and safetensors raise for a damaged folder
        raise ConfigurationError(f"{place} cannot be read: {_line(error)}") from error
    misfits = [*told["missing_keys"], *told["unexpected_keys"], *told["mismatched_keys"]]
    broken = [name for name, tensor in model.state_dict().items() if not bool(tensor.isfinite().all())]
    if misfits or broken:
        what = f"{len(misfits)} do not fit its config.json" if misfits else f"{len(broken)} are not finite"
        raise ConfigurationError(f"{place / _WEIGHTS}: of its tensors {what} ({(misfits or broken)[0]}, ...)")
    made: nn.Module = model.float()
    return made.eval()


def _pickled(path: Path) -> str:
    return (
        f"a pickle ({path.suffix}) can run code and is not read: save it as safetensors (diffusers: "
        "scripts/convert_original_stable_diffusion_to_diffusers.py --to_safetensors for .ckpt, "
        "save_pretrained(safe_serialization=True) for .bin)"
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} cannot be read: {_line(error)}") from error
    if not isinstance(found, dict):
        raise ConfigurationError(f"{path} must hold a mapping, found {type(found).__name__}")
    return found


def _line(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
