"""From a directory to its page."""

from __future__ import annotations

from pathlib import Path

from unweave.errors import ConfigurationError
from unweave.report import demo_page, paper_page, run_page, sequence_page, tune_page
from unweave.report.run_page import readable


def build(directory: Path) -> Path:
    """Writes `report.html` of a run, a sequence, a demo, a paper's experiment, a search, or evidence alone.

    Raises:
        ConfigurationError: it is none of them, or a file in it is missing, damaged, or of another version.
    """
    kinds = {
        "summary.json": run_page.read,
        "sequence.json": sequence_page.read,
        paper_page.FILE: paper_page.read,
        tune_page.FILE: tune_page.read,
        **dict.fromkeys(demo_page.KINDS, demo_page.read),
        "evidence.json": run_page.read_evidence,  # last: a run's own page shows its evidence, too
    }
    read = next((read for name, read in kinds.items() if (directory / name).is_file()), None)
    if read is None:
        raise ConfigurationError(
            f"{directory}: expected a directory that `unweave run` or `unweave demo` wrote; found none of "
            f"{', '.join(kinds)} in it"
        )
    with readable(directory):
        page = read(directory)
    path = directory / "report.html"
    page.write(path)
    return path
