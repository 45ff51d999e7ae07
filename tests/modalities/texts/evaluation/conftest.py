from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tofu() -> Callable[[str], Path]:
    """Files of TOFU and its published logs, which are not part of the repository."""
    folder = Path(os.environ.get("UNWEAVE_TOFU", Path(__file__).resolve().parents[5] / "shared" / "data" / "tofu"))

    def find(name: str) -> Path:
        path = folder / name
        if not path.exists():
            pytest.skip(f"TOFU's {name} is not here: set UNWEAVE_TOFU to its folder")
        return path

    return find
