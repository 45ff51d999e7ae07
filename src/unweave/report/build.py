"""From a directory to its page."""

from __future__ import annotations

import json
from pathlib import Path

from unweave.errors import ConfigurationError
from unweave.report import demo_page, demo_text_page, run_page, sequence_page


def build(directory: Path) -> Path:
    """Writes `report.html` of a run, a sequence or a demo, from the files that lie in its directory.

    Raises:
        ConfigurationError: it is none of them, or a file in it is missing or damaged.
    """
    kinds = {
        "summary.json": run_page.read,
        "sequence.json": sequence_page.read,
        "demo.json": demo_page.read,
        "demo_text.json": demo_text_page.read,
    }
    read = next((read for name, read in kinds.items() if (directory / name).is_file()), None)
    if read is None:
        raise ConfigurationError(
            f"{directory}: expected a directory that `unweave run` or `unweave demo` wrote; found none of "
            f"{', '.join(kinds)} in it"
        )
    try:
        page = read(directory)
    except (OSError, json.JSONDecodeError) as error:
        raise ConfigurationError(
            f"{directory}: a file of the run cannot be read: {' '.join(str(error).split())}"
        ) from error
    path = directory / "report.html"
    page.write(path)
    return path
