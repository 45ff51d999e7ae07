from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.modalities.texts._world import RECIPE, made


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder; a test copies it."""
    folder = tmp_path_factory.mktemp("world")
    made(folder)
    return folder


@pytest.fixture
def recipe(world: Path, tmp_path: Path) -> Callable[..., Path]:
    """Writes a recipe beside the world's files: the small one above, or the given text."""
    shutil.copytree(world, tmp_path, dirs_exist_ok=True)

    def write(text: str = RECIPE) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(text)
        return path

    return write
