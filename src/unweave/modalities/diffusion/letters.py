"""The text encoder of a model of texts that is trained here: it reads letters, and its random weights never move.

A pretrained encoder knows what words mean; of this one only which letters stand where can be told apart, which is what
a small model needs to learn what a text asks for.
"""

from __future__ import annotations

from pathlib import Path
from string import ascii_lowercase, digits, punctuation

import torch

from unweave.extras import require
from unweave.modalities.diffusion.frozen import ENCODER, TOKENIZER
from unweave.pretrained import without_bars
from unweave.store import cache_folder, folder_once, write_json

LENGTH, WIDTH = 32, 128
"""Tokens of a text, its letters and two ends; numbers of an embedding, so many that a matrix which reads them can be
edited for one text alone: of 32, UCE left every second three, or lost others."""
INDEX = {
    "_class_name": "StableDiffusionPipeline",  # the nearest of diffusers' pipelines: this one has no autoencoder
    "unet": ["diffusers", "UNet2DConditionModel"],
    "scheduler": ["diffusers", "DDIMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
}
_VERSION = 1  # part of the folder's name: raise it when a change of this file changes what is in it


def folder() -> Path:
    """A pipeline's folder with tokenizer and text encoder alone, made once in the user's cache; always the same one."""
    return folder_once(cache_folder("encoders") / f"letters-{_VERSION}", _write)


def _write(place: Path) -> None:
    transformers = require("transformers", "diffusion")
    letters = ascii_lowercase + digits + punctuation
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    vocabulary, merges = place / "vocab.json", place / "merges.txt"
    write_json(vocabulary, {token: number for number, token in enumerate(tokens)})
    merges.write_text("#version: 0.2\n")
    config = transformers.CLIPTextConfig(
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        vocab_size=len(tokens),
        max_position_embeddings=LENGTH,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    with torch.random.fork_rng(devices=[]), without_bars():
        torch.manual_seed(0)
        encoder = transformers.CLIPTextModel(config)
        encoder.save_pretrained(place / ENCODER, safe_serialization=True)
        tokenizer = transformers.CLIPTokenizer(str(vocabulary), str(merges), model_max_length=LENGTH)
        tokenizer.save_pretrained(place / TOKENIZER)
    for each in (vocabulary, merges):
        each.unlink()
    write_json(place / "model_index.json", INDEX)
