"""A run's files that this version cannot show: one message in the place of a traceback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unweave.errors import ConfigurationError


@contextmanager
def readable(directory: Path) -> Iterator[None]:
    """Around what reads and shows the files of a directory.

    Raises:
        ConfigurationError: one is missing, is no JSON, or lacks what this version writes.
    """
    try:
        yield
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        text = " ".join(str(error).split())
        raise ConfigurationError(f"{directory}: a file of the run cannot be read, or is damaged: {text}") from error
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError) as error:
        what = f"there is no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise ConfigurationError(
            f"{directory}: a file of the run is damaged, or of another version of unweave ({what}). Show it with the "
            "version that wrote it, or run it again"
        ) from error
