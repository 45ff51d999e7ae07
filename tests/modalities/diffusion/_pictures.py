"""A folder of 8 x 8 pictures of three shapes that nobody mixes up, and recipes that take seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from unweave.modalities.diffusion.training import Training

CLASSES = ("left", "middle", "top")
EACH = 100
TINY = Training(steps=300, batch=32, lr=5e-3, ema=0.9, timesteps=50)
RECIPE = """\
data: {source: picture_folder, path: pictures, size: 8}
forget: {class: top}
model: {widths: [8, 16]}
training: {steps: 300, batch: 32, lr: 5.0e-3, ema: 0.9, timesteps: 50}
method: {name: relabel_condition}
run: {steps: 4, forget_batch: 8, retain_batch: 16, checkpoint_every: 1}
contract: none
evaluation: {images: 20, sampling_steps: 5, looks: 2, attacks: {images: 5, search: 5, drawn: 20}}
"""


def pictures(folder: Path, each: int = EACH) -> Path:
    """One folder a class; a fifth of each class is for tests."""
    draws = np.random.default_rng(0)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for number in range(each):
            pixels = draws.integers(0, 60, (8, 8, 3))
            part = {"left": np.s_[:, :4], "middle": np.s_[2:6, 2:6], "top": np.s_[:4]}[name]
            pixels[part] += 180
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number}.png")
    return folder
