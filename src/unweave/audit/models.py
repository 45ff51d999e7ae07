"""One model of each kind and seed: from the cache, or trained or unlearned now."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unweave import devices
from unweave.audit.experiment import Experiment, kept_at
from unweave.recipe.recipe import Recipe
from unweave.run.identity import identity, resolve
from unweave.run.session import Session
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
    if kind == "shadow":
        return _unlearned(world.shadow(number), 0)
    if kind == "unlearned":
        return _unlearned(world, number)
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
    return Made(model, about)


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


def _unlearned(world: Experiment, number: int) -> Made:
    """The unlearned model of an original, by the recipe's method, from a seed of its own."""
    if world.own is not None and number == 0:
        return Made(world.own.unlearned(world.request), {**world.own.about, "cached": True})
    original = make(world, "original", number).model
    place = _place(world, number, is_there(world, "original", number) or {})
    if (kept := kept_tensors(place)) is not None:
        model = world.request.network.build()
        model.load_state_dict(kept)
        return Made(model.eval(), (kept_about(place) or {})["made"] | {"cached": True})
    recipe, request = _seeded(world, number), world.trained_with(number)
    asks = recipe.contract is not None and recipe.contract.asks_retrained
    begin = time.perf_counter()
    session = Session.start(recipe, request, original, make(world, "retrained", 0).model if asks else None)
    with session.parts.ready():
        result = session.parts.run(recipe.run.steps, repair=session.repair)
    seconds = time.perf_counter() - begin
    before, after = (tensors_sha256(m.state_dict()) for m in (original, session.model))
    about = {
        "kind": "unlearned",
        "seed": recipe.run.seed,
        "sha256": after,
        "changed": before != after,
        "seconds": seconds,
        "steps": result.progress.made,
        "ended": result.reason,
        "contract": [] if result.contract is None else result.contract.of(seconds).clauses(),
        "peak_memory_bytes": devices.peak(devices.CPU),
    }
    keep_tensors(place, session.model.state_dict(), {"made": about})
    return Made(session.model.eval(), about | {"cached": False})


def _seeded(world: Experiment, number: int) -> Recipe:
    run = world.recipe.run.model_copy(update={"seed": world.seed("unlearned", number)})
    return world.recipe.model_copy(update={"run": run})


def _place(world: Experiment, number: int, original: Mapping[str, Any]) -> Path:
    """Of an unlearned model, by all that decides it."""
    resolved = resolve(_seeded(world, number), world.trained_with(number), Path())
    decides = {k: v for k, v in identity(resolved).items() if not k.startswith(UNDECIDING)}
    version = torch.__version__.split("+")[0]
    return kept_at({"decides": decides, "original": str(original.get("sha256")), "torch": version})
