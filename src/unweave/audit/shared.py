"""Evidence on several processes that share each unlearning: what they refuse, and where all else is done."""

from __future__ import annotations

from typing import TypeVar

from unweave import ranks
from unweave.errors import UnsupportedError
from unweave.oneshot import ONESHOT
from unweave.recipe.recipe import Recipe

R = TypeVar("R", bound=Recipe)
WORKERS = (
    "evidence: several processes were started, which share the steps of every unlearning, and --workers and --cluster "
    "give every model to one of many: leave these out, or start it without torchrun (many small models: with them)."
)


def shared(recipe: R, *, workers: bool = False) -> R:
    """The recipe as several processes carry it out: where weights are sharded, whole models are in the host's memory.

    Args:
        recipe: of all models.
        workers: whether each process is to have workers of its own.

    Raises:
        UnsupportedError: the processes are not the command's, have workers, or cannot share such an unlearning.
    """
    if not ranks.commanded():
        raise UnsupportedError(
            "evidence on several processes is a command: torchrun --nproc-per-node N -m unweave evidence RECIPE.yaml. "
            "Call it in one process, before any group is made."
        )
    if workers:
        raise UnsupportedError(WORKERS)
    if recipe.run.relearner:
        raise UnsupportedError("run.relearner: it runs in one process: leave it out, or start without torchrun.")
    if not recipe.run.shard:
        return recipe
    if (name := recipe.method.name) in ONESHOT:
        raise UnsupportedError(f"{name} takes no steps: it changes whole weights. Leave run.shard out.")
    return recipe.model_copy(update={"run": recipe.run.model_copy(update={"device": "cpu"})})
