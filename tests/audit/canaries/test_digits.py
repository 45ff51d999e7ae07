"""The audit on real data: it tells the model that knows the canaries from the one that never saw them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from unweave.audit.canaries import draw, judge


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_the_original_is_refuted_and_the_retrained_model_is_not() -> None:
    images, truth = load_digits(return_X_y=True)
    images = images / 16
    rng = np.random.default_rng(0)
    order = rng.permutation(len(images))
    base, canaries = order[:800], order[800:900]
    labels = truth.copy()
    labels[canaries] = (truth[canaries] + rng.integers(1, 10, 100)) % 10
    plan = draw([str(i) for i in canaries], seed=1)
    heads = canaries[np.array(plan.included)]
    found = {}
    for name, rows in {"original": np.concatenate([base, heads]), "retrained": base}.items():
        model = MLPClassifier((64,), max_iter=80, random_state=0, learning_rate_init=0.01)
        log_p = model.fit(images[rows], labels[rows]).predict_log_proba(images[canaries])
        found[name] = judge(plan, dict(zip(plan.canaries, log_p[np.arange(100), labels[canaries]], strict=True)))
    original, retrained = found["original"], found["retrained"]
    assert original.refuted and original.auc.value is not None and original.auc.value > 0.9
    assert original.epsilon.value is not None and original.epsilon.value > 1
    assert not retrained.refuted and retrained.epsilon.value == 0
