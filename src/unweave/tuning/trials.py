"""The trials that are done: a line each, whole or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path

from unweave.errors import ConfigurationError
from unweave.store import strict
from unweave.tuning.trial import Json


class Trials:
    """`trials.jsonl`, read when it is opened; a last line that a kill cut off is dropped.

    Args:
        file: there already, or made with the first trial.

    Raises:
        ConfigurationError: another line is no trial.
    """

    def __init__(self, file: Path) -> None:
        self._file, self.rows = file, list[Json]()
        content = file.read_bytes() if file.is_file() else b""
        whole = content[: content.rfind(b"\n") + 1]
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                row = json.loads(line)
                assert isinstance(row["number"], int)
            except (ValueError, KeyError, TypeError, AssertionError) as error:
                raise ConfigurationError(
                    f"{file}:{number}: expected a trial that a search wrote, found none: delete this line, and the "
                    "same command makes that trial again"
                ) from error
            self.rows.append(row)
        if len(whole) < len(content):
            with file.open("r+b") as handle:
                handle.truncate(len(whole))

    def next(self, under_way: Collection[int]) -> int:
        """The least number that is neither done nor under way."""
        gone = {row["number"] for row in self.rows} | set(under_way)
        return next(number for number in range(len(gone) + 1) if number not in gone)

    def add(self, row: Json) -> None:
        """Writes a line, and does not return before it would outlive the machine's crash."""
        line = json.dumps(strict(row)) + "\n"
        with self._file.open("ab") as handle:
            handle.write(line.encode())
            handle.flush()
            os.fsync(handle.fileno())
        self.rows.append(json.loads(line))
