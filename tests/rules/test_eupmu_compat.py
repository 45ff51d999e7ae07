"""The multiplier of every variant that the authors ship, on one series of retain losses."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.reference.eupmu import Shipped
from tests.rules._toy import go
from unweave.rules import EUPMU
from unweave.testing.gradients import vector

PREVIOUS, CURRENT = (0.100, 0.120, 0.150, 0.140, 0.130, 0.125), (0.118, 0.148, 0.141, 0.131, 0.126, 0.124)

# dual_lr, error, logarithms, floor, first w, share of the retain loss before the step; w after steps 1 to 6
VARIANTS: dict[str, tuple[tuple[Any, ...], tuple[float, ...]]] = {
    "classification": (
        (1, 0.01, True, 1e-8, 0, 1),
        (0.99999994, 2.00069186, 2.58628071, 2.88421233, 3.04084138, 3.12564119),
    ),
    "classification, sign corrected": (
        (1, -0.01, True, 1e-8, 0, 1),
        (0.99999994, 2.0002675, 2.50009918, 2.67177758, 2.68433903, 2.61478001),
    ),
    "classification, command line": (
        (3, 0.03, True, 1e-8, 0, 1),
        (2.99999985, 6.00363718, 7.62907829, 8.26388024, 8.36923601, 8.17189226),
    ),
    "CIFAR-100 50 %": (
        (3, 0.5, True, 1e-8, 0, 1),
        (2.99999995, 6.00148411, 8.86567374, 11.6459945, 14.38795692, 17.10675861),
    ),
    "Tiny 30 %": (
        (0.01, 0.05, True, 1e-8, 1, 1),
        (1.01, 1.02000366, 1.0272831, 1.03274773, 1.03750647, 1.0420944),
    ),
    "DDPM": (
        (0.025, 0.0, True, 1e-10, 0, 1),
        (0.025, 0.04998173, 0.06514971, 0.07376003, 0.07945304, 0.08395107),
    ),
    "SD now": (
        (3, 0.5, False, 1e-8, 0, 1),
        (2.99999994, 5.99634073, 8.96855498, 11.91763732, 14.84286791, 17.74008645),
    ),
    "SD first": (
        (3, 0.0, True, 1e-8, 0, 0.1),
        (2.99999999, 6.00043643, 8.98250327, 11.95436537, 14.92151824, 17.88562592),
    ),
    "NSFW": (
        (10, 0.5, False, 1e-8, 0, 0.1),
        (9.99999984, 19.94750554, 29.72781886, 39.20788862, 48.23305176, 56.62006632),
    ),
    "SPM": (
        (0.3, 0.003, False, 1e-12, 0, 1),
        (0.29999986, 0.5991966, 0.75581928, 0.81621906, 0.82882553, 0.81545812),
    ),
    "ConAbl": (
        (10, 0.1, True, 1e-10, 0, 1),
        (9.99999962, 19.87098893, 24.02241978, 24.18881923, 22.27009594, 19.25386012),
    ),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_trajectories(name: str) -> None:
    """The specification's digits, and torch's own Adam to 1e-9."""
    (dual_lr, error, logarithm, floor, initial, share), expected = VARIANTS[name]
    losses = [(share * a, b) for a, b in zip(PREVIOUS, CURRENT, strict=True)]
    log = "dual" if logarithm else "none"
    rule = EUPMU.compat(error, dual_lr, log=log, initial=initial, floor=floor)
    found = [rule.update(*pair) for pair in losses]
    assert found == pytest.approx(expected, rel=0, abs=6e-9)
    assert found == pytest.approx(Shipped(dual_lr, error, logarithm, floor, initial).trajectory(losses), rel=1e-9)


def test_fast_variant_uses_the_multiplier_before_this_loss() -> None:
    """`eu_fast`: moved by the previous pair's retain loss and this one's, then used in normalised weights."""
    rule = EUPMU.compat(0.01, 1.0, normalised=True, estimator="next_batch", initial=1.0)
    weights = torch.stack([rule.weights(vector(9.0, retain)) for retain in PREVIOUS])
    used = weights[:, 1] / weights[:, 0]
    assert used.tolist() == pytest.approx((1, 2, 3.00102729, 3.54519501, 3.78094707, 3.86049361), rel=0, abs=1e-7)
    coefficients = (0.5, 0.66667, 0.75006, 0.77999, 0.79084, 0.79426)
    assert weights[:, 1].tolist() == pytest.approx(coefficients, rel=0, abs=6e-6)
    assert weights.sum(1).tolist() == pytest.approx([1.0] * 6)


def test_weights_of_each_primal() -> None:
    """Raw, normalised, logarithmic; a negative `w` is gated at use and kept."""
    losses = vector(2.3, 0.004)
    for w, normalised, log, expected in [
        (1.5, False, "dual", (1, 1.5)),
        (1.5, True, "dual", (0.4, 0.6)),
        (1.5, False, "both", (1 / 2.3, 1.5 / 0.004)),
        (-0.7, False, "dual", (1, 0)),
        (-0.7, True, "none", (1, 0)),
    ]:
        rule = EUPMU.compat(normalised=normalised, log=log, initial=w)  # type: ignore[arg-type]
        assert rule.weights(losses).tolist() == pytest.approx(expected, rel=1e-5)
        assert rule.w == w


def test_the_error_is_a_target_of_the_weight_with_the_sign_of_a_margin() -> None:
    """`w -> error / weight_decay`; a positive error ends below the starting retain loss, a negative one far above."""
    rows = [(0.01, 1.0026, 0.578269, 0.821734), (0.05, 4.9996, 0.060100, 1.842355), (-0.01, -1.0, 4.0, 0.0)]
    for error, w, l_r, l_u in rows:
        rule = EUPMU.compat(error)
        _, (end, *_), _ = go(rule)
        assert rule.w == pytest.approx(w, abs=0.02), error
        assert end == pytest.approx([l_u, l_r], abs=0.02), error
