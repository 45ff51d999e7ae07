"""What can be read from the original model before anything moves: candidates for a request's hardness."""

from __future__ import annotations

import math
import time
from itertools import islice

import torch
from asked import some
from torch import nn

from unweave.data.pairs import Pairs
from unweave.diagnosis import Conflict, conflict, cosine, forecast, kappa, log_odds, sampled
from unweave.gramian import gramian
from unweave.losses import Ascent
from unweave.modalities.images.job import ImageJob
from unweave.objectives import Objectives
from unweave.samples import Sample

CPU = torch.device("cpu")


def predicted(original: nn.Module, asked: ImageJob, forget: int, retain: int) -> dict[str, float]:
    """All candidates by name, and the seconds of the first; large means hard."""
    sides = [
        sampled(some(data, most), None, 256, 0, CPU) for data, most in ((asked.forget, forget), (asked.retain, retain))
    ]
    begin = time.process_time()
    by_odds = _conflict(original, asked, sides, odds=True)
    seconds = time.process_time() - begin
    by_nll = _conflict(original, asked, sides, odds=False)
    assert by_odds.fastest is not None and by_odds.payers is not None
    objectives = Objectives(original, (Ascent(asked.task.nll), asked.task.nll))
    pairs = islice(Pairs(asked.forget, asked.retain, forget_batch=64, retain_batch=256, seed=0), 4)
    grams = [gramian(objectives.at(pair).gradients()[1], [0] * len(objectives.parameters))[0] for pair in pairs]
    met = torch.stack(grams).mean(0)
    return {
        "odds forecast": forecast(by_odds.fastest, by_odds.payers, 1.0),
        "odds price": float(by_odds.prices.mean()),
        "odds cosine": _cosine(by_odds),
        "odds kappa": float(kappa(by_odds.gramian.sum(0))),
        "odds cosine in standard errors": _cosine(by_odds) / by_odds.error,
        "odds hardness of the hardest tenth": _tail(by_odds),
        "nll price": float(by_nll.prices.mean()),
        "nll cosine": _cosine(by_nll),
        "nll kappa": float(kappa(by_nll.gramian.sum(0))),
        "nll price to second order": _second_order(by_nll),
        "kappa of 4 pairs": float(kappa(met)),
        "cosine of 4 pairs": -float(cosine(met)),
        "forget loss": float(torch.nn.functional.softplus(by_odds.fastest.value).mean()),
        "seconds": seconds,
    }


def _conflict(original: nn.Module, asked: ImageJob, sides: list[Sample], odds: bool) -> Conflict:
    loss = log_odds(asked.task) if odds else asked.task.nll
    objectives = Objectives(original, (loss, loss))
    return conflict(objectives, loss, *sides, [0] * len(objectives.parameters))


def _cosine(found: Conflict) -> float:
    return -float(cosine(found.gramian.sum(0)))


def _tail(found: Conflict) -> float:
    values = found.hardness.sort(descending=True).values
    return float(values[: max(1, len(values) // 10)].mean())


def _second_order(found: Conflict) -> float:
    """Rise of the retain loss where the forget loss has risen by 1 nat, from slopes and curvatures along grad L_f."""
    assert found.ranges is not None
    f, r = found.ranges
    c = max(f.curvature, 0.0)
    if not f.slope:
        return math.nan
    length = (math.sqrt(f.slope**2 + 2 * c) - f.slope) / c if c else 1 / f.slope
    return r.slope * length + r.curvature * length**2 / 2
