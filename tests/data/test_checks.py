"""Overlap by content and labels out of range are found and named."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, TensorDataset

from unweave.data.checks import check_labels, check_overlap, check_unseen
from unweave.data.images import TensorImages
from unweave.errors import ConfigurationError

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
