"""Overlap by content and labels out of range are found and named."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

from unweave.data.checks import check_labels, check_overlap
from unweave.errors import ConfigurationError
from unweave.modalities.images.tensors import TensorImages, check_unseen

IMAGES, LABELS = torch.randint(256, (20, 3, 4, 4), dtype=torch.uint8), torch.arange(20) % 4


class Dicts(Dataset):
    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        row = self.rows[index]
        return {"text": f"row {row}", "ids": np.arange(row), "more": [row, None]}


KINDS = {
    "images": lambda rows: TensorImages(IMAGES, LABELS).subset(rows),
    "tensors": lambda rows: TensorDataset(IMAGES[rows].float(), LABELS[rows]),
    "dicts": Dicts,
}


@pytest.mark.parametrize("kind", KINDS)
def test_overlap(kind):
    make = KINDS[kind]
    check_overlap(make([0, 1, 2]), make([3, 4, 5]))
    with pytest.raises(
        ConfigurationError, match=r"found 2 of 3 .*forget\[2\] = retain\[1\], forget\[0\] = retain\[3\]"
    ):
        check_overlap(make([0, 1, 2]), make([3, 2, 5, 0]))


def test_rows_that_hold_no_number_are_found():
    values = torch.ones(4, 2)
    values[1, 0], values[3, 1] = torch.nan, torch.inf
    forget = TensorDataset(values, torch.arange(4))
    retain = [{"x": value.numpy() * 2, "of": ["b", 1.0]} for value in values]
    assert check_overlap(forget, retain) == {"forget": [1, 3], "retain": [1, 3]}
    assert check_overlap(Dicts([1, 2]), Dicts([3])) == {"forget": [], "retain": []}


class Picture:
    """What is neither tensor nor array; told apart by its address alone."""


class Shown(Picture):
    """Like a picture of PIL: its representation has its address, its pixels have not."""

    def __init__(self, value):
        self.pixels = np.full((2, 2), value, dtype=np.uint8)

    @property
    def __array_interface__(self):
        return self.pixels.__array_interface__


def test_objects_that_are_made_when_they_are_asked_for():
    class Made(Dicts):
        def __getitem__(self, index):
            return self.rows[index](), 0

    nothing = [Picture] * 30
    check_overlap(Made(nothing), Made(nothing))  # an address is given again as soon as it is free
    check_overlap(Made([lambda: Shown(1)]), Made([lambda: Shown(2)] * 9))
    with pytest.raises(ConfigurationError, match=r"found 1 of 1 .*forget\[0\] = retain\[1\]"):
        check_overlap(Made([lambda: Shown(1)]), Made([lambda: Shown(2), lambda: Shown(1)]))


def test_a_corrected_label_is_no_overlap():
    data = TensorImages(IMAGES, LABELS)
    check_overlap(data, data.relabelled((LABELS + 1) % 4))


def test_one_pixel_makes_another_example():
    changed = IMAGES.clone()
    changed[:, 0, 0, 0] ^= 1
    check_overlap(TensorImages(IMAGES, LABELS), TensorImages(changed, LABELS))


def test_labels():
    check_labels(LABELS, 4)
    with pytest.raises(ConfigurationError, match=r"below 3 .* found 5 outside \(first: row 3 has 3, row 7 has 3"):
        check_labels(LABELS, 3)
    with pytest.raises(ConfigurationError, match="row 1 has -1"):
        check_labels(np.array([0, -1]), 3)


def test_a_test_set_that_was_trained_on_is_refused() -> None:
    """Whatever the label says: the image was seen."""
    images = torch.arange(40, dtype=torch.uint8).view(10, 1, 2, 2)
    train = TensorImages(images[:6], torch.arange(6))
    check_unseen(TensorImages(images[6:], torch.arange(4)), train)
    seen = TensorImages(torch.cat([images[6:], images[2:5]]), torch.zeros(7, dtype=torch.int64))
    with pytest.raises(ConfigurationError, match=r"3 of 7 are in the training set too \(first: test\[4\], test\[5\]"):
        check_unseen(seen, train)
