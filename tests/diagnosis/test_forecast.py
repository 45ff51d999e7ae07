from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from unweave.diagnosis import Along, forecast


def along(value: list[float], slope: list[float]) -> Along:
    v, s = (torch.tensor(x, dtype=torch.float64) for x in (value, slope))
    return Along(v, s, torch.zeros_like(v), 1e-3)


def test_one_example_each_by_hand() -> None:
    """nll = log(1 + e^s): from s = 0 by 1 nat is to s = log(2e - 1); at slope 2 that is half as far."""
    t = math.log(2 * math.e - 1) / 2
    cost = math.log1p(math.exp(-1 + 3 * t)) - math.log1p(math.exp(-1))
    assert forecast(along([0.0], [2.0]), along([-1.0], [3.0]), 1.0) == pytest.approx(cost, rel=1e-9)


def test_what_the_model_is_sure_of_costs_nothing_until_it_shows() -> None:
    sure, unsure, to_forget = along([-20.0], [1.0]), along([0.0], [1.0]), along([-3.0], [1.0])
    assert forecast(to_forget, sure, 1.0) < 1e-6 < 1 < forecast(to_forget, unsure, 1.0)
    assert forecast(to_forget, along([0.0], [-1.0]), 1.0) < 0
    costs = [forecast(along([-s], [1.0]), along([-10.0], [1.0]), 1.0) for s in (1.0, 5.0, 9.0)]
    assert costs == sorted(costs) and len(costs) == 3  # the farther there is to go, the dearer


def test_forgetting_that_cannot_be_has_no_price() -> None:
    assert math.isnan(forecast(along([-1.0, -2.0], [-1.0, 0.0]), along([0.0], [1.0]), 1.0))


def test_it_is_the_slope_for_small_rises() -> None:
    torch.manual_seed(0)

    def some(n: int) -> tuple[Tensor, Tensor]:
        return torch.randn(n, dtype=torch.float64) - 2, torch.randn(n, dtype=torch.float64) + 1

    (s_f, f), (s_r, r) = some(40), some(90)
    first_order = float((s_r.sigmoid() * r).mean() / (s_f.sigmoid() * f).mean())
    zero = torch.zeros(1)
    got = forecast(Along(s_f, f, zero, 1e-3), Along(s_r, r, zero, 1e-3), 1e-6)
    assert got / 1e-6 == pytest.approx(first_order, rel=1e-4)
