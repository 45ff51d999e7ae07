"""What of a pipeline never moves: the autoencoder between images and latents, and the encoder of its texts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unweave.errors import ConfigurationError
from unweave.extras import require
from unweave.modalities.diffusion.data import pixels
from unweave.modalities.images.tensors import TensorImages
from unweave.pretrained import without_bars
from unweave.store import cache_folder, file_sha256, keep_tensors, kept_tensors, place_of

VAE, ENCODER, TOKENIZER = "vae", "text_encoder", "tokenizer"
WEIGHTS = {VAE: "diffusion_pytorch_model.safetensors", ENCODER: "model.safetensors"}
_VERSION = 2  # part of what is kept under: raise it when a change of this file changes what it gives
_SCALE = 0.18215  # of latents, where the autoencoder's config.json says none
_BATCH = 4  # images of a pass of the autoencoder
_TEXTS = 64


@dataclass(frozen=True, eq=False)
class Frozen:
    """Autoencoder and text encoder of a pipeline's folder, either of which may be missing; read when they are needed.

    What they give is kept in the user's cache by the content of what they were given and of their weights, so that it
    is computed once.

    Attributes:
        folder: of the pipeline.
        vae: whether the denoiser's images are latents.
        texts: whether conditions are texts.
        device: where they run.
    """

    folder: Path
    vae: bool
    texts: bool
    device: torch.device

    def __getstate__(self) -> dict[str, Any]:
        """For other processes, which read the parts themselves."""
        return {name: each for name, each in vars(self).items() if name in self.__dataclass_fields__}

    def entered(self, images: TensorImages) -> Tensor:
        """What the denoiser sees of images in [0, 1]: them in [-1, 1], or `(mean + shift) scale` of their latents.

        The mean of the autoencoder's posterior is taken: no look at an example draws another latent.
        """
        if not self.vae:
            return pixels(images)
        about = {"of": "latents", "images": images.fingerprint(), "weights": self._digest(VAE)}
        return self._kept(about, lambda: self._encoded(images))

    @torch.no_grad()
    def pictures(self, drawn: Tensor) -> Tensor:
        """Images in [-1, 1] of what the denoiser drew."""
        if not self.vae:
            return drawn
        shift, scale = self._scale
        parts = ((part.to(self.device) / scale + shift) for part in drawn.split(_BATCH))
        return torch.cat([self._autoencoder.decode(part).sample.float().cpu() for part in parts])

    def embedded(self, texts: Sequence[str]) -> Tensor:
        """The embeddings of texts, `[k, L, D]`, as diffusers' pipelines make them: padded, or cut, to L tokens."""
        about = {"of": "embeddings", "texts": list(texts), "weights": self._digest(ENCODER)}
        return self._kept(about, lambda: self._encoded_texts(texts))

    @cached_property
    def nothing(self) -> Tensor:
        """Of the empty text, which stands for no condition, `[L, D]`."""
        return self.embedded([""])[0]

    def cut(self, texts: Sequence[str]) -> list[str]:
        """Those with more tokens than the encoder reads."""
        tokenizer = self._tokenizer
        most = tokenizer.model_max_length
        return [text for text in texts if len(tokenizer(text).input_ids) > most]

    def tokens(self, text: str) -> tuple[int, ...]:
        """What the encoder reads of a text."""
        return tuple(self._tokenizer(text, truncation=True).input_ids)

    def words(self, text: str, free: int) -> Asked:
        """The text behind free tokens, of which there are fewer where the encoder reads no more."""
        most, ids = self._tokenizer.model_max_length, [*self.tokens(text)]
        return Asked(self._encoder, self._tokenizer, ids, max(1, min(free, most - len(ids))), self.device)

    def _kept(self, about: dict[str, Any], make: Callable[[], Tensor]) -> Tensor:
        place = place_of({"version": _VERSION, **about}, cache_folder("latents"))
        if (kept := kept_tensors(place)) is None:
            kept = {"values": make()}
            keep_tensors(place, kept, {key: value for key, value in about.items() if key != "texts"})
        return kept["values"]

    def digest(self) -> list[str]:
        """SHA-256 of each part that is there."""
        return [self._digest(part) for part, there in ((VAE, self.vae), (ENCODER, self.texts)) if there]

    def _digest(self, part: str) -> str:
        """SHA-256 of all that decides what it gives: weights, configuration, and the tokenizer of the encoder."""
        files = [self.folder / part / name for name in (WEIGHTS[part], "config.json")]
        files += sorted(path for path in (self.folder / TOKENIZER).iterdir()) if part == ENCODER else []
        return hashlib.sha256("".join(file_sha256(path) for path in files if path.is_file()).encode()).hexdigest()

    @torch.no_grad()
    def _encoded(self, images: TensorImages) -> Tensor:
        shift, scale = self._scale
        found = list[Tensor]()
        for rows in torch.arange(len(images)).split(_BATCH):
            mean = self._autoencoder.encode(pixels(images.subset(rows)).to(self.device)).latent_dist.mean
            found.append(((mean.float() - shift) * scale).cpu())
        return torch.cat(found) if found else torch.empty(0, *self._empty)

    @torch.no_grad()
    def _encoded_texts(self, texts: Sequence[str]) -> Tensor:
        found = list[Tensor]()
        for start in range(0, len(texts), _TEXTS):
            given = self._tokenizer(
                list(texts[start : start + _TEXTS]), padding="max_length", truncation=True, return_tensors="pt"
            )
            found.append(encoded(self._encoder, given, self.device).float().cpu())
        return torch.cat(found)

    @property
    def _scale(self) -> tuple[float, float]:
        config = self._autoencoder.config
        return float(config.get("shift_factor") or 0.0), float(config.get("scaling_factor") or _SCALE)

    @property
    def _empty(self) -> tuple[int, int, int]:
        return int(self._autoencoder.config.latent_channels), 1, 1

    @cached_property
    def _autoencoder(self) -> Any:
        kind = require("diffusers", "diffusion").AutoencoderKL
        return self._read(VAE, kind.from_pretrained, low_cpu_mem_usage=False)

    @cached_property
    def _encoder(self) -> Any:
        return self._read(ENCODER, require("transformers", "diffusion").CLIPTextModel.from_pretrained)

    @cached_property
    def _tokenizer(self) -> Any:
        kind = require("transformers", "diffusion").CLIPTokenizer
        try:
            return kind.from_pretrained(self.folder / TOKENIZER, local_files_only=True)
        except Exception as error:  # whatever transformers raises for a damaged folder
            raise ConfigurationError(f"{self.folder / TOKENIZER} cannot be read: {line(error)}") from error

    def _read(self, part: str, call: Callable[..., Any], **more: Any) -> Any:
        try:
            with without_bars():
                model = call(self.folder / part, local_files_only=True, use_safetensors=True, **more)
        except Exception as error:  # whatever diffusers, transformers and safetensors raise for a damaged folder
            raise ConfigurationError(f"{self.folder / part} cannot be read: {line(error)}") from error
        return model.float().to(self.device).eval().requires_grad_(False)


