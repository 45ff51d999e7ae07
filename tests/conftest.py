from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

torch.set_num_threads(1)  # two processes with two threads each starve each other


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


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's cache of trained models."""
    monkeypatch.setenv("UNWEAVE_CACHE", str(cache))


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Path]:
    """Writes a recipe: the small one above, or the given text."""

    def write(text: str = RECIPE) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(text)
        return path

    return write
