"""A data set as the hub has them: files of that layout, read without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unweave import modalities
from unweave.errors import ConfigurationError
from unweave.modalities import read
from unweave.modalities.images.sources import load

COLOURS = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3)).astype(np.uint8)


def made(folder: Path, pixels: str = "img", label: str = "fine_label", sizes: Any = None, test: str = "test") -> Path:
    """CIFAR-100's columns, in parquet as `datasets` writes it: PNGs in 30 rows to train on and 10 to test with."""
    datasets, pillow = pytest.importorskip("datasets"), pytest.importorskip("PIL.Image")
    folder.mkdir()
    names = ["cat", "dog"]
    features = datasets.Features({pixels: datasets.Image(), label: datasets.ClassLabel(names=names)})
    for part, rows in (("train", range(30)), (test, range(30, 40))):
        images = [
            pillow.fromarray(COLOURS[row]).resize((sizes[row % 2],) * 2) if sizes else pillow.fromarray(COLOURS[row])
            for row in rows
        ]
        data = datasets.Dataset.from_dict({pixels: images, label: [row % 2 for row in rows]}, features=features)
        data.to_parquet(folder / f"{part}-00000-of-00001.parquet")
    return folder


@pytest.mark.parametrize(("pixels", "label", "test"), [("img", "fine_label", "test"), ("image", "label", "validation")])
def test_images_and_names_are_those_of_the_files(pixels: str, label: str, test: str, tmp_path: Path) -> None:
    source = load("image_dataset", made(tmp_path / "set", pixels, label, test=test))
    assert source.classes == ("cat", "dog") and len(source.train) == 30 and len(source.test) == 10
    assert torch.equal(source.train.images, torch.from_numpy(COLOURS[:30]).permute(0, 3, 1, 2))
    assert source.test.labels.tolist() == [row % 2 for row in range(30, 40)]


def test_a_data_set_without_a_test_part_is_divided(tmp_path: Path) -> None:
    folder = made(tmp_path / "set")
    (folder / "test-00000-of-00001.parquet").unlink()
    source = load("image_dataset", folder)
    assert (len(source.train), len(source.test)) == (24, 6)


def test_pictures_of_several_sizes_need_one(tmp_path: Path) -> None:
    folder = made(tmp_path / "set", sizes=(20, 24))
    with pytest.raises(ConfigurationError, match=r"row 1 is of 24 x 24 pixels, and others are not: set data.size"):
        load("image_dataset", folder)
    assert list(load("image_dataset", folder, size=16).train.images.shape) == [30, 3, 16, 16]


def test_a_recipe_names_one_and_runs_on_it(tmp_path: Path) -> None:
    made(tmp_path / "set")
    path = tmp_path / "r.yaml"
    path.write_text("data: {source: image_dataset, path: set, size: 32}\nforget: {class: dog}\n")
    job = modalities.job(read(path))
    assert len(job.rows("forget")) == 15
    path.write_text("data: {source: image_dataset, path: owner/name, config: full}\nforget: {class: dog}\n")
    assert read(path).data.path == Path("owner/name")


def test_faults(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("data: {source: digits, size: 3}\nforget: {class: 3}\n")
    with pytest.raises(ConfigurationError, match="digits takes no config and no size"):
        read(path)
    with pytest.raises(ConfigurationError, match=r"needs a column label or labels or fine_label, found img, kind"):
        load("image_dataset", made(tmp_path / "set", label="kind"))
    with pytest.raises(ConfigurationError, match="cannot be read as a data set"):
        load("image_dataset", tmp_path / "nothing")
