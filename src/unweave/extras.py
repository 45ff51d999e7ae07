"""Modules that come with an extra, imported when they are needed."""

from __future__ import annotations

import importlib
from types import ModuleType

from unweave.errors import UnsupportedError


def require(module: str, extra: str) -> ModuleType:
    """The imported module.

    Raises:
        UnsupportedError: it cannot be imported; the message says which extra of unweave brings it.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError) as error:
        raise UnsupportedError(
            f"this needs {module}, which cannot be imported here ({error}): pip install 'unweave[{extra}]'"
        ) from error
