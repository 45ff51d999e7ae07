"""What is tried: a recipe, and the requests that its settings are tried on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from unweave import modalities
from unweave.errors import ConfigurationError, UnsupportedError
from unweave.modalities._base import Job, Sheet
from unweave.recipe.recipe import Recipe
from unweave.run.runner import placed
from unweave.run.session import check_decidable, check_readable, contract_sets
from unweave.tasks import Known
from unweave.watch import Watch, silent

By = Literal["proxies", "contract"]


@dataclass(frozen=True, eq=False)
class World:
    """Everything that a trial needs, in whatever process.

    Attributes:
        recipe: what to do; its method and step are those of trial 0.
        by: what a trial is judged by.
        requests: by proxies these, by contract the recipe's own alone.
        retrained: scores of each proxy's retrained model; none by contract.
        original: distance of the original from them, in points.
    """

    recipe: Recipe
    by: By
    requests: tuple[Job, ...]
    retrained: tuple[Sheet, ...] = ()
    original: tuple[float | None, ...] = ()


APART = 1 << 16  # seeds between two searches: neighbours are to share no draw
MISSES = 40  # draws in a row that are proxies which are there


def requests(recipe: Recipe, job: Job, by: By, proxies: int, seed: int) -> tuple[Job, ...]:
    """The requests that settings are tried on.

    Raises:
        ConfigurationError: there is no room for so many proxies, or the contract says nothing to judge by.
        UnsupportedError: nobody knows how to draw a proxy of such data.
    """
    if by == "contract":
        if recipe.contract is None or not recipe.contract.contract().forgets(False, Known(job.task).utility):
            raise ConfigurationError(
                "--by contract: expected a contract with a forget clause, which says when it is enough; found "
                f"{'none' if recipe.contract is None else 'forget: []'}. Give one, or search by proxies"
            )
        return (job,)
    kind = modalities.of(recipe)
    if kind.proxy is None:
        raise UnsupportedError(f"nobody knows how to draw proxy requests of {kind.name}: search with --by contract")
    none = np.zeros(0, dtype=np.int64)
    guard, final = none, none
    if recipe.contract is not None:
        guard, final = contract_sets(recipe.contract.contract(), job, recipe.run.seed)[1].rows or (none, none)
    found, misses, draw = dict[str, Job](), 0, seed * APART
    while len(found) < proxies and misses < MISSES:
        made = kind.proxy(recipe, job, guard, final, draw)
        misses = misses + 1 if (same := made.prints()["forget"]) in found else 0
        found.setdefault(same, made)
        draw += 1
    if len(found) < proxies:
        raise ConfigurationError(
            f"--proxies: expected {len(found)} at most, as many requests like this one as {MISSES} further draws tell "
            f"apart; found {proxies}"
        )
    return tuple(found.values())


def check(recipe: Recipe, chosen: Sequence[Job], watch: Watch = silent) -> None:
    """Refuses what the first trial would, before anything long is done.

    Raises:
        ConfigurationError: a clause that the data cannot be read for, or a limit that the guard set cannot decide at
            its level.
    """
    if recipe.contract is None:
        return
    tried = recipe.contract.tried
    shared = f"The guard set judges all trials, so its level is divided by {tried}: fewer --trials, or a wider limit."
    for request in chosen:
        check_readable(recipe, request)
        check_decidable(recipe, request, placed(modalities.original(recipe, request, watch), recipe), shared)


def prepared(recipe: Recipe, by: By, chosen: Sequence[Job], watch: Watch = silent) -> World:
    """The world, with all models that the trials are compared with trained and scored once.

    Raises:
        UnsupportedError: a proxy has no retrained model.
    """
    if by == "contract":
        return World(recipe, by, tuple(chosen))
    sheets, distances = list[Sheet](), list[float | None]()
    for number, request in enumerate(chosen):
        watch("models retrained without the proxies", number, len(chosen))
        original = placed(modalities.original(recipe, request, watch), recipe)
        if (retrained := request.reference(1, watch)) is None:
            raise UnsupportedError(
                "a proxy is compared with a model that is retrained without it, and nobody knows how: search with "
                "--by contract, or say how models are trained."
            )
        sheets.append(request.score(placed(retrained, recipe), "retrained", None, watch).scores)
        distances.append(distance(request, request.score(original, "original", None, watch).scores, sheets[-1])[0])
    watch("models retrained without the proxies", len(chosen), len(chosen))
    return World(recipe, by, tuple(chosen), tuple(sheets), tuple(distances))


def distance(request: Job, sheet: Sheet, retrained: Sheet) -> tuple[float | None, dict[str, Any]]:
    """Mean size of the gaps that the modality forms to a retrained model, in points, and each of them."""
    found = request.gaps(sheet, retrained)
    gaps = {name: score.value for name, score in found.items() if name != "average_gap"}
    return (found["average_gap"].value if found else None), gaps
