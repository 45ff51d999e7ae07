"""Denoisers of diffusers: what they are before they have weights, built, and written in a pipeline's layout."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unweave.errors import ConfigurationError
from unweave.extras import require
from unweave.modalities.diffusion import lora
from unweave.modalities.diffusion.frozen import ENCODER, TOKENIZER, VAE, line
from unweave.modalities.diffusion.training import LONG, Training
from unweave.store import file_sha256, write_json
from unweave.tasks import Schedule

PARTS = {"unet": ("UNet2DModel", "UNet2DConditionModel"), "transformer": ("DiTTransformer2DModel",)}
"""Which classes of diffusers stand in which folder of a pipeline."""
INDEX = "model_index.json"
"""Which parts a pipeline has."""
WEIGHTS = (".safetensors", ".bin", ".ckpt", ".pt", ".pth", ".msgpack", ".onnx")
TRAINED = "unweave.json"
"""How a model was trained that was trained here."""
WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"
_HEADS = 2  # of attention to a text; the name of diffusers' field says another thing than it means
_WRITER = ("_class_name", "_diffusers_version", "_name_or_path")


def place_of(folder: Path, part: str) -> Path:
    """Where the weights lie that are sampled: the averaged ones, where a folder holds both."""
    averaged = folder / f"{part}_ema"
    return averaged if averaged.is_dir() else folder / part


@dataclass(frozen=True)
class Network:
    """A denoiser before it has weights, with the schedule that it goes with.

    Attributes:
        part: the folder of a pipeline that it stands in, "unet" or "transformer".
        config: of the network, as diffusers writes it.
        scheduler: likewise of the scheduler.
        trained: how, where that is known.
        vae: the configuration of the autoencoder, where it denoises latents.
        adapters: the folder of those that go on it (`lora.py`), if there are some.
    """

    part: str
    config: dict[str, Any]
    scheduler: dict[str, Any]
    trained: Training | None = field(default=None, compare=False)
    vae: dict[str, Any] | None = field(default=None, compare=False)
    adapters: Path | None = field(default=None, compare=False)

    @property
    def schedule(self) -> Schedule:
        """What the scheduler's configuration says."""
        return Schedule.of(self.scheduler)

    @property
    def kind(self) -> str:
        """The class that diffusers has for it."""
        return str(self.config.get("_class_name", PARTS[self.part][0]))

    @property
    def texts(self) -> bool:
        """Whether conditions are embeddings of texts, not classes."""
        return self.kind == "UNet2DConditionModel"

    @property
    def drops(self) -> bool:
        """Whether the class that diffusers has for it drops conditions in training by itself."""
        return self.part == "transformer"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of what it denoises."""
        size = self.config["sample_size"]
        height, width = size if isinstance(size, list | tuple) else (size, size)
        return self.config["in_channels"], height, width

    @property
    def pixels(self) -> tuple[int, int, int]:
        """Of the images: of what it denoises, or of what the autoencoder makes latents of."""
        channels, height, width = self.shape
        if self.vae is None:
            return channels, height, width
        times = 2 ** (len(self.vae["block_out_channels"]) - 1)
        return int(self.vae["in_channels"]), times * height, times * width

    def null(self, classes: int) -> int | None:
        """The condition that means none of a network for so many classes; None where it has no row for it.

        Raises:
            ConfigurationError: it knows another number of classes.
        """
        if self.part == "transformer":
            rows = int(self.config.get("num_embeds_ada_norm") or 0) + 1
        else:
            rows = int(self.config.get("num_class_embeds") or 0)
        drops = self.drops or (self.trained is not None and self.trained.dropout > 0)
        if rows not in ((classes + 1,) if drops else (classes, classes + 1)):
            more = "the last means none" if drops else "one more where a condition means none"
            raise ConfigurationError(
                f"the network must know the {classes} classes of the data, and {more}; found {rows} conditions: take "
                "the data that it was trained on"
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
                raise ConfigurationError(f"{self.kind} cannot be built so: {line(error)}") from error
        return made.eval()

    def empty(self) -> nn.Module:
        """The network without its numbers, on torch's meta device.

        Raises:
            ConfigurationError: diffusers cannot build it.
        """
        with torch.device("meta"):
            return self.build()

    def about(self) -> dict[str, Any]:
        """All that decides what is built, as plain data."""
        return {
            "part": self.part,
            **{n: {k: v for k, v in c.items() if k not in _WRITER} for n, c in self._configs().items()},
        }

    def save(self, model: nn.Module, folder: Path, like: Path | None = None) -> None:
        """Writes a pipeline's folder that diffusers reads, all or nothing; of a model with adapters, these alone.

        Args:
            model: of this network.
            folder: to write; what was there is replaced.
            like: the folder that the model came from, or that goes with it, whose other parts are copied.
        """
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = folder.with_name(f".{folder.name}")
        shutil.rmtree(partial, ignore_errors=True)
        if like is not None and any("lora_" in name for name, _ in model.named_parameters()):
            lora.save(model, partial)
            base = {"base": str(like.resolve()), "sha256": file_sha256(place_of(like, self.part) / WEIGHTS_FILE)}
            write_json(partial / TRAINED, base)
        else:
            self._whole(model, partial, like)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)

    def _whole(self, model: nn.Module, folder: Path, like: Path | None) -> None:
        own = (f"{self.part}_ema", self.part, "scheduler", TRAINED)
        if like is not None:
            left = {*own, *_weights_beside(like)}
            shutil.copytree(like, folder, ignore=lambda at, names: left & {*names} if Path(at) == like else set())
        folder.mkdir(exist_ok=True)
        saved: Any = model
        saved.save_pretrained(folder / self.part, safe_serialization=True)
        diffusers = require("diffusers", "diffusion")
        if like is None or not (like / "scheduler").is_dir():
            diffusers.DDIMScheduler.from_config(self.scheduler).save_pretrained(folder / "scheduler")
        else:
            shutil.copytree(like / "scheduler", folder / "scheduler")
        if like is None:
            index = {"_class_name": "DDIMPipeline", "_diffusers_version": diffusers.__version__}
            index |= {self.part: ["diffusers", self.kind], "scheduler": ["diffusers", "DDIMScheduler"]}
            write_json(folder / INDEX, index)
        if self.trained is not None:
            write_json(folder / TRAINED, {"training": asdict(self.trained)})

    def _configs(self) -> dict[str, dict[str, Any]]:
        return {"config": self.config, "scheduler": self.scheduler}


def _weights_beside(folder: Path) -> list[str]:
    """What a pipeline does not name and holds weights, of the original as like as not; and what is hidden."""
    index = json.loads((folder / INDEX).read_text(encoding="utf-8")) if (folder / INDEX).is_file() else {}
    parts = {VAE, ENCODER, TOKENIZER, *(name for name, kind in index.items() if isinstance(kind, list))}
    strange = [path for path in folder.iterdir() if path.name not in parts]
    held = {path.name for path in strange for each in (path, *path.rglob("*")) if each.suffix in WEIGHTS}
    return [path.name for path in strange if path.name in held or path.name.startswith(".")]


def unet(
    classes: int, shape: tuple[int, int, int], widths: tuple[int, ...], training: Training, embedding: int | None = None
) -> Network:
    """A `UNet2DModel` of plain convolution blocks, one a level, and a row for the condition that means none.

    With an `embedding` of so many numbers a token, a `UNet2DConditionModel` instead, which reads texts at its coarsest
    level. (16, 32) on 8 x 8 grey images has 160,401 parameters with ten classes, 277,073 with texts of 128.

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
    if embedding is not None:
        config |= {
            "_class_name": "UNet2DConditionModel",
            "down_block_types": ["DownBlock2D"] * (len(widths) - 1) + ["CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D"] + ["UpBlock2D"] * (len(widths) - 1),
            "attention_head_dim": _HEADS,
            "cross_attention_dim": embedding,
        }
        del config["add_attention"], config["num_class_embeds"]
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
