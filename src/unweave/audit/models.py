"""One model of each kind and seed: from the cache, or trained or unlearned now.

All of them lie where the recipe's run computes (`run.device`). Of several processes the first one trains, asks and
attacks; what all do together are the steps of an unlearning.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unweave import devices, ranks
from unweave.audit.experiment import Experiment, kept_at
from unweave.recipe.recipe import Recipe
from unweave.run.identity import identity, resolve
from unweave.run.interrupt import REASON, agreed
from unweave.run.runner import placed
from unweave.run.session import Session
from unweave.sharded import unsharded
from unweave.store import keep_tensors, kept_about, kept_tensors, tensors_sha256

UNDECIDING = ("evaluation.", "evidence.", "sequence.", "requests")


@dataclass(frozen=True, eq=False)
class Made:
    """A model, and how it came about: `{"kind", "seed", "sha256", "seconds", "cached"}`, more if it was unlearned."""

    model: nn.Module
    about: Mapping[str, Any]


def make(world: Experiment, kind: str, number: int) -> Made:
    """The model of a kind and number; a "shadow" is trained and unlearned under its coins.

    Raises:
        ConfigurationError: weights that the user gave do not fit.
    """
    if kind in ("shadow", "unlearned"):
        return _unlearned(world, kind, number)
    there = is_there(world, kind, number)
    if kind == "retrained" and world.references:
        model = world.request.opened(world.references[number])
    elif kind == "retrained":
        model = world.request.retrained(world.seed(kind, number))
    elif world.own is not None and world.is_own(number):
        model = world.own.original(world.request)
    else:
        model = world.trained_with(number).opened(world.weights(number))
    about = {
        "kind": kind,
        "seed": world.told_seed(kind, number),
        "sha256": tensors_sha256(model.state_dict()),
        "seconds": (there or is_there(world, kind, number) or {}).get("seconds"),
        "cached": there is not None,
    }
    return Made(model.to(devices.chosen(world.recipe.run.device)), about)


def is_there(world: Experiment, kind: str, number: int) -> Mapping[str, Any] | None:
    """What the cache notes of a model (its `seconds` among it), or None if it has to be made."""
    if kind == "shadow":
        return is_there(world.shadow(number), "unlearned", 0)
    if kind == "unlearned" and number == 0 and world.own is not None:
        return world.own.about
    if kind == "original":
        made = world.trained_with(number)
        if (file := world.weights(number)) is not None:
            return {"seconds": None, "sha256": tensors_sha256(made.opened(file).state_dict())}
        return made.noted(world.seed(kind, number if world.count("original") > 1 else 0))
    if kind == "retrained":
        if world.references:
            return {"seconds": None}
        return world.request.noted(world.seed(kind, number), without=True)
    first = is_there(world, "original", number)
    noted = None if first is None else kept_about(_place(world, number, first))
    return None if noted is None else noted["made"]


def follow(world: Experiment) -> None:
    """Takes this process's share of every unlearning that the first one calls for."""
    for kind, number in ranks.tasks():
        of, own = _of(world, kind, number)
        _steps(of, own, make(of, "original", own).model)


def _of(world: Experiment, kind: str, number: int) -> tuple[Experiment, int]:
    """The experiment that an unlearned model is of, and its number there; a shadow has one of its own."""
    return (world.shadow(number), 0) if kind == "shadow" else (world, number)


def _unlearned(world: Experiment, kind: str, number: int) -> Made:
    """The unlearned model of an original, by the recipe's method, from a seed of its own."""
    of, own = _of(world, kind, number)
    if of.own is not None and own == 0:
        model = of.own.unlearned(of.request).to(devices.chosen(of.recipe.run.device))
        return Made(model, {**of.own.about, "cached": True})
    original = make(of, "original", own).model
    place = _place(of, own, is_there(of, "original", own) or {})
    if (kept := kept_tensors(place)) is not None:
        original.load_state_dict(kept, strict=False)  # what never moved is the original's
        return Made(original.eval(), (kept_about(place) or {})["made"] | {"cached": True})
    with ranks.joined((kind, number)):
        unlearned, moved, about, ended = _steps(of, own, original)
    assert unlearned is not None, "the first process has it whole"
    values = unlearned.state_dict()
    keep_tensors(place, {name: values[name] for name in moved}, {"made": about})
    if ended:
        raise KeyboardInterrupt
    return Made(unlearned.eval(), about | {"cached": False})


def _steps(
    world: Experiment, number: int, original: nn.Module
) -> tuple[nn.Module | None, Sequence[str], dict[str, Any], bool]:
    """Unlearns, on all processes.

    Returns:
        The model, whole, None of all processes but the first where it is sharded; what moved of it, what is known
        about it, and whether Ctrl-C came when it was done.
    """
    recipe, request = _seeded(world, number), world.trained_with(number)
    retrained = None
    if recipe.contract is not None and recipe.contract.asks_retrained:
        retrained = placed(ranks.before_others(lambda: make(world, "retrained", 0).model), recipe)
    begin = time.perf_counter()
    session = Session.start(recipe, request, placed(original, recipe), retrained)
    with agreed() as ended, session.parts.ready():
        stop = (lambda record: REASON if ended() else None,)
        result = session.parts.run(recipe.run.steps, stop=stop, repair=session.repair)
        if result.reason == REASON:
            raise KeyboardInterrupt  # half an unlearning is none: it is not kept
        late = ended()
    seconds = time.perf_counter() - begin
    after = tensors_sha256(session.model.state_dict())
    about = {
        "kind": "unlearned",
        "seed": recipe.run.seed,
        "sha256": after,
        "changed": session.original != after,
        "seconds": seconds,
        "steps": result.progress.made,
        "ended": result.reason,
        "contract": [] if result.contract is None else result.contract.of(seconds).clauses(),
        "peak_memory_bytes": devices.peak(devices.CPU),
    }
    return unsharded(session.model, ranks.lead()), list(session.moving()), about, late


def _seeded(world: Experiment, number: int) -> Recipe:
    run = world.recipe.run.model_copy(update={"seed": world.seed("unlearned", number)})
    return world.recipe.model_copy(update={"run": run})


def _place(world: Experiment, number: int, original: Mapping[str, Any]) -> Path:
    """Of an unlearned model, by all that decides it."""
    resolved = resolve(_seeded(world, number), world.trained_with(number), Path())
    decides = {k: v for k, v in identity(resolved).items() if not k.startswith(UNDECIDING)}
    version = torch.__version__.split("+")[0]
    return kept_at({"decides": decides, "original": str(original.get("sha256")), "torch": version})
