from __future__ import annotations

import numpy as np
import pytest

from unweave.audit.attacks import IN, OUT, UNLEARNED, thirds, u_lira
from unweave.audit.attacks.ulira import _folds


def margins(seed: int, layout: np.ndarray, leak: float, memory: float = 2.0) -> np.ndarray:
    """Records of their own difficulty in correlated models; `leak` is what unlearning leaves."""
    rng = np.random.default_rng(seed)
    s, n = layout.shape
    noise = rng.normal(size=(s, n)) + 0.5 * rng.normal(size=(s, 1))
    return rng.normal(0, 3, n) + noise + memory * (layout == IN) + leak * (layout == UNLEARNED)


def test_a_third_each_for_every_record() -> None:
    layout = thirds(24, 50, seed=1)
    assert all(((layout == state).sum(axis=0) == 8).all() for state in (IN, OUT, UNLEARNED))
    assert (thirds(24, 50, seed=1) == layout).all() and (thirds(24, 50, seed=2) != layout).any()
    assert 0.1 < (layout[0] == IN).mean() < 0.6, "no column is like another"


def test_an_exact_method_passes_at_its_level() -> None:
    """Nothing left, correlated records: the p-values of AUC and worst decile are at most 5 % in 5 % of cases."""
    rejected = np.zeros(2)
    for seed in range(60):  # 19 deals and what was seen: 5 % is one of 20
        layout = thirds(15, 30, seed=seed)
        found = u_lira(margins(seed, layout, 0.0), layout, shuffles=19, seed=seed)
        rejected += [e.p is not None and e.p <= 0.05 for e in (found.auc, found.worst)]
    assert (rejected / 60 <= 0.13).all()


def test_a_leak_is_found_and_the_worst_records_are_named() -> None:
    layout = thirds(24, 100, seed=3)
    leak = np.where(np.arange(100) < 10, 3.0, 0.0)
    found = u_lira(margins(3, layout, leak), layout, shuffles=60)  # type: ignore[arg-type]
    assert found.worst.p == pytest.approx(1 / 61) and found.auc.p == pytest.approx(1 / 61)
    assert found.records[:10].mean() > 0.85 and abs(found.records[10:].mean() - 0.5) < 0.07
    assert found.auc.low is not None and found.auc.null is not None and found.auc.null.high < found.auc.value  # type: ignore[operator]


def test_over_forgetting_leaks_too() -> None:
    layout = thirds(24, 100, seed=4)
    found = u_lira(margins(4, layout, -1.5), layout, shuffles=60).auc
    assert found.value is not None and found.value > 0.7 and found.p == pytest.approx(1 / 61)


def test_models_that_stay_trained_do_not_enter() -> None:
    layout = thirds(15, 30, seed=5)
    phi = margins(5, layout, 1.0)
    one = u_lira(phi, layout, shuffles=5)
    other = u_lira(np.where(layout == IN, 99.0, phi), layout, shuffles=5)
    assert one.auc == other.auc and (one.records == other.records).all()


def test_the_tail_needs_a_thousand_pairs() -> None:
    layout = thirds(15, 30, seed=6)
    few = u_lira(margins(6, layout, 0.0), layout, shuffles=5).tail
    assert few.value is None and "at least 1000 never-seen pairs; there are 150" in few.reason
    layout = thirds(15, 200, seed=6)
    many = u_lira(margins(6, layout, 3.0), layout, shuffles=20).tail
    assert many.value is not None and many.null is not None and many.value > many.null.high
    assert many.null.value == pytest.approx(0.01, abs=0.006)


@pytest.mark.parametrize(("models", "folds"), [(9, 5), (11, 6), (16, 5), (40, 20), (70, 70)])
def test_no_record_is_left_without_models_to_fit(models: int, folds: int) -> None:
    """Records with three models a side in one row: five folds of many models could take all three."""
    layout = thirds(models, 400, seed=8)
    if models >= 40:
        layout[:] = IN
        layout[:3], layout[3:6] = OUT, UNLEARNED
        layout[:6] = np.random.default_rng(8).permuted(layout[:6], axis=0)
    found = u_lira(margins(8, layout, 1.0), layout, shuffles=3)
    assert _folds(layout) == folds
    assert found.auc.value is not None and found.worst.value is not None and found.tail.value is not None
    assert np.isfinite(found.records).all() and found.auc.null is not None and found.auc.value > found.auc.null.high


def test_what_has_no_answer() -> None:
    layout = thirds(15, 30, seed=7)
    phi = margins(7, layout, 0.0)
    broken = phi.copy()
    broken[0, 0] = np.nan
    scarce = np.where(np.arange(15)[:, None] < 13, IN, layout)
    for values, state, says in (
        (broken, layout, "1 of 450 runs are not finite"),
        (phi, scarce, "30 records have fewer than 3 models"),
        (phi, layout[:, :20], "of shape [15, 30]; found [15, 20]"),
        (phi, layout + 1, "a layout of 0, 1 and 2"),
        (phi[:5], layout[:5], "at least 6 runs"),
        (phi, np.repeat(layout[:, :1], 30, axis=1), "unlearned some of the records and never saw others"),
        (phi[:, :1], layout[:, :1], "found 0. Draw the layout record by record"),
    ):
        found = u_lira(values, state, shuffles=2)
        assert found.auc.value is None and says in found.auc.reason
        assert found.worst.value is None and np.isnan(found.records).all()
