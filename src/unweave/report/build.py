"""From a directory to its page."""

from __future__ import annotations

from pathlib import Path

from unweave.errors import ConfigurationError
from unweave.report import demo_page, evidence_page, run_page, sequence_page, several_pages
from unweave.report.run_page import readable


def build(directory: Path) -> Path:
    """Writes `report.html` of a run, a sequence, a demo or of evidence alone, from the files that lie in its directory.

    Raises:
        ConfigurationError: it is none of them, or a file in it is missing, damaged, or of another version.
    """
    kinds = {
        "summary.json": run_page.read,
        "sequence.json": sequence_page.read,
        **dict.fromkeys(demo_page.KINDS, demo_page.read),
        "evidence.json": evidence_page.read,  # last: a run's own page shows its evidence, too
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


def compare(directories: list[Path], path: Path) -> Path:
    """Writes a page that shows several runs side by side.

    Raises:
        ConfigurationError: some of them are no finished runs.
    """
    several_pages.compare(directories).write(path)
    return path


def board(folder: Path, path: Path | None = None) -> Path:
    """Writes a page that lists all runs below a folder, `board.html` in it unless another path is given.

    Raises:
        ConfigurationError: there is no such folder, or no run in it.
    """
    page, path = several_pages.board(folder), folder / "board.html" if path is None else path
    page.write(path)
    return path
