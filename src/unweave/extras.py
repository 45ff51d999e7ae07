"""Modules that come with an extra, imported when they are needed."""

from __future__ import annotations

import importlib
from types import ModuleType

from unweave.errors import UnsupportedError


def require(module: str, extra: str) -> ModuleType:
    """The imported module, which an extra of unweave brings.

    Raises:
        UnsupportedError: it cannot be imported; the message says which extra of unweave brings it.
    """
    return needed(module, f"'unweave[{extra}]'")


def needed(module: str, package: str) -> ModuleType:
    """The imported module, which a package brings.

    Raises:
        UnsupportedError: it cannot be imported; the message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError) as error:
        raise UnsupportedError(
            f"this needs {module}, which cannot be imported here ({error}): pip install {package}"
        ) from error
