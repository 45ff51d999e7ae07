"""A file of per-example values, ours or open-unlearning's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unweave.errors import ConfigurationError
from unweave.modalities.texts.evaluation.log import Log
from unweave.modalities.texts.evaluation.published import is_published, published
from unweave.modalities.texts.evaluation.scores import compared
from unweave.modalities.texts.evaluation.stored import read_lines, stored
from unweave.modalities.texts.evaluation.structure import parsed
from unweave.modalities.texts.evaluation.tokens import Compat

STORED = "values.jsonl"
_WANTED = f"a {STORED} that unweave wrote, or a TOFU_EVAL.json or MUSE_EVAL.json of open-unlearning"


def read_log(path: Path, *, name: str | None = None, compat: Compat = None) -> Log:
    """The log in a file, or in a folder that holds one.

    Args:
        path: of the file or folder.
        name: of the model; the path if there is none.
        compat: of the arithmetic on values that unweave collected; a published log brings its own.

    Raises:
        ConfigurationError: it is not there, or no such log.
    """
    file = path
    if path.is_dir():
        found = [path / n for n in (STORED, "TOFU_EVAL.json", "MUSE_EVAL.json") if (path / n).is_file()]
        if not found:
            raise ConfigurationError(f"{path}: expected a folder with {_WANTED}; found neither")
        file = found[0]
    if not file.is_file():
        raise ConfigurationError(f"{path}: expected {_WANTED}; there is no such file")
    name = name or str(path)
    if file.suffix == ".jsonl":
        return stored(read_lines(file)[1], name, compat)
    try:
        content = parsed(file.read_text(encoding="utf-8-sig"), f"{file}: expected {_WANTED}")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file}: expected {_WANTED}; it is no text ({error})") from error
    if not is_published(content):
        hint = " (a TOFU_SUMMARY.json has no values per example: give the TOFU_EVAL.json beside it)"
        raise ConfigurationError(f"{file}: expected {_WANTED}; found JSON without value_by_index{hint}")
    return published(content, file, name)


def sheets_of_logs(files: Sequence[Path], compat: Compat) -> dict[str, Any]:
    """`compared`, of the log in one file, or of a model's and a retrained model's in two.

    Args:
        files: the logs.
        compat: whose arithmetic; None for that of a published log, if there is one, and otherwise ours.

    Raises:
        ConfigurationError: more than two logs, no such log, or a published log whose values carry another arithmetic.
    """
    if len(files) > 2:
        raise ConfigurationError(
            f"--logs: expected one log, or a model's and then a retrained model's; found {len(files)}"
        )
    logs = [read_log(file, compat=compat) for file in files]
    theirs = compat or next((log.compat for log in logs if log.compat), None)
    logs = [
        log if log.compat == theirs else read_log(file, compat=theirs) for log, file in zip(logs, files, strict=True)
    ]
    if faults := [
        f"--compat {theirs}: expected values.jsonl, whose values are formed anew; {log.name} is a log of {log.compat}, "
        "whose values carry its own arithmetic"
        for log in logs
        if log.compat != theirs
    ]:
        raise ConfigurationError(faults)
    found = compared(logs[0], logs[1] if len(logs) == 2 else None)
    if not found["metrics"]:
        raise ConfigurationError(f"{files[0]}: there is no value in it that any metric reads")
    return found
