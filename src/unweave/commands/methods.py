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
    """Prints every method with its paper, or one with its hyperparameters.

    Raises:
        ConfigurationError: there is no such method.
    """
    if name is not None and name not in CATALOGUE:
        raise ConfigurationError(
            f"unknown method {name!r}.{suggest(name, CATALOGUE)} `unweave methods` lists them all."
        )
    about = {each: inspect.getdoc(function) or "" for each, function in CATALOGUE.items()}
    if as_json:
        print(json.dumps([_entry(each, about[each]) for each in ([name] if name else CATALOGUE)], indent=2))
    elif name:
        console = Console(soft_wrap=True)
        console.print(f"{name}\n", style="bold")
        defaults = {key: json.dumps(p.default, default=str) for key, p in hyperparameters(CATALOGUE[name]).items()}
        usual = sorted(defaults.items(), key=lambda each: each[1] == "null")  # what decides first, then what may
        written = "\n".join(f"  {key}: {value}" for key, value in [("name", name), *usual])
        console.print(f"{about[name]}\n\nIn a recipe:\n\nmethod:\n{written}", markup=False, highlight=False)
    else:
        table = Table(box=None, pad_edge=False)
        for column in ("method", "what it does", "paper"):
            table.add_column(column, overflow="fold")
        for each, text in about.items():
            table.add_row(each, text.split("\n")[0], PAPERS[each])
        console = Console()
        console.print(table)
        console.print("\nHyperparameters and defaults: unweave methods NAME", style="dim")


def _entry(name: str, about: str) -> dict[str, Any]:
    defaults = {k: None if p.default is p.empty else p.default for k, p in hyperparameters(CATALOGUE[name]).items()}
    return {"name": name, "about": about.split("\n")[0], "paper": PAPERS[name], "hyperparameters": defaults}
