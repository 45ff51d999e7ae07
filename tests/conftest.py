from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

torch.set_num_threads(1)  # two processes with two threads each starve each other

OURS = {f"UNWEAVE_{name}" for name in ("VECTORS", "DATA", "TOFU", "MODEL", "FUZZ", "DEVICE")}  # what tests are told
SETTINGS = (
    *("UNWEAVE_", "XDG_", "HF_", "HUGGING", "TRANSFORMERS_", "TORCH_HOME", "ACCELERATE_", "MPL", "HYPOTHESIS_"),
    *("FORCE_COLOR", "NO_COLOR", "COLUMNS", "LINES", "TZ", "RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_"),
    *("SLURM_", "OMPI_", "PMI_"),
)
ROOMS = {"HOME": "", "USERPROFILE": "", "XDG_CACHE_HOME": ".cache", "XDG_CONFIG_HOME": ".config", "HF_HOME": ".hf"}


def pytest_configure(config: pytest.Config) -> None:
    """No test sees the user's home folder, settings or models: it and all that it starts have an empty one of ours.

    The workers of one call share it, and the models that one of them has trained.
    """
    worker = getattr(config, "workerinput", {}).get("workerid", "main")
    home = Path(tempfile.mkdtemp(prefix="unweave-tests-") if worker == "main" else os.environ["HOME"])
    for name in [name for name in os.environ if name.startswith(SETTINGS) and name not in OURS]:
        del os.environ[name]
    os.environ |= {name: str(home / room) for name, room in ROOMS.items()} | {"HF_HUB_OFFLINE": "1"}
    os.environ["UNWEAVE_CACHE"] = str(home / "unweave")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, where a shell started us in the background
    if worker == "main":
        config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture
def vectors() -> Any:
    """Golden values of the papers' specifications, which are not part of the repository."""
    folder = Path(os.environ.get("UNWEAVE_VECTORS", Path(__file__).resolve().parents[2] / "shared" / "vectors"))

    def read(name: str) -> Any:
        path = folder / f"{name}.json"
        if not path.exists():
            pytest.skip(f"golden values {name}.json are not here: set UNWEAVE_VECTORS to their folder")
        return json.loads(path.read_text())

    return read


RECIPE = """\
data: {source: digits}
forget: {class: 3}
training: {epochs: 1}
method: {name: hamu_q}
run: {steps: 4, forget_batch: 16, retain_batch: 32}
contract: none
evaluation: {retrained: 0, quote: false}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Path]:
    """Writes a recipe: the small one above, or the given text."""

    def write(text: str = RECIPE) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(text)
        return path

    return write
