"""Functions of the user's that a recipe names: which file that is, that it is said, and that it is the same one.

Only a job calls them: a recipe, a report and a certificate are read and verified without.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from unweave.errors import ConfigurationError, told
from unweave.modalities.records.recipe import Made

LOG = logging.getLogger("unweave.said")
"""Says every file that is executed, once; the command prints it."""


def file_of(made: Made, key: str) -> tuple[Path, str]:
    """The file that a section's factory stands in, and its SHA-256; nothing of it is executed.

    Raises:
        ConfigurationError: there is no such module, or the file is another one than the recipe says.
    """
    assert made.factory is not None, "asked where there is one"
    where = made.factory.rpartition(":")[0]
    path = Path(where)
    if not where.endswith(".py"):
        with told(f"{key}.factory: {where}", "Name a module that Python finds, or a file: file.py:function"):
            found = _origin(where)
        if found is None or not found.is_file():
            raise ConfigurationError(
                f"{key}.factory: no module {where} with a file of its own is installed or on the path of Python: "
                "name a file, file.py:function"
            )
        path = found
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if made.sha256 is not None and made.sha256 != digest:
        raise ConfigurationError(
            f"{key}.factory: {path} is not the file that the recipe was written for: expected SHA-256 "
            f"{made.sha256[:12]}..., found {digest[:12]}...: put it back, or take {key}.sha256 out of the recipe"
        )
    return path, digest


def _origin(module: str) -> Path | None:
    """The file of a module; `find_spec` of a name with dots would execute the packages that it is in."""
    first, *rest = module.split(".")
    spec = importlib.util.find_spec(first)
    if spec is None or not rest:
        return None if spec is None or spec.origin is None else Path(spec.origin)
    places = [Path(place) for place in spec.submodule_search_locations or ()]
    for part in rest[:-1]:
        places = [place / part for place in places if (place / part).is_dir()]
    files = (file for place in places for file in (place / rest[-1] / "__init__.py", place / f"{rest[-1]}.py"))
    return next((file for file in files if file.is_file()), None)


def about(made: Made, key: str) -> dict[str, Any]:
    """What a section's factory is by content, and what it is called with; empty without one."""
    if made.factory is None:
        return {}
    function = made.factory.rpartition(":")[2]
    return {"code": file_of(made, key)[1], "function": function, "arguments": made.arguments}


def call(made: Made, key: str, offered: Mapping[str, Any] | None = None) -> Any:
    """What the factory of a section makes; its file is executed, and said to be.

    Args:
        made: the section.
        key: of it in the recipe, for messages.
        offered: what it is called with beside its arguments, where it takes that and the recipe does not say it.

    Raises:
        ConfigurationError: no such file or function, arguments that it does not take, or whatever it raises.
    """
    assert made.factory is not None, "asked where there is one"
    where, _, name = made.factory.rpartition(":")
    path, digest = file_of(made, key)
    with told(f"{key}.factory: {path} cannot be executed"), _staying(f"{key}.factory: {path}"):
        module = _module(where, path, digest)
    function = getattr(module, name, None)
    if not callable(function):
        known = [each for each, value in vars(module).items() if inspect.isfunction(value) and not each.startswith("_")]
        raise ConfigurationError(f"{key}.factory: {path} has no function {name}; it has {', '.join(known) or 'none'}")
    arguments = _offered(function, offered or {}) | made.arguments
    try:
        inspect.signature(function).bind(**arguments)
    except TypeError as error:
        raise ConfigurationError(f"{key}.arguments: {name}() of {path}: {error}") from error
    except ValueError:  # it has no signature
        pass
    with told(f"{key}.factory: {name}() of {path} failed"), _staying(f"{key}.factory: {name}() of {path}"):
        return function(**arguments)


@contextmanager
def _staying(what: str) -> Iterator[None]:
    """Code of the user's that must neither end the process, as `sys.exit` does with a code that a run's state has, nor
    leave it in another folder, where the run would be written.
    """
    folder = Path.cwd()
    try:
        yield
    except SystemExit as error:
        raise ConfigurationError(f"{what} ended the process (SystemExit {error.code}) instead of returning") from error
    finally:
        os.chdir(folder)


def _module(where: str, path: Path, digest: str) -> ModuleType:
    """The module in a file, executed once; a file of the same content is the same module."""
    if not where.endswith(".py"):
        if where not in sys.modules:
            LOG.info("executing %s (SHA-256 %s), as the recipe says", path, digest)
        return importlib.import_module(where)
    name = f"unweave_{path.stem}_{hashlib.sha256(f'{path}{digest}'.encode()).hexdigest()[:16]}"
    if (known := sys.modules.get(name)) is not None:
        return known
    LOG.info("executing %s (SHA-256 %s), as the recipe says", path, digest)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None, "it ends in .py"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))  # what stands beside it can be imported
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(str(path.parent))
    return module


def _offered(function: Callable[..., Any], offered: Mapping[str, Any]) -> dict[str, Any]:
    try:
        taken = inspect.signature(function).parameters
    except ValueError:
        return {}
    return {name: value for name, value in offered.items() if name in taken}
