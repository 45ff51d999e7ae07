"""The one place where a run writes: new, or its own, never somebody else's."""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from torch import nn

from unweave import ranks
from unweave.errors import ConfigurationError
from unweave.run import seal
from unweave.run.interrupt import REASON
from unweave.store import strict, tensors_sha256

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

EVIDENCE = "evidence.json"
FILES = {EVIDENCE, "race.json", "recipe.yaml", "quote.json", "steps.jsonl", "checkpoint", "model", "tensorboard"} | {
    *("scores.json", "examples.json", "answers.json", "grid.png", "values", "summary.json", "report.html")
}

SUMMARY = "summary.json"
SEALED = FILES - {EVIDENCE, "checkpoint", SUMMARY, "report.html", "tensorboard"}
"""Files and folders that a run does not touch again once its summary is written."""
TOLD = SEALED - {"model", "values", "recipe.yaml"}
"""Those of them that say what came of it, in the run's own words."""

SEQUENCE = {"recipe.yaml", "sequence.json", "report.html"}


def creatable(directory: Path) -> None:
    """Refuses a directory that cannot be made or written to, before any work is done for it; leaves nothing behind.

    Raises:
        ConfigurationError: it is a file, or the system refuses.
    """
    made: list[Path] = []
    try:
        if directory.exists() and not directory.is_dir():
            raise ConfigurationError(f"{directory}: expected a directory to write to, found a file")
        made = [path for path in (directory, *directory.parents) if not path.exists()]
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"{directory}: cannot be created ({error.strerror}): choose another --output"
        ) from error
    finally:
        for path in made:
            with suppress(OSError):
                path.rmdir()
    if directory.is_dir() and not os.access(directory, os.W_OK | os.X_OK):
        raise ConfigurationError(f"{directory}: cannot be written to (permission denied): choose another --output")


@contextmanager
def claimed(directory: Path) -> Iterator[None]:
    """The directory for this run alone, whose first process makes it; it goes again if nothing was written.

    The lock is the system's and ends with the process, however that ends. Where there are no such locks (Windows, some
    network file systems), nothing is claimed.

    Raises:
        ConfigurationError: it cannot be made, or another process is at work in it.
    """
    if not ranks.lead():
        yield
        return
    creatable(directory)
    made = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    handle = os.open(directory, os.O_RDONLY) if fcntl is not None else None
    try:
        if fcntl is not None and handle is not None:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigurationError(
                    f"{directory}: another process is at work here: wait for its end, or choose another --output"
                ) from None
            except OSError:
                warnings.warn(f"{directory}: no locks here: no second process may write to it", stacklevel=3)
        yield
    finally:
        if handle is not None:
            os.close(handle)  # and with it the lock
        for path in made:
            with suppress(OSError):  # not empty
                path.rmdir()


def check(directory: Path, resume: bool, overwrite: bool) -> None:
    """Refuses a directory that a run would spoil, or that holds another thing than the run to resume.

    One that is new or empty may be resumed: the run was ended before it wrote anything, and begins.

    Raises:
        ConfigurationError: not empty, or not a run's.
    """
    found = _inside(directory)
    found = set() if found == {EVIDENCE} else found  # evidence that came before its run
    strange = sorted(name for name in found - FILES if not name.startswith("."))
    if resume and strange and "checkpoint" not in found:
        raise ConfigurationError(
            f"{directory} holds no run to resume, but {', '.join(strange[:3])}: is it another one?"
        )
    _allowed(directory, found, "run", resume or overwrite)
    if not resume:
        _no_more(directory, strange, "run")


def check_sequence(directory: Path, resume: bool, overwrite: bool) -> None:
    """The same for the directory of several runs in a row.

    Raises:
        ConfigurationError: not empty, or not a sequence's.
    """
    found = _inside(directory)
    _no_more(directory, [name for name in found - SEQUENCE if not re.match(r"\d\d-|\.", name)], "sequence")
    _allowed(directory, found, "sequence", resume or overwrite)


def check_evidence(directory: Path) -> bool:
    """Refuses to put evidence into somebody else's folder; whether a run's recipe is in it.

    Raises:
        ConfigurationError: it holds something else than a run.
    """
    found = _inside(directory)
    _no_more(directory, [name for name in found - FILES if not name.startswith(".")], "run")
    return "recipe.yaml" in found


def _inside(directory: Path) -> set[str]:
    creatable(directory)
    return {path.name for path in directory.iterdir()} if directory.is_dir() else set()


def _no_more(directory: Path, strange: Collection[str], than: str) -> None:
    if strange:
        some = ", ".join(sorted(strange)[:3])
        raise ConfigurationError(f"{directory} holds more than a {than} ({some}): choose another --output")


def _allowed(directory: Path, found: Collection[str], what: str, allowed: bool) -> None:
    if found and not allowed:
        raise ConfigurationError(
            f"{directory} is not empty: --resume its {what}, --overwrite it, or choose another --output"
        )


def finished(directory: Path, also: Collection[str] | None = None) -> dict[str, Any] | None:
    """The summary of a run that went to its end; None for one that has something left to do, or never began.

    Args:
        directory: of the run.
        also: which of its other files must be as they were, by name; None is all.

    Raises:
        ConfigurationError: the summary, or one of these files, was changed since the run wrote it.
    """
    path = directory / SUMMARY
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        left = all((directory / name).exists() for name in ("scores.json", "model"))  # or it is made again
        done = summary["status"] != REASON and left
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    if done:
        seal.check(path, summary, also=also)
    return summary if done else None


def check_weights(model: nn.Module, wanted: str, what: str, told: Path) -> None:
    """Refuses a model whose weights, those under its adapters among them, are not what a file of a run says.

    Args:
        model: as it was opened.
        wanted: SHA-256 of its tensors.
        what: it is, in words.
        told: the file.

    Raises:
        ConfigurationError: they are others.
    """
    found = tensors_sha256(model.state_dict())
    if found != wanted:
        raise ConfigurationError(
            f"{what}: expected weights of SHA-256 {wanted[:12]}..., as in {told}; found {found[:12]}...: put them "
            "back, or run again"
        )


def sealed(directory: Path, summary: dict[str, Any]) -> dict[str, Any]:
    """The summary of a run as it is written, when all other files are: it vouches for them."""
    below = (each for name in SEALED for each in (directory / name, *(directory / name).rglob("*")))
    files = [path for path in below if path.is_file() and not path.name.startswith(".")]
    return seal.sealed(directory / SUMMARY, strict(summary), files)


def clear(directory: Path, keep: Collection[str] = ()) -> None:
    """Makes the directory, or empties it, first of what a resumed run would take for its own; `keep` are names."""
    directory.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(directory / ".checkpoint", ignore_errors=True)
    first = ("summary.json", "checkpoint")
    for path in sorted(directory.iterdir(), key=lambda path: first.index(path.name) if path.name in first else 2):
        if path.name in keep:
            continue
        if path.name == "checkpoint":
            path = path.rename(directory / ".checkpoint")  # in one go: half of one would be taken for a whole one
        shutil.rmtree(path) if path.is_dir() else path.unlink()
