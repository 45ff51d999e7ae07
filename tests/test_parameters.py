from __future__ import annotations

import pytest
import torch
from torch import nn

from unweave.errors import ConfigurationError
from unweave.parameters import Mask, choose, saliency_mask
from unweave.tasks import Vision


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))


def movable(model: nn.Module) -> list[str]:
    return [n for n, p in model.named_parameters() if p.requires_grad]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (None, ["1.weight", "1.bias", "3.weight", "3.bias"]),
        ("all", ["0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias"]),
        ("3.*", ["3.weight", "3.bias"]),
        (["0.bias", "*.weight"], ["0.weight", "0.bias", "1.weight", "3.weight"]),
    ],
)
def test_choose_by_name_and_restore(selection: str | list[str] | None, expected: list[str]) -> None:
    model = net()
    model[0].requires_grad_(False)
    before = movable(model)
    with choose(model, selection) as chosen:
        assert chosen is model
        assert movable(model) == expected
    assert movable(model) == before


def test_restores_after_an_error() -> None:
    model = net()
    before = movable(model)
    with pytest.raises(RuntimeError, match="inside"), choose(model, "3.bias"):
        raise RuntimeError("inside")
    assert movable(model) == before


def test_every_pattern_that_matches_nothing_is_named() -> None:
    with pytest.raises(ConfigurationError) as error, choose(net(), ["3.wieght", "head.*", "3.bias"]):
        pass
    assert len(error.value.faults) == 2
    assert "Did you mean '3.weight'?" in error.value.faults[0]


class Tied(nn.Module):
    """An embedding, a layer, and a head whose weight is the embedding's."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.inner = nn.Embedding(5, 3), nn.Linear(3, 3)
        self.head = nn.Linear(3, 5)
        self.head.weight = self.embed.weight


@pytest.mark.parametrize("selection", ["head.weight", ["inner.*", "*ead.w*"]])
def test_another_name_of_a_tied_weight_is_said_to_be_one(selection: str | list[str]) -> None:
    with (
        pytest.raises(ConfigurationError, match=r"head\.weight is tied, one tensor shared with embed\.weight\. Choose"),
        choose(Tied(), selection),
    ):
        pass
    with choose(Tied(), "head.*") as model:
        assert movable(model) == ["head.bias"], "what is the head's alone may be chosen"
    with choose(Tied(), ["head.*", "embed.*"]) as model:
        assert movable(model) == ["embed.weight", "head.bias"]


def test_all_frozen_is_refused() -> None:
    model = net().requires_grad_(False)
    with pytest.raises(ConfigurationError, match="All parameters are frozen"), choose(model):
        pass
    with pytest.raises(ConfigurationError, match="All parameters are frozen"):
        saliency_mask(model, Vision().nll, [])
    with choose(model, "all"):
        assert len(movable(model)) == 6


def test_mask_zeroes_in_place() -> None:
    """Masks (1, 0), (0): gradients (2, 3), (5) become (2, 0), (0); a third of the entries may move."""
    gradients = [torch.tensor([2.0, 3.0]), torch.tensor([5.0])]
    mask = Mask((torch.tensor([True, False]), torch.tensor([False])))
    held = gradients[0]
    mask.apply(gradients)
    assert [g.tolist() for g in gradients] == [[2.0, 0.0], [0.0]]
    assert held is gradients[0]
    assert mask.share == pytest.approx(1 / 3)


class Dot(nn.Module):
    """`theta . x` with parameters (1, 1, 1, 1) in two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ torch.cat([self.a, self.b])


def dot(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    return model(batch)


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.25, [0, 1, 0, 0]), (0.5, [0, 1, 0, 1]), (1.0, [1, 1, 0, 1])],
)
def test_saliency_keeps_the_largest_gradients(share: float, expected: list[int]) -> None:
    """Ragged batches: (1,-4,0,2), (1,-4,0,2) and (0,-1,0,2) sum to (2, -9, 0, 6); 0 is never salient."""
    batches = [torch.tensor([[1.0, -4.0, 0.0, 2.0]] * 2), torch.tensor([[0.0, -1.0, 0.0, 2.0]])]
    mask = saliency_mask(Dot(), dot, batches, share)
    assert torch.cat(mask.tensors).tolist() == expected


def test_saliency_of_a_network() -> None:
    torch.manual_seed(0)
    model, x = net(), torch.randn(32, 4)
    statistics = model[1].running_mean.clone()
    batches = [(x[:20], torch.zeros(20).long()), (x[20:], torch.ones(12).long())]
    mask = saliency_mask(model, Vision().nll, batches)
    again = saliency_mask(model, lambda m, b: -Vision().nll(m, b), [(x, torch.tensor([0] * 20 + [1] * 12))])
    assert abs(mask.share - 0.5) < 0.02
    assert all(a.equal(b) for a, b in zip(mask.tensors, again.tensors, strict=True))
    assert model.training and model[1].running_mean.equal(statistics)
    assert all(p.grad is None for p in model.parameters())


def test_saliency_refuses_an_empty_set_and_a_share_out_of_range() -> None:
    for value, found in ((0.0, "exactly 0"), (torch.nan, "not finite"), (torch.inf, "not finite")):
        with pytest.raises(ConfigurationError, match=f"^mask: the gradient of the forget loss is {found}"):
            saliency_mask(Dot(), dot, [torch.tensor([[value] + 3 * [0.0]])])
    with pytest.raises(ConfigurationError, match="no batch"):
        saliency_mask(Dot(), dot, [])
    with pytest.raises(ConfigurationError, match="share must be in"):
        saliency_mask(Dot(), dot, [], share=0.0)
