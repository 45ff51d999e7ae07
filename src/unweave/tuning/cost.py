"""What a search takes, said before it begins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from unweave import modalities
from unweave.modalities._base import Job
from unweave.recipe.recipe import Recipe
from unweave.run.examples import quote
from unweave.run.runner import placed
from unweave.tuning.world import By
from unweave.watch import Watch, spoken


@dataclass(frozen=True)
class Estimate:
    """What a search takes, at most: its trials end early where they are behind, or have met the contract.

    Attributes:
        trials: that are left.
        requests: of each.
        run, retraining: seconds of one, None where nobody knows.
        training: models that are retrained.
        jobs: trials at a time.
    """

    trials: int
    requests: int
    run: float | None
    retraining: float | None
    training: int
    jobs: int

    def __str__(self) -> str:
        requests = f"{self.requests} request{'s' * (self.requests > 1)}"
        what = f"{self.trials} trials on {requests}, {self.training} retrained models"
        if self.run is None:
            return f"{what}; how long is not known without a quote (evaluation.quote, run.memory)"
        seconds = math.ceil(self.trials / self.jobs) * self.requests * self.run
        seconds += self.training * (self.retraining or 0.0) + self.run
        unknown = " and the retraining" if self.training and self.retraining is None else ""
        return f"{what}: at most about {spoken(seconds)} of steps{unknown}, then scores (a run is {spoken(self.run)})"


def estimate(recipe: Recipe, job: Job, chosen: Sequence[Job], by: By, trials: int, jobs: int, watch: Watch) -> Estimate:
    """From the quote of the request (`unweave diagnose`), and from what the cache knows of retrained models."""
    proxies = chosen if by == "proxies" else ()
    missing = [each for each in proxies if each.reference_seconds() is None]
    seconds = retraining = None
    if recipe.evaluation.quote and recipe.run.memory in ("auto", "fast"):
        watch("looking at the request", 0, 1)
        told = quote(recipe, job, placed(modalities.original(recipe, job, watch), recipe))
        seconds, retraining = told.run.seconds, told.retrain.seconds
        watch("looking at the request", 1, 1)
    return Estimate(trials, len(chosen), seconds, retraining, len(missing), jobs)
