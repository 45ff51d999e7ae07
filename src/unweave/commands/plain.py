"""Commands as the help shows them: an option that takes no value shows none, and an argument has its name alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


class Command(TyperCommand):
    """A command."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its options and arguments."""
        return _valueless(super().get_params(ctx))


class Group(TyperGroup):
    """A command of several."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its own options."""
        return _valueless(super().get_params(ctx))


def _valueless(parameters: list[Any]) -> list[Any]:
    for each in parameters:
        if each.param_type_name == "argument":
            each.display_type_rich = lambda ctx: None
        elif each.is_flag and each.metavar is None:
            each.metavar = ""
    return parameters


class App(typer.Typer):
    """A `Typer` of such commands."""

    def __init__(self, **options: Any) -> None:
        super().__init__(cls=Group, **{"no_args_is_help": True, **options})

    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:
        """As `Typer.command`."""
        return super().command(name, cls=Command, **options)
