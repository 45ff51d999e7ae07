"""Looks at a model: once over every set, in evaluation mode, for all clauses together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from unweave.contract import bounds
from unweave.contract.clauses import Forget, Keep, Metric
from unweave.contract.metrics import DRAWN, SCORE, Once, drawn, key, passes, values
from unweave.contract.sets import SAMPLE, Sets, halves
from unweave.data.batches import count
from unweave.errors import of_set, told
from unweave.evaluation.metric import Array
from unweave.execution import bare, device_of, reshard, seeded, world
from unweave.modules import evaluating
from unweave.samples import Data, Rows, Sample
from unweave.tasks import Known, Task

FORGOTTEN = 400  # images, at least, in which a clause "generated" looks for what is to be forgotten; others at the end
Seen = Mapping[str, Mapping[str, Array]]
"""Per-example values `[n]` by set and metric."""


class Observer:
    """Reads sets of examples; the model's modes and the global random state are afterwards as they were.

    Every rank reads the same sets, and goes by what the first one saw.

    Args:
        task: turns model and batch into numbers.
        sets: what can be read, by name.
        metrics: of each set, by the key that their values get.
        seed: of every forward's randomness: two models see the same noise.
    """

    def __init__(
        self,
        task: Task,
        sets: Mapping[str, Sample],
        metrics: Mapping[str, Mapping[str, str | Metric]],
        seed: int = 0,
    ) -> None:
        self._task, self.sets, self._metrics, self._seed = task, sets, metrics, seed

    @torch.no_grad()
    def see(self, model: nn.Module, names: Iterable[str]) -> Seen:
        """The values of all metrics of the named sets; one forward pass per example."""
        whole = bare(model)
        device = device_of(whole)
        with evaluating(whole):
            seen = {name: self._read(whole, name, device) for name in names if name in self.sets}
        reshard(model)
        return seen

    def reads(self, metrics: Iterable[str]) -> bool:
        """Whether one of these names is read of any set."""
        return bool({name for each in self._metrics.values() for name in each} & set(metrics))

    def passes(self, names: Iterable[str]) -> int:
        """Forward passes of one look at the named sets: one an example, but for metrics that say otherwise.

        What is drawn takes passes of its own; the others are read of the same ones.
        """
        found = 0
        for name in (name for name in names if name in self.sets):
            each = [(what in DRAWN, passes(metric, self._task)) for what, metric in self._metrics[name].items()]
            shared = max((count for draws, count in each if not draws), default=0)
            found += self.sets[name].examples * (shared + sum(count for draws, count in each if draws))
        return found

    def _read(self, model: nn.Module, name: str, device: torch.device) -> dict[str, Array]:
        found: dict[str, list[Tensor]] = {each: [] for each in self._metrics[name]}
        left = self.sets[name].rows.tolist()
        for number, batch in enumerate(self.sets[name].batches(device)):
            once, rows, left = Once(model), left[: (size := count(batch))], left[size:]
            for each, metric in self._metrics[name].items():
                what = f"{each} cannot be read of batch {number + 1} of {name}"
                with of_set(name, rows), seeded(self._seed, number), told(what):
                    found[each].append(values(metric, self._task, once, batch))
        return {each: _agreed(torch.cat(parts) if parts else torch.zeros(0), device) for each, parts in found.items()}


def chosen(
    sets: Sets,
    keeps: Sequence[Keep],
    forgets: Sequence[Forget],
    task: Task,
    seed: int,
    alpha: float = 0.05,
) -> tuple[dict[str, Sample], dict[str, dict[str, str | Metric]]]:
    """What the clauses read: the sets, and the metrics of each; "final" sets are read once, at the end.

    `alpha` is the error probability of a test: how many images are drawn follows from it (`bounds.images`).
    """
    steering = halves(sets.holdout, seed)
    utility: dict[str, str | Metric] = {key(c.metric, i): c.metric for i, c in enumerate(keeps)}
    wanted = {clause.metric for clause in forgets}
    forget: dict[str, str | Metric] = {"loss": "loss"}
    counted = wanted & {"accuracy", "retrained"} or "accuracy" in utility.values()
    forget |= {"accuracy": "accuracy"} if counted else {}
    forget |= {SCORE: SCORE} if "unseen" in wanted else {}

    def sample(data: Data, rows: Rows | None = None, most: int | None = None, seed: int = 0) -> Sample:
        return Sample(data, rows=rows, most=most, seed=seed, batch=Known(task).reading_batch)

    found = {"forget": sample(sets.forget, most=SAMPLE, seed=seed), "forget final": sample(sets.forget)}
    metrics = {"forget": forget, "forget final": dict(forget)}
    if "generated" in wanted:
        each = -(-FORGOTTEN // max(found["forget"].examples, 1))
        for skip, name in ((0, "forget"), (each, "forget final")):
            metrics[name]["generated"] = drawn(task, each, skip)
    images = max((_images(clause, sets, alpha) for clause in keeps if clause.metric == "recognised"), default=0)
    for name, data in (("guard", sets.guard), ("final", sets.final)):
        if data is not None and utility:
            found[name], metrics[name] = sample(data), dict(utility)
            if images:
                metrics[name]["recognised"] = drawn(task, -(-images // max(found[name].examples, 1)))
    if "unseen" in wanted and sets.holdout is not None:
        found["holdout"] = sample(sets.holdout, rows=steering[0], most=SAMPLE, seed=seed)
        found["holdout final"] = sample(sets.holdout, rows=steering[1])
        metrics |= {"holdout": {"loss": "loss", SCORE: SCORE}, "holdout final": {"loss": "loss", SCORE: SCORE}}
    return found, metrics


def _images(clause: Keep, sets: Sets, alpha: float) -> int:
    """So many for each of its groups."""
    groups = len(set(sets.groups(clause, 0) or [])) or 1
    return groups * bounds.images(clause.limit, alpha / groups)


def _agreed(found: Tensor, device: torch.device) -> Array:
    """What the first rank saw: the last bits may differ between machines, decisions must not."""
    if world() > 1:
        shared = found.to(device, torch.float64)
        dist.broadcast(shared, 0)
        found = shared.cpu()
    return np.asarray(found.double().numpy())
