"""Every row of the catalogue on a small causal language model that learned sequences by heart."""

from __future__ import annotations

import copy
from functools import cache
from itertools import islice

import pytest
import torch
from torch import nn

from tests._texts import VOCABULARY, llama
from tests._toys import DIFFUSION_ONLY, TORCHJD
from unweave.data.pairs import Pairs
from unweave.loop import Result, unlearn
from unweave.methods import METHODS, Method
from unweave.modalities.texts.data import Text, TextRows
from unweave.parameters import saliency_mask
from unweave.tasks import Language
from unweave.testing import check_loss

ROWS = sorted(set(METHODS) - DIFFUSION_ONLY)
FORGETS_OTHERWISE = {"finetune", "rmu"}  # not by a higher nll
RATES = {"simnpo": 0.5, "satimp": 0.1, "rmu": 0.2}  # of rows with small gradients
MOVING_TARGETS = {
    "random_label",
    "salun",
    "eupmu_compat",
    "wga",
    "satimp",
    "ce_u",
}  # drawn, or weighted, anew each time
TASK = Language()


def rows(count: int, seed: int, alternate: bool = True) -> TextRows:
    """Texts of 5 to 8 made-up tokens, of which the last 3 to 6 are the answer."""
    generator = torch.Generator().manual_seed(seed)
    lengths = 5 + torch.arange(count) % 4
    tokens = torch.randint(1, VOCABULARY, (int(lengths.sum()),), generator=generator).int()
    bounds = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    texts = tuple(Text(f"{seed}-{i}", (("user", f"{seed}"),), f"{i}") for i in range(count))
    other = rows(count, seed + 100, False) if alternate else None
    return TextRows(texts, tokens, bounds, torch.full((count,), 2), torch.arange(count), 0, other)


@cache
def memorised() -> tuple[nn.Module, TextRows, TextRows]:
    """The model, and the 8 texts to forget of 24."""
    model, forget, retain = llama(), rows(8, 1), rows(16, 2)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(25):
        optimizer.zero_grad()
        sum(TASK.nll(model, side.batch(range(len(side)))).sum() for side in (forget, retain)).div(24).backward()
        optimizer.step()
    return model.requires_grad_(True), forget, retain


def start(name: str) -> tuple[nn.Module, Method, Pairs, torch.optim.Optimizer]:
    if name in TORCHJD:
        pytest.importorskip("torchjd")
    original, forget, retain = memorised()
    model = copy.deepcopy(original)
    pairs = Pairs(forget, retain, forget_batch=4, retain_batch=8)
    rate = RATES.get(name, 0.02)
    return model, METHODS[name](TASK, original), pairs, torch.optim.SGD(model.parameters(), rate)


def go(parts: tuple[nn.Module, Method, Pairs, torch.optim.Optimizer], steps: int) -> Result:
    model, method, pairs, optimizer = parts
    original, forget, _ = memorised()
    mask = None
    if method.saliency is not None:
        mask = saliency_mask(original, TASK.nll, [forget.batch(range(8))], method.saliency)
    return unlearn(model, method, islice(pairs, steps), optimizer, mask=mask)


@torch.no_grad()
def mean(loss: object, model: nn.Module) -> float:
    return float(loss(model, memorised()[1].batch(range(8))).mean())  # type: ignore[operator]


def test_the_model_knows_what_it_learned() -> None:
    model, forget, retain = memorised()
    with torch.no_grad():
        assert all(0.05 < float(TASK.nll(model, s.batch(range(len(s)))).mean()) < 1 for s in (forget, retain))


@pytest.mark.parametrize("name", ROWS)
def test_forgets_and_stays_finite(name: str) -> None:
    parts = start(name)
    model, method = parts[:2]
    original = memorised()[0]
    result = go(parts, 5)
    assert result.skipped == 0, result.history
    assert all(p.isfinite().all() for p in model.parameters())
    assert any((a - b).abs().max() > 1e-5 for a, b in zip(model.parameters(), original.parameters(), strict=True))
    before, after = mean(TASK.nll, original), mean(TASK.nll, model)
    if name not in FORGETS_OTHERWISE:
        assert after > before + 0.003, (before, after)
    if method.forget is not None and name not in MOVING_TARGETS:
        assert mean(method.forget, model) < mean(method.forget, original)


@pytest.mark.parametrize("name", ROWS)
def test_the_losses_of_a_row_pass_the_kit(name: str) -> None:
    _, method, _, _ = start(name)
    original, forget, _ = memorised()
    sides = [side for side in (method.forget, method.retain) if side is not None]
    for loss in sides:
        assert check_loss(loss, TASK, model=original, batch=forget.batch(range(4)))["uncoupled"] == 4
    assert sides


@pytest.mark.parametrize("name", ["npo", "dpo", "rmu"])
def test_resumes_bit_for_bit_and_leaves_the_original_alone(name: str) -> None:
    original = memorised()[0]
    before, state = copy.deepcopy(original.state_dict()), torch.random.get_rng_state()
    whole, first, second = start(name), start(name), start(name)
    go(whole, 4)
    go(first, 2)
    second[0].load_state_dict(first[0].state_dict())
    second[2].load_state_dict(first[2].state_dict())
    go(second, 2)
    assert all(a.equal(b) for a, b in zip(second[0].parameters(), whole[0].parameters(), strict=True))
    assert all(value.equal(before[key]) for key, value in original.state_dict().items())
    assert torch.random.get_rng_state().equal(state)
