"""Every row of the catalogue on every kind of task: it takes finite steps, or says before one why it cannot."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import Subset

from tests._kinds import KINDS, kind
from tests._toys import DIFFUSION_ONLY, TEXT_ONLY, TORCHJD
from unweave import ConfigurationError, unlearn
from unweave.errors import UnsupportedError
from unweave.oneshot import CATALOGUE

WITH_PREDICTIONS = {"eupmu_compat", "npo", "pdu", "random_label", "salun", "satimp", "simnpo", "undial", "wga"}
"""Rows whose losses look at the predictions of classes."""
MADE = [name for name in KINDS if name != "tokens"]  # which are segmentation with another shape
REFUSED = {name: DIFFUSION_ONLY | TEXT_ONLY | {"uce"} for name in MADE}
REFUSED["regression"] |= WITH_PREDICTIONS


def plain(parameters: object) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=1e-3)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore::unweave.GuardWarning")
@pytest.mark.parametrize("name", MADE)
def test_every_row_runs_or_refuses_by_name_before_a_weight_moves(name: str) -> None:
    it, ran, refused = kind(name), set[str](), set[str]()
    sides = {"forget": Subset(it.forget, range(12)), "retain": Subset(it.retain, range(24))}
    for row in sorted(CATALOGUE):
        if row in TORCHJD:
            pytest.importorskip("torchjd")
        model = it.original()
        options = {} if row in ("ssd", "uce") else {"step": plain}
        try:
            found = unlearn(model, **sides, task=it.task, method=row, steps=2, inplace=True, **options)  # type: ignore[arg-type]
        except (UnsupportedError, ConfigurationError) as error:
            refused.add(row)
            assert "hoose another method" in str(error), (row, str(error))
            assert same(model, it.model), f"{row} moved before it refused"
            continue
        ran.add(row)
        assert all(bool(p.isfinite().all()) for p in found.model.parameters()), row
        assert row == "ssd" or not same(model, it.model), row
    assert refused == REFUSED[name], (refused - REFUSED[name], REFUSED[name] - refused)
    assert ran == set(CATALOGUE) - REFUSED[name]


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(a.equal(b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
