from __future__ import annotations

import io

import pytest
import torch

from unweave.errors import ConfigurationError
from unweave.modalities.diffusion.evaluation.grid import GAP, LINE, SIDE, grid

Image = pytest.importorskip("PIL.Image")


def test_rows_are_models_and_columns_conditions() -> None:
    values = torch.tensor([-1.0, 0.0, 1.0]).view(3, 1, 1, 1)
    rows = {"original": values.expand(3, 1, 8, 8), "retrained": -values.expand(3, 1, 8, 8)}
    picture = Image.open(io.BytesIO(grid(rows, ["zero", "one", "two"])))
    cell, left = SIDE + GAP, picture.width - 3 * (SIDE + GAP)
    assert picture.size[1] == LINE + 2 * cell
    assert left > 0
    found = [
        [picture.getpixel((left + column * cell + 5, LINE + row * cell + 5)) for column in range(3)] for row in range(2)
    ]
    grey = [(0, 0, 0), (128, 128, 128), (255, 255, 255)]
    assert found == [grey, grey[::-1]]
    assert picture.getcolors(1 << 16)[0] is not None


def test_colours_latents_and_what_is_no_number_are_drawn() -> None:
    colours = torch.full((1, 3, 64, 64), -1.0)
    colours[:, 0] = 5.0
    picture = Image.open(io.BytesIO(grid({"m": colours}, ["c"])))
    assert picture.getpixel((picture.width - 40, LINE + 20)) == (255, 0, 0)
    assert grid({"m": torch.zeros(1, 4, 8, 8)}, ["c"])[:4] == b"\x89PNG"
    assert grid({"m": torch.full((1, 1, 8, 8), float("nan"))}, ["c"])[:4] == b"\x89PNG"


def test_rows_that_do_not_fit_are_refused() -> None:
    one = torch.zeros(2, 1, 8, 8)
    with pytest.raises(ConfigurationError, match="rows of one shape"):
        grid({"a": one, "b": one[:1]}, ["x", "y"])
    with pytest.raises(ConfigurationError, match="rows of one shape"):
        grid({}, [])
    with pytest.raises(ConfigurationError, match="one image a column, 3"):
        grid({"a": one}, ["x", "y", "z"])
