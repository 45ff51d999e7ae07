"""Scikit-learn's handwritten digits: 1,797 grey images of 8x8 pixels, built in."""

from __future__ import annotations

import torch

from unweave.modalities.images.tensors import Source, TensorImages

TRAIN = 1297


def digits() -> Source:
    """1,297 training and 500 test images in [0, 1], always the same ones, the shares of the classes equal."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    content = load_digits()
    images = torch.tensor(content.images / 16, dtype=torch.float32)[:, None]
    labels = torch.tensor(content.target, dtype=torch.int64)
    train, test = train_test_split(range(len(labels)), train_size=TRAIN, stratify=labels, random_state=0)
    whole = TensorImages(images, labels)
    return Source("digits", whole.subset(train), whole.subset(test), tuple(map(str, content.target_names)))
