"""Methods of the user's beside those of the catalogue, for as long as a command runs."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unweave.arguments import callable_with
from unweave.errors import ConfigurationError, told


def factory(place: str) -> Any:
    """The function `(task, original) -> Method` that module:function, or file.py:function, names.

    Raises:
        ConfigurationError: no such module, file or function, or one that takes other arguments.
    """
    where, colon, name = place.rpartition(":")
    if not colon or not name.isidentifier():
        raise ConfigurationError(f"--with: expected module:function or file.py:function, found {place!r}")
    with told(f"--with {place}: {where} cannot be imported"):
        if where.endswith(".py"):
            spec = importlib.util.spec_from_file_location(f"unweave_own_{Path(where).stem}", where)
            assert spec is not None and spec.loader is not None, "it ends in .py"
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(where)
    made = getattr(module, name, None)
    if not callable_with(made, 2):
        raise ConfigurationError(f"--with {place}: expected a function (task, original) -> Method, found {made!r}")
    return made


@contextmanager
def added(places: Sequence[str], *tables: dict[str, Any]) -> Iterator[dict[str, str]]:
    """Puts them into the tables of methods while the block runs: by their place, which is their name in recipes.

    Yields:
        Their names in tables, and what recipes call them.

    Raises:
        ConfigurationError: as `factory`, and two of one name.
    """
    names = [place.rpartition(":")[2] for place in places]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigurationError(f"--with: two functions are called {twice[0]!r}, and rows by them: rename one")
    made = {place: factory(place) for place in places}
    for table in tables:
        table.update(made)
    try:
        yield dict(zip(names, made, strict=True))
    finally:
        for table in tables:
            for place in made:
                table.pop(place, None)
