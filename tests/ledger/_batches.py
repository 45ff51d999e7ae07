"""A batch on digits: threes can be forgotten under its contract, a few rows of all classes cannot."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from unweave.ledger import Deletion, Ledger, Selector, by_class
from unweave.modalities.images.sources import digits

RECIPE = """\
data: {source: digits}
training: {epochs: 4}
contract:
  keep: [{metric: accuracy, absolute: 0.08}]
  forget: [{metric: accuracy, at_most: 0.7}]
run: {steps: 70, forget_batch: 32, retain_batch: 64, checkpoint_every: 10}
evaluation: {retrained: 0, quote: false}
guards: {near_duplicates: "off"}
"""
FEW = tuple(range(5, 70))
THREES = frozenset(np.flatnonzero(digits().train.labels.numpy() == 3).tolist())


def begun(folder: Path) -> Ledger:
    """Threes can be forgotten under the contract; a few rows of all classes cannot."""
    ledger = Ledger(folder)
    ledger.add(Deletion("few", Selector(rows=FEW), date(2026, 1, 2), note="by mail"))
    ledger.add(Deletion("threes", by_class(["3"]), date(2026, 1, 1), basis="GDPR 17"))
    return ledger


def weights(entry: Any) -> tuple[str, str]:
    return entry.body["weights"]["before"], entry.body["weights"]["after"]
