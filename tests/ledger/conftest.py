from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.ledger._batches import RECIPE, begun
from unweave.ledger import Ledger
from unweave.ledger.batch import run


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "recipe.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="session")
def finished(path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger after its first batch."""
    folder = tmp_path_factory.mktemp("ledgers") / "finished"
    assert not run(begun(folder), path).interrupted
    return folder


@pytest.fixture
def ledger(finished: Path, tmp_path: Path) -> Ledger:
    return Ledger(Path(shutil.copytree(finished, tmp_path / "ledger")))
