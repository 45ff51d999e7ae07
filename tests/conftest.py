from __future__ import annotations

import json
import os
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
