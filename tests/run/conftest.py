"""Small recipes, and a cache of their own for the models that the tests train."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

RECIPE = """\
data: {source: digits}
forget: {class: 3}
training: {epochs: 1}
method: {name: hamu_q}
run: {steps: 4, forget_batch: 16, retain_batch: 32}
evaluation: {retrained: 0}
"""


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNWEAVE_CACHE", str(cache))


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Path]:
    """Writes a recipe: the small one above, or the given text."""

    def write(text: str = RECIPE) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(text)
        return path

    return write
