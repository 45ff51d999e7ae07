"""A denoiser's run that is killed at any moment and resumed leaves bit for bit what an uninterrupted one does."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
import safetensors.torch

from tests.modalities.diffusion._pictures import RECIPE, pictures
from tests.run._kills import killed_until_done, watched
from unweave.modalities import read
from unweave.run import directory
from unweave.run.runner import run
from unweave.run.steps_log import read_steps
from unweave.store import tensors_sha256

CONTRACT = (  # looks that draw, and one that cannot be kept at first: states go back
    "contract={keep: [{metric: recognised, absolute: 0.4}, {metric: loss, relative: 0.05}], "
    "forget: [{metric: generated, at_most: 0.15}], every: 1}"
)
QUICK = [
    "run.steps=6",
    "evaluation.retrained=0",
    "evaluation.quote=false",
    "evaluation.attacks=none",
    "evaluation.sampling_steps=2",
]


def digest(folder: Path) -> str:
    file = folder / "model" / "unet" / "diffusion_pytorch_model.safetensors"
    return tensors_sha256(safetensors.torch.load_file(file))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["hamu_q", "unilateral_surgery"])
def test_every_resumed_run_is_the_uninterrupted_one(method: str, tmp_path: Path) -> None:
    pictures(tmp_path / "pictures")
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    recipe = read(tmp_path / "recipe.yaml", [f"method.name={method}", *QUICK, CONTRACT])
    with watched() as moments:
        run(recipe, tmp_path / "first")  # models and judge are trained and kept
        before, begin = moments.passed, time.perf_counter()
        whole = run(recipe, tmp_path / "whole")
        total, seconds = moments.passed - before, time.perf_counter() - begin
        assert whole["model_before"] != whole["model_after"]
        kills = killed_until_done(recipe, tmp_path / "killed", moments, random.Random(0), total, seconds)
    folders = [tmp_path / name for name in ("whole", "killed")]
    assert digest(folders[0]) == digest(folders[1]) and kills >= 4
    rows = [read_steps(each / "steps.jsonl") for each in folders]
    assert rows[0] == rows[1] and len(rows[0]) == 6
    ended = directory.finished(folders[1])
    assert ended is not None and whole["contract_reading"]["rollbacks"] >= 1
    assert ended["contract_reading"]["path"] == whole["contract_reading"]["path"]
