"""Example by example: what a request will cost, how each model does on what was to be forgotten, and who paid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unweave.contract.keeper import PASSES, Keeper
from unweave.diagnosis import Diagnosis, diagnose
from unweave.diagnosis.quote import scoring_cost, with_looks
from unweave.modalities._base import Job, Json
from unweave.parameters import choose
from unweave.recipe.recipe import Recipe
from unweave.run.session import contract_sets

MOST = 12  # examples of a kind that a run directory shows
WORST = 10
POINTS = 400  # values of a distribution that are kept


def quote(recipe: Recipe, job: Job, model: nn.Module) -> Diagnosis:
    """How hard the request is and what it will cost, for the recipe's batches and steps; rows are the job's numbers.

    No weight of the model changes.
    """
    (seconds, epochs), looks = job.retraining(), _looks(recipe, job, model)
    with choose(model, recipe.model.parameters):
        found = diagnose(
            model,
            job.forget,
            job.retain,
            job.task,
            examples=job.looked,
            steps=recipe.run.steps,
            epochs=epochs,
            retrain_seconds=seconds,
            forget_batch=recipe.run.forget_batch,
            retain_batch=recipe.run.retain_batch,
            micro=recipe.run.micro,
            seed=recipe.run.seed,
        )
    per_step, models = recipe.run.forget_batch + recipe.run.retain_batch, 2 + recipe.evaluation.retrained
    found = replace(
        found,
        run=with_looks(found.run, looks, found.seconds_per_step / (per_step * (PASSES + 1))),
        scoring=scoring_cost(job.scoring_seconds(model), models),
    )
    return found.numbered(job.rows("forget"), job.rows("retain"))


def _looks(recipe: Recipe, job: Job, model: nn.Module) -> int:
    """Forward passes that the recipe's contract will take to be read; 0 without one."""
    if recipe.contract is None:
        return 0
    contract, run = recipe.contract.contract(), recipe.run
    sets = contract_sets(contract, job, run.seed)[1]
    per_step = run.forget_batch + run.retain_batch
    keeper = Keeper(contract, job.task, sets, per_step=per_step, retrained=model, seed=run.seed)
    return keeper.passes(run.steps)


@dataclass(frozen=True, eq=False)
class Odds:
    """What a model makes of single examples: log-odds of an error, nats; far below 0 it is sure, above 0 it is wrong.

    Attributes:
        forget: of all forget examples.
        retain: of a sample of the retain examples, the same for every model.
        unseen: of the holdout; None where there is none.
    """

    forget: Tensor
    retain: Tensor
    unseen: Tensor | None


def odds(job: Job, model: nn.Module) -> Odds:
    """At all forget examples, at `job.looked` retain examples, drawn at random, and at the holdout."""
    forget, holdout = (range(len(job.rows(side))) for side in ("forget", "holdout"))
    unseen = job.odds(model, "holdout", holdout) if holdout else None
    return Odds(job.odds(model, "forget", forget), job.odds(model, "retain", _sample(job)), unseen)


def examples(job: Job, quoted: Mapping[str, Any] | None, seen: Mapping[str, Odds]) -> Json:
    """`examples.json`: single examples as pictures or texts, and the distribution of all of the forget set.

    All values are log-odds of an error, in nats: far below 0 a model is sure, above 0 it is wrong.

    * `distribution`: of the forget set under every model, and of unseen examples like them under the unlearned one,
      sorted; quantiles where there are more than 400.
    * `worst`: the ten forget examples that the unlearned model knows best; by comparison with the retrained model's
      value, where there is one, as an example that every model gets right has not been remembered.
    * `hardest`: to forget, as the quote predicts. `paid`: the retain examples with the largest rise of those that
      were looked at. `reached`: the change of both means.

    Args:
        job: whose examples they are.
        quoted: the quote of the request, made before the run, as in `quote.json`. None where the run was not quoted.
        seen: of "original", "unlearned" and, where there is one, "retrained".
    """
    before, after, retrained = seen["original"], seen["unlearned"], seen.get("retrained")
    told = quoted or {"forget": [], "payers": []}
    hardness, price = ({e["row"]: e["value"] for e in told[side]} for side in ("forget", "payers"))
    numbers, sample = job.rows("forget"), _sample(job)
    place = {row: i for i, row in enumerate(numbers)}
    rise = {"forget": after.forget - before.forget, "retain": after.retain - before.retain}
    known = after.forget if retrained is None else after.forget - retrained.forget

    def listed(side: str, chosen: Sequence[int], predicted: Mapping[int, float]) -> list[Json]:
        def value(model: Odds, i: int) -> float:
            return float((model.forget if side == "forget" else model.retain)[i])

        places = [i if side == "forget" else sample[i] for i in chosen]
        rows = [job.rows(side)[at] for at in places]
        return [
            {
                "row": row,
                "predicted": predicted.get(row),
                "before": value(before, i),
                "after": value(after, i),
                "retrained": None if retrained is None else value(retrained, i),
                **job.shown(side, at),
            }
            for i, at, row in zip(chosen, places, rows, strict=True)
        ]

    return {
        "hardest": listed("forget", [place[row] for row in list(hardness)[:MOST] if row in place], hardness),
        "paid": listed("retain", (-rise["retain"]).argsort(stable=True)[:MOST].tolist(), price),
        "worst": listed("forget", known.argsort(stable=True)[:WORST].tolist(), hardness),
        "reached": {side: float(values.mean()) for side, values in rise.items()},
        "retain_examples": len(sample),
        "distribution": {
            **{name: _thinned(each.forget) for name, each in seen.items()},
            **({} if after.unseen is None else {"unseen": _thinned(after.unseen)}),
        },
    }


def _thinned(values: Tensor) -> list[float]:
    ordered = values.double().sort().values
    if len(ordered) > POINTS:
        ordered = ordered.quantile(torch.linspace(0, 1, POINTS, dtype=torch.float64))
    return [float(value) for value in ordered]


def _sample(job: Job) -> list[int]:
    total = len(job.rows("retain"))
    if total <= job.looked:
        return list(range(total))
    return sorted(np.random.default_rng(0).choice(total, job.looked, replace=False).tolist())
