"""A model of a table, used after its run: new rows are seen as those that it was trained on."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.modalities.records._tables import command, written
from unweave.data.text_file import read_file
from unweave.errors import ConfigurationError
from unweave.modalities import job, read
from unweave.modalities.records.encoding import FILE, Column, Encoding
from unweave.modalities.records.networks import predictor

pytestmark = pytest.mark.filterwarnings("ignore::unweave.GuardWarning")
TRAIN = np.arange(3)


def test_numbers_are_standardised_by_the_rows_for_training_and_missing_ones_are_their_mean() -> None:
    made = Column.fitted("age", ["1", None, "3", "100"], TRAIN, category=False)
    assert (made.mean, made.spread, made.missing) == (2.0, 1.0, True)
    scaled, gone = made.features(["4", "NA", None])
    assert scaled.tolist() == [2.0, 0.0, 0.0] and gone.tolist() == [0.0, 1.0, 1.0]
    with pytest.raises(ConfigurationError, match="'age' must hold numbers"):
        made.features(["old"])
    with pytest.raises(ConfigurationError, match="infinity in row 0"):
        made.features([math.inf])


def test_a_value_that_no_training_row_has_is_none_of_the_known_ones() -> None:
    made = Column.fitted("city", ["Bern", "Rome", "Bern", "Oslo"], TRAIN, category=False)
    assert made.values == ("Bern", "Rome")
    assert np.stack(made.features(["Rome", "Oslo", None]), 1).tolist() == [[0, 1], [0, 0], [0, 0]]


def test_what_a_run_leaves_predicts_for_new_rows(tmp_path: Path) -> None:
    recipe, folder = written(tmp_path), tmp_path / "run"
    assert command("run", recipe, "-o", folder) in (0, 3)
    model, encoding = predictor(folder)
    made = job(read(recipe))
    table = read_file(tmp_path / "customers.csv")
    seen = encoding.rows(table)
    inside = torch.stack([made.source.records[row][0] for row in range(len(table))])
    assert seen.equal(inside), "as in the run"
    own = made.opened(folder)
    assert isinstance(model, nn.Module) and torch.equal(model(seen), own(inside))
    assert len(encoding.classes) == model(seen[:1]).shape[1]
    kept = [name for name in table[0] if name != encoding.columns[0].name]
    with pytest.raises(ConfigurationError, match="is missing"):
        encoding.rows([{name: table[0][name] for name in kept}])
    (folder / "model" / FILE).write_text("{}")
    with pytest.raises(ConfigurationError, match="expected how a model of a table reads its rows"):
        Encoding.read(folder)
