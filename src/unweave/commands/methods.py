"""`unweave methods`: the catalogue."""

from __future__ import annotations

import inspect
import json
from typing import Any

from rich.console import Console
from rich.table import Table

from unweave.errors import ConfigurationError, suggest
from unweave.oneshot import CATALOGUE, PAPERS
from unweave.recipe.faults import hyperparameters


def main(name: str | None, *, as_json: bool) -> None:
    """Prints every method with its paper, or one with its hyperparameters."""
    if name is not None and name not in CATALOGUE:
        raise ConfigurationError(
            f"unknown method {name!r}.{suggest(name, CATALOGUE)} `unweave methods` lists them all."
        )
    chosen = [name] if name else list(CATALOGUE)
    if as_json:
        print(json.dumps([_entry(each) for each in chosen], indent=2))
    elif name:
        _one(name)
    else:
        _all(chosen)


def _entry(name: str) -> dict[str, Any]:
    function = CATALOGUE[name]
    parameters = hyperparameters(function)
    defaults = {k: None if p.default is p.empty else p.default for k, p in parameters.items()}
    return {"name": name, "about": _first_line(name), "paper": PAPERS[name], "hyperparameters": defaults}


def _one(name: str) -> None:
    console = Console(soft_wrap=True)
    console.print(f"{name}\n", style="bold")
    console.print(inspect.getdoc(CATALOGUE[name]) or "", markup=False, highlight=False)
    console.print("\nIn a recipe:\n\nmethod:", markup=False, highlight=False)
    console.print(f"  name: {name}", markup=False, highlight=False)
    for key, parameter in hyperparameters(CATALOGUE[name]).items():
        console.print(f"  {key}: {json.dumps(parameter.default, default=str)}", markup=False, highlight=False)


def _all(names: list[str]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in ("method", "what it does", "paper"):
        table.add_column(column, overflow="fold")
    for name in names:
        table.add_row(name, _first_line(name), PAPERS[name])
    console = Console()
    console.print(table)
    console.print("\nHyperparameters and defaults: unweave methods NAME", style="dim")


def _first_line(name: str) -> str:
    return (inspect.getdoc(CATALOGUE[name]) or "").split("\n")[0]
