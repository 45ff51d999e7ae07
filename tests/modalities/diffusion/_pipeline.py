"""A tiny Stable Diffusion of random weights, in the folder that plain diffusers writes, and captioned pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

WIDTH, LENGTH = 16, 12
PROMPTS = {"a left bar": np.s_[:, :4], "a square": np.s_[2:6, 2:6], "a top bar": np.s_[:4]}
RECIPE = """\
data: {source: picture_folder, path: pictures}
forget: {prompts: "a top*"}
model: {weights: pipeline}
method: {name: relabel_condition, to: a square}
run: {steps: 2, forget_batch: 4, retain_batch: 4, checkpoint_every: 1}
contract: none
evaluation: {images: 20, sampling_steps: 2, looks: 2, retrained: 0, quote: false}
"""


def pipeline(folder: Path, length: int = LENGTH, **changes: Any) -> Path:
    """U-net, autoencoder (a factor of 2), text encoder, tokenizer and scheduler; texts of so many tokens."""
    diffusers, transformers = pytest.importorskip("diffusers"), pytest.importorskip("transformers")
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        unet = diffusers.UNet2DConditionModel(
            **{
                "sample_size": 4, "in_channels": 4, "out_channels": 4, "layers_per_block": 1, "norm_num_groups": 4,
                "block_out_channels": (8, 8), "attention_head_dim": 4, "cross_attention_dim": WIDTH,
                "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
                "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"), **changes,
            }
        )  # fmt: skip
        vae = diffusers.AutoencoderKL(
            block_out_channels=(4, 4), norm_num_groups=2, latent_channels=4, sample_size=8,
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        )  # fmt: skip
        text = transformers.CLIPTextConfig(
            hidden_size=WIDTH, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
            vocab_size=300, max_position_embeddings=length, bos_token_id=0, eos_token_id=1, pad_token_id=1,
        )  # fmt: skip
        encoder = transformers.CLIPTextModel(text)
    scheduler = diffusers.PNDMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, skip_prk_steps=True, steps_offset=1
    )
    diffusers.StableDiffusionPipeline(
        vae, encoder, _tokenizer(folder, length), unet, scheduler, None, None, requires_safety_checker=False
    ).save_pretrained(folder, safe_serialization=True)
    return folder


def _tokenizer(folder: Path, length: int) -> Any:
    """Of single letters."""
    from transformers import CLIPTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,"
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    made = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=length)
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()
    return made


def captioned(folder: Path, each: int = 40) -> Path:
    """Three shapes as Hugging Face's imagefolder has them."""
    folder.mkdir(parents=True)
    draws, lines = np.random.default_rng(0), []
    for text, part in PROMPTS.items():
        for number in range(each):
            name = f"{text.split()[1]}-{number}.png"
            pixels = draws.integers(0, 60, (8, 8, 3))
            pixels[part] += 180
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
            lines.append({"file_name": name, "text": text})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    return folder
