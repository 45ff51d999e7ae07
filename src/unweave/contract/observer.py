"""Looks at a model: once over every set, in evaluation mode, for all clauses together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from unweave.contract.clauses import Metric
from unweave.contract.metrics import Once, values
from unweave.contract.sets import Examples
from unweave.evaluation.outputs import evaluating
from unweave.evaluation.value import Array
from unweave.execution import bare, reshard, seeded, world
from unweave.tasks import Task

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
        sets: Mapping[str, Examples],
        metrics: Mapping[str, Mapping[str, str | Metric]],
        seed: int = 0,
    ) -> None:
        self._task, self.sets, self._metrics, self._seed = task, sets, metrics, seed

    @torch.no_grad()
    def see(self, model: nn.Module, names: Iterable[str]) -> Seen:
        """The values of all metrics of the named sets; one forward pass per example."""
        whole = bare(model)
        device = next((p.device for p in whole.parameters()), torch.device("cpu"))
        with evaluating(whole):
            seen = {name: self._read(whole, name, device) for name in names if name in self.sets}
        reshard(model)
        return seen

    def _read(self, model: nn.Module, name: str, device: torch.device) -> dict[str, Array]:
        found: dict[str, list[Tensor]] = {key: [] for key in self._metrics[name]}
        for number, batch in enumerate(self.sets[name].batches(device)):
            once = Once(model)
            for key, metric in self._metrics[name].items():
                with seeded(self._seed, number):
                    found[key].append(values(metric, self._task, once, batch))
        return {key: _agreed(torch.cat(parts) if parts else torch.zeros(0), device) for key, parts in found.items()}


def _agreed(found: Tensor, device: torch.device) -> Array:
    """What the first rank saw: the last bits may differ between machines, decisions must not."""
    if world() > 1:
        shared = found.to(device, torch.float64)
        dist.broadcast(shared, 0)
        found = shared.cpu()
    return np.asarray(found.double().numpy())
