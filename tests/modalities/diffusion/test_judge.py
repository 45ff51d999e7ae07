from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.modalities.diffusion._tiny import MEANS, Nearest
from unweave.errors import ConfigurationError
from unweave.evaluation.intervals import share
from unweave.modalities.diffusion.evaluation.judge import Judge, trained


def marked(count: int, seed: int, side: int = 8) -> tuple[Tensor, Tensor]:
    """Noise in which a bright quarter says the class."""
    generator = torch.Generator().manual_seed(seed)
    images, labels = torch.rand(count, 1, side, side, generator=generator) * 0.6 - 1, torch.arange(count) % 4
    half = side // 2
    for image, label in zip(images, labels.tolist(), strict=True):
        image[0, label // 2 * half : (label // 2 + 1) * half, label % 2 * half : (label % 2 + 1) * half] = 0.9
    return images, labels


def test_it_is_trained_on_real_images_told_how_good_it_is_and_kept(tmp_path: Path) -> None:
    images, labels = marked(128, 0)
    told: list[tuple[str, int, int]] = []
    judge = trained(images, labels, 4, 3, lambda *said: told.append(said), test=marked(40, 1), cache=tmp_path)
    assert judge.accuracy.n == 40
    assert judge.accuracy.value > 0.95
    assert told[0] == ("training the judge", 0, told[0][2])
    more, asked = marked(20, 2)
    logits, features = judge.seen(more)
    assert (logits.argmax(1) == asked).all()
    assert features.shape == (20, 128)
    assert torch.equal(judge.logits(more), logits)
    assert torch.equal(judge.features(more), features)
    again = trained(images, labels, 4, 3, test=marked(40, 1), cache=tmp_path)
    assert again.digest == judge.digest
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    assert not any(p.requires_grad for p in judge.network.parameters())


def test_without_a_test_set_a_fifth_of_the_images_is_kept_for_it(tmp_path: Path) -> None:
    assert trained(*marked(160, 0), 4, cache=tmp_path).accuracy.n == 32


def test_features_are_what_enters_the_last_layer_and_pictures_are_cut_at_their_range() -> None:
    judge = Judge(Nearest(), share(99, 100), "")
    images = MEANS[:3].view(3, 1, 2, 2)
    assert torch.allclose(judge.features(images), (MEANS[:3] + 1) / 2)
    assert torch.equal(judge.features(images * 9), (MEANS[:3].sign() + 1) / 2)
    assert judge.logits(images).argmax(1).tolist() == [0, 1, 2]


def test_a_judge_that_knows_too_little_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"must recognise 90 % .* found 89\.0 % of 100"):
        Judge(Nearest(), share(89, 100), "")
    images, labels = marked(64, 0)
    with pytest.raises(ConfigurationError, match="Give it more images"):
        trained(images, labels.roll(1), 4, test=(images, labels), cache=tmp_path)
    with pytest.raises(ConfigurationError, match="found 0 and 64"):
        trained(images[:0], labels[:0], 4, test=(images, labels), cache=tmp_path)
