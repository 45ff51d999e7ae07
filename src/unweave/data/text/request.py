"""A deletion request: the ids of the texts that are to go."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from unweave.data.splits import Split, by_index
from unweave.data.text.examples import Text, listed
from unweave.errors import ConfigurationError, suggest


def read_ids(path: Path) -> list[str]:
    """The ids in a file: one a line in `.txt`, a list in `.json`, the column `id` (or the first) in `.csv`, and in
    `.jsonl` one a line, bare or as the field `id` of a row.

    Raises:
        ConfigurationError: no such file, another ending, or contents that are no ids.
    """
    if path.suffix not in (".txt", ".json", ".csv", ".jsonl"):
        raise ConfigurationError(f"{path} must end in .txt, .json, .csv or .jsonl; found {path.suffix or 'no ending'}")
    try:
        found = _READERS[path.suffix](path.read_text(encoding="utf-8-sig"))
        if not isinstance(found, list):
            raise ValueError(f"expected a list, found {type(found).__name__}")
        ids = [str(one["id"] if isinstance(one, dict) else one).strip() for one in found]
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise ConfigurationError(f"{path} must hold ids and cannot be read: {error!r}") from error
    return [one for one in ids if one]


def by_id(texts: Sequence[Text], ids: Sequence[str] | Path) -> Split:
    """Forget the texts with these ids, keep the others.

    Raises:
        ConfigurationError: ids that are not there or come twice, none of them, or all there are.
    """
    if isinstance(ids, Path):
        ids = read_ids(ids)
    rows = {t.id: row for row, t in enumerate(texts)}
    faults = []
    if missing := [i for i in ids if i not in rows]:
        close = suggest(missing[0], rows)
        faults.append(f"{len(missing)} of {len(ids)} ids are of no text ({listed(missing)}).{close}")
    if twice := sorted({i for i in ids if list(ids).count(i) > 1}):
        faults.append(f"the request names {len(twice)} ids more than once ({listed(twice)}): once is enough")
    if faults:
        raise ConfigurationError(faults)
    return by_index([rows[i] for i in ids], len(texts))


def _csv(text: str) -> list[str]:
    rows = [row for row in csv.reader(text.splitlines()) if row]
    if rows and "id" in rows[0]:
        return [row[rows[0].index("id")] for row in rows[1:]]
    return [row[0] for row in rows]


_READERS: dict[str, Callable[[str], Any]] = {
    ".txt": str.splitlines,
    ".json": json.loads,
    ".csv": _csv,
    ".jsonl": lambda text: [json.loads(line) for line in text.splitlines() if line.strip()],
}
