"""The forget clauses of one request, read again on later models."""

from __future__ import annotations

from typing import Any

from torch import nn

from unweave.contract import Contract, Sets, overall
from unweave.contract.judge import goals
from unweave.contract.observer import Observer, chosen
from unweave.contract.sets import whole_class
from unweave.modalities._base import Job
from unweave.tasks import Known

Json = dict[str, Any]


class Retest:
    """One request's test; the first reading, right after its own run, is what later ones are compared with.

    Args:
        name: the request's id.
        contract: whose forget clauses are read, on all forget examples and the measuring part of the holdout.
        job: its data.
        retrained: a model retrained without it, for the clause of that name.
        seed: as in its run.
    """

    def __init__(
        self, name: str, contract: Contract, job: Job, retrained: nn.Module | None = None, seed: int = 0
    ) -> None:
        self.name, self.job = name, job
        sets = Sets(job.forget, holdout=job.holdout, whole_class=whole_class(job.forget, job.retain))
        clauses = contract.forgets(sets.whole_class, Known(job.task).utility)
        self._observer = Observer(job.task, *chosen(sets, (), clauses, job.task, seed), seed=seed)
        seen = {}
        if retrained is not None:
            seen["retrained"] = self._observer.see(retrained, ["forget final"])["forget final"]
        self._goals = goals(
            contract, [c for c in clauses if c.metric != "retrained" or seen], seen, Known(job.task).unit
        )
        self._met: bool | None = None  # or at least not missed

    def read(self, model: nn.Module) -> Json:
        """What the clauses say of a model."""
        seen = self._observer.see(model, ["forget final", "holdout final"])
        clauses = []
        for goal in self._goals:
            reading = goal.read(seen, " final")
            clauses.append({"clause": goal.text, "limit": goal.limit, **reading.as_dict()})
        state = overall(clauses)
        self._met = state != "missed" if self._met is None else self._met
        return {"id": self.name, "clauses": clauses, "met": state == "met", "state": state}

    def regressed(self, found: Json) -> bool:
        """Whether a later model misses what the one right after the request's run did not."""
        return bool(self._met) and not found["met"] and found["state"] != "undecided"