class Asked:
    """A text behind k free tokens, as `evaluation.prompts` searches them; one that is too long loses its end."""

    def __init__(self, encoder: Any, tokenizer: Any, ids: list[int], free: int, device: torch.device) -> None:
        self.free, self._encoder, self._tokenizer, self._ids, self._device = free, encoder, tokenizer, ids, device
        sizes = (m for m in encoder.modules() if isinstance(m, nn.Embedding))
        self._tokens = next(m for m in sizes if m.num_embeddings == encoder.config.vocab_size)
        special = torch.tensor(tokenizer.all_special_ids)
        known = torch.arange(min(self._tokens.num_embeddings, len(tokenizer)))  # rows beyond are no token's
        self._may = known[~torch.isin(known, special)]
        self.table = self._tokens.weight.detach().cpu()[self._may]

    def embedded(self, free: Tensor) -> Tensor:
        """What the encoder makes of it, `[L, D]`; differentiable in the embeddings of the free tokens `[k, d]`."""

        def put(module: nn.Module, given: Any, found: Tensor) -> Tensor:
            return torch.cat([found[:, :1], free.to(found)[None], found[:, 1 + self.free :]], 1)

        hook = self._tokens.register_forward_hook(put)
        try:
            return encoded(self._encoder, self._padded(self._may[:1].repeat(self.free)), self._device)[0].float()
        finally:
            hook.remove()

    def text(self, tokens: Tensor) -> str:
        """Rows of the table `[k]` and the text, in letters."""
        start, rest = self._ids[:1], self._ids[1 : self._room + 1]
        return str(self._tokenizer.decode([*start, *self._may[tokens].tolist(), *rest], skip_special_tokens=True))

    @property
    def _room(self) -> int:
        return int(self._tokenizer.model_max_length) - 2 - self.free

    def _padded(self, tokens: Tensor) -> Any:
        rest = self._ids[1:-1][: self._room]
        ids = [self._ids[0], *tokens.tolist(), *rest, self._ids[-1]]
        return self._tokenizer.pad({"input_ids": [ids]}, padding="max_length", return_tensors="pt")


def encoded(encoder: Any, given: Any, device: torch.device) -> Tensor:
    """The encoder's last layer, `[b, L, D]`; with a mask where it was trained with one, as in diffusers' pipelines."""
    mask = given.attention_mask.to(device) if getattr(encoder.config, "use_attention_mask", False) else None
    found: Tensor = encoder(given.input_ids.to(device), attention_mask=mask)[0]
    return found


def line(error: Exception) -> str:
    """What an error says, in one line."""
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
