"""One request, several methods, one scale: the distance to a model that was retrained without the forget set."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import nn

from unweave.api import unlearn
from unweave.errors import ConfigurationError, suggest
from unweave.guards import GuardWarning
from unweave.methods import made, title
from unweave.oneshot import ONESHOT, OneShot
from unweave.recipe.steps import STEPS
from unweave.results import Result
from unweave.run.environment import environment, now
from unweave.watch import Watch

Json = dict[str, Any]
T = TypeVar("T")
ENDS = {
    "original": ("end", "nothing done"),
    "retrained": ("reference", "the reference"),
    "retrained again": ("end", "another seed"),
    "only hidden": ("hidden", "asked otherwise, no more"),
}
"""Rows above the methods: their kind, and what is said of how they ended."""
SCALE = ("original", "retrained", "retrained again")
"""Those of a demo that trains thrice."""


@dataclass(frozen=True)
class Entry:
    """One method: a name for people, and the sections `method` and `step` of a recipe.

    Args:
        name: in tables.
        method: name in the catalogue.
        arguments: other than the defaults.
        step: the step length.
        kind: "baseline" where headline methods are compared with it.
    """

    name: str
    method: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    step: Mapping[str, Any] = field(default_factory=lambda: {"name": "trust"})
    kind: str = "method"

    @property
    def key(self) -> str:
        """What `--method` calls it."""
        return title(self.method, self.arguments).replace(" over ", "_")

    @property
    def sections(self) -> dict[str, Mapping[str, Any]]:
        """Of a recipe."""
        return {"method": {"name": self.method, **self.arguments}, "step": self.step}


def compared(
    original: nn.Module,
    ends: Mapping[str, nn.Module],
    measure: Callable[[str, nn.Module], Json],
    call: Mapping[str, Any],
    entries: Iterable[Entry],
    watch: Watch,
    phase: str = "",
) -> list[tuple[Json, Result | None]]:
    """Runs the methods, all of them called alike: a line for every model, the ends of the scale first.

    Args:
        original: what the methods start from.
        ends: the ends of the scale, by their names in `ENDS`.
        measure: a model's columns of the table, from its name and itself.
        call: arguments of `unlearn` that all methods have in common.
        entries: the methods.
        watch: told about every method.
        phase: begins what it is told.
    """
    found: list[tuple[Json, Result | None]] = []
    for name, model in ends.items():
        kind, ended = ENDS[name]
        nothing: Json = {"steps": None, "seconds": None, "ended": ended, "warnings": []}
        found.append(({"name": name, "kind": kind, **nothing, **measure(name, model)}, None))
    for entry in entries:
        watch(f"{phase}{entry.name}", 0, 1)
        own = _own(entry, original, call)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GuardWarning)  # they stay in the result
            result = unlearn(original, **own, **call)
        row = {"name": entry.name, "kind": entry.kind, **measure(entry.name, result.model), **_run(result)}
        found.append((row, result))
        watch(f"{phase}{entry.name}", 1, 1)
    return found


def chosen(what: str, wanted: Sequence[str], known: Mapping[str, T]) -> dict[str, T]:
    """The wanted ones in the order of the known ones; nothing wanted is everything.

    Raises:
        ConfigurationError: names that nobody knows, all of them at once.
    """
    if unknown := [name for name in wanted if name not in known]:
        raise ConfigurationError(
            [f"unknown {what} {name!r}.{suggest(name, known)} There are: {', '.join(known)}." for name in unknown]
        )
    return {name: each for name, each in known.items() if not wanted or name in wanted}


def about(begin: float, entries: Iterable[Entry], rows: Sequence[Json]) -> Json:
    """What every demo says of itself; `reading_share` is that of the runs' time that reading the contracts took."""
    ran = [row for row in rows if "reading" in row]
    spent = sum(row["seconds"] for row in ran)
    return {
        "created": now(),
        "seconds": time.perf_counter() - begin,
        "reading_share": sum(row["reading"] for row in ran) / spent if spent else 0.0,
        "environment": environment(),
        "settings": {entry.name: entry.sections for entry in entries},
    }


def _own(entry: Entry, original: nn.Module, call: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `unlearn` that a method has for itself; one without steps has no step length."""
    if entry.method in ONESHOT:
        return {"method": OneShot(entry.method, entry.arguments)}
    step = dict(entry.step)
    method = made(entry.method, call["task"], original, call["forget"], entry.arguments)
    return {"method": method, "step": STEPS[step.pop("name")](**step)}


def _run(result: Result) -> Json:
    """How a run went, and what came of its contract, if it had one."""
    outcome = result.contract
    ran = {"steps": result.steps, "seconds": result.seconds, "ended": result.reason, "warnings": result.warnings}
    if outcome is None:
        return ran
    return {
        **ran,
        **{"met": outcome.met, "state": outcome.state, "kept": outcome.kept},
        **{"reading": outcome.seconds, "rollbacks": outcome.rollbacks},
    }
