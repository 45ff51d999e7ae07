"""A model that is certain of everything has a gradient of exactly 0: it is said, with the ways out, which work."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import unweave
from tests._toys import memorised
from unweave.errors import ConfigurationError

ALL = ("hamu_q", "gradient_ascent", "npo", "scrub", "ssd")


@cache
def certain() -> tuple[nn.Module, TensorDataset, TensorDataset]:
    model, *sides = memorised()
    with torch.no_grad():
        for p in model[-1].parameters():
            p.mul_(1e4)
    right = [TensorDataset(side.tensors[0], model(side.tensors[0]).argmax(1)) for side in sides]
    assert all(not bool(unweave.Vision().nll(model, side.tensors).any()) for side in right)
    return model, right[0], right[1]


@pytest.mark.filterwarnings("ignore::unweave.GuardWarning")
@pytest.mark.parametrize("method", ALL)
def test_it_is_said(method: str) -> None:
    model, forget, retain = certain()
    found = unweave.unlearn(model, forget=forget, retain=retain, method=method, steps=3)
    first = " ".join(found.warnings[:1])
    assert first.startswith("gradient: that of the forget loss is exactly 0: the model is certain"), found.warnings
    assert "float64" in first and "random_label" in first


def test_a_mask_says_it_too() -> None:
    model, forget, retain = certain()
    with pytest.raises(ConfigurationError, match="exactly 0, so no weight is salient: the model is certain"):
        unweave.unlearn(model, forget=forget, retain=retain, method="salun", steps=3)


@pytest.mark.filterwarnings("ignore::unweave.GuardWarning")
def test_the_ways_out() -> None:
    model, forget, retain = certain()
    found = unweave.unlearn(model, forget=forget, retain=retain, method="random_label", steps=20)
    assert not [text for text in found.warnings if text.startswith("gradient:")]
    assert bool(unweave.Vision().nll(found.model, forget.tensors).any())
    with torch.no_grad():  # less certain: 1 to float32, not to float64
        milder = memorised()[0].double()
        milder[-1].weight.mul_(2)
        milder[-1].bias.mul_(2)
    sides = [TensorDataset(s.tensors[0].double(), s.tensors[1]) for s in (forget, retain)]
    found = unweave.unlearn(milder, forget=sides[0], retain=sides[1], method="gradient_ascent", steps=3)
    assert not [text for text in found.warnings if text.startswith("gradient:")]


@pytest.mark.filterwarnings("ignore::unweave.GuardWarning")
def test_an_ordinary_model_hears_nothing_of_it() -> None:
    """SCRUB begins at a divergence of 0, whose gradient is 0 too: it is not the model that is certain."""
    model, forget, retain = memorised()
    for method in ("scrub", "hamu_q"):
        found = unweave.unlearn(model, forget=forget, retain=retain, method=method, steps=2)
        assert not [text for text in found.warnings if text.startswith("gradient:")]


@pytest.mark.filterwarnings("ignore::unweave.GuardWarning")
def test_weights_that_have_no_part_in_the_losses() -> None:
    class Off(nn.Module):
        """Its graph is whole, and 0 times the weights that may move."""

        def __init__(self) -> None:
            super().__init__()
            self.inner, self.extra = memorised()[0].requires_grad_(False), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x) + 0 * self.extra(x)

    _, forget, retain = memorised()
    found = unweave.unlearn(Off(), forget=forget, retain=retain, method="gradient_ascent", steps=2)
    assert "no weight that may move has a part in the losses" in found.warnings[0]
