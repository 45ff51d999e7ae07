from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from unweave.audit.robustness import quantised, unchanged
from unweave.errors import ConfigurationError


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(5 * 9, 7), nn.ReLU())


def twin(weight: Tensor, bits: int, group: int) -> tuple[Tensor, Tensor]:
    """The definition with loops: values and buckets."""
    rows = weight.flatten(1).tolist()
    top = 2 ** (bits - 1) - 1
    values, buckets = [], []
    for row in rows:
        for start in range(0, len(row), group):
            part = row[start : start + group]
            scale = torch.tensor(max(abs(w) for w in part)) / top
            codes = [float(torch.round(torch.tensor(w) / scale)) for w in part]
            buckets += codes
            values += [float(scale * code) for code in codes]
    return torch.tensor(values).view_as(weight), torch.tensor(buckets).view_as(weight)


def test_it_is_the_definition() -> None:
    cases = 0
    for bits, group in itertools.product((2, 4, 8), (4, 10, 128)):
        model = network()
        before = {name: p.clone() for name, p in model.named_parameters()}
        rounded = quantised(model, bits, group)
        for name, p in rounded.named_parameters():
            expected = twin(before[name], bits, group)[0] if p.ndim >= 2 else before[name]
            torch.testing.assert_close(p.detach(), expected.detach(), rtol=1e-6, atol=0)
            assert torch.equal(dict(model.named_parameters())[name], before[name]), "the model stays as it is"
            cases += 1
    assert cases == 9 * 6


def test_rounding_again_changes_nothing() -> None:
    once = quantised(network(), 4)
    for a, b in zip(once.parameters(), quantised(once, 4).parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)


def test_the_buckets_that_did_not_change_are_counted() -> None:
    before, after = network(), network()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in after.parameters():
            p += 0.05 * torch.randn(p.shape, generator=generator)
    cases = 0
    for bits in (3, 4, 8):
        same = total = 0
        for a, b in zip(before.parameters(), after.parameters(), strict=True):
            if a.ndim >= 2:
                grid = twin(a.detach(), bits, 128)[1]
                scale = a.detach().flatten(1).abs().amax(1) / (2 ** (bits - 1) - 1)  # rows are one group here
                other = torch.round(b.detach() / scale.view(-1, *[1] * (b.ndim - 1)))
                same, total = same + int((grid == other).sum()), total + a.numel()
        assert unchanged(before, after, bits) == pytest.approx(same / total)
        cases += 1
    assert cases == 3
    assert unchanged(before, before, 4) == 1.0 and unchanged(before, after, 8) < unchanged(before, after, 3) < 1


def test_a_small_update_rounds_away() -> None:
    """The quantised unlearned model is the quantised original: what was forgotten is back, bit for bit."""
    before = network()
    after = network()
    with torch.no_grad():
        for p in after.parameters():
            if p.ndim >= 2:  # smaller than what is left to the next bucket, and no group's largest moves
                rounded = twin(p, 4, 128)[0]
                p += 0.2 * (rounded - p)
    assert unchanged(before, after, 4) == 1.0
    for a, b in zip(quantised(before, 4).parameters(), quantised(after, 4).parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_a_group_of_zeros_stays() -> None:
    model = nn.Linear(4, 2)
    nn.init.zeros_(model.weight)
    assert torch.equal(quantised(model, 4).weight, model.weight)  # type: ignore[arg-type]
    assert unchanged(model, model, 4) == 1.0


def test_bad_input() -> None:
    for bits, group in ((1, 128), (9, 128), (4, 0)):
        with pytest.raises(ConfigurationError, match="bits must be 2 to 8"):
            quantised(network(), bits, group)
    with pytest.raises(ConfigurationError, match="one architecture"):
        unchanged(network(), nn.Linear(3, 3), 4)
