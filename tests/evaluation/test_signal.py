from __future__ import annotations

import numpy as np
import pytest

from unweave.evaluation.signal import SIGNALS, modified_entropy, signals


def test_by_hand() -> None:
    """p = (3/4, 1/4), y = 0: margin log 3, entropy and modified entropy from their definitions."""
    found = signals(np.log([[3.0, 1.0]]), [0])
    p, q = 0.75, 0.25
    assert list(found) == list(SIGNALS)
    assert found["margin"][0] == pytest.approx(np.log(3))
    assert found["loss"][0] == pytest.approx(np.log(p)) and found["confidence"][0] == pytest.approx(p)
    assert found["entropy"][0] == pytest.approx(p * np.log(p) + q * np.log(q))
    assert -found["modified_entropy"][0] == pytest.approx(-(1 - p) * np.log(p) - q * np.log(1 - q))
    assert found["correctness"][0] == 1.0 and found["gap_of_two"][0] == pytest.approx(np.log(3))


def test_sure_predictions_keep_their_order() -> None:
    """Where p_y is 1 in float64 the margin is still the logits' difference, and nothing is NaN."""
    found = signals([[50.0, 0.0], [60.0, 0.0], [0.0, 800.0]], [0, 0, 0])
    assert found["margin"] == pytest.approx([50, 60, -800])
    assert all(np.isfinite(values).all() for values in found.values())
    assert modified_entropy([[800.0, 0.0]], [0]) == pytest.approx([0.0])


def test_salun_is_another_number_and_runs_against_the_definition() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 200)
    logits = rng.normal(size=(200, 10))
    logits[np.arange(200), labels] += rng.uniform(0, 8, 200)
    right, wrong = modified_entropy(logits, labels), modified_entropy(logits, labels, compat="salun")
    ranks = np.corrcoef(right.argsort().argsort(), wrong.argsort().argsort())[0, 1]
    assert ranks < -0.5
    alone = modified_entropy(logits[:1], labels[:1], compat="salun")
    assert alone[0] != pytest.approx(wrong[0]), "it depends on the rest of the batch"
    assert modified_entropy(logits[:1], labels[:1])[0] == pytest.approx(right[0])
