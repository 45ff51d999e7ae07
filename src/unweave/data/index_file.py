"""Lists from files: row numbers, and ids of records."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unweave.data.text_file import as_meant, lines, parse_csv, parse_json, parse_json_lines, read_text, short
from unweave.errors import ConfigurationError

Listed = list[tuple[str, Any]]
"""Values as they stand in a file, each with its place."""

_MOST = np.iinfo(np.int64).max
_MISSING = {"na", "nan", "null", "none", "nil", "true", "false", "inf", "infinity"}  # words, and yet no names
_SHOWN = 5


@dataclass(frozen=True)
class _Kind:
    """What a file lists.

    Args:
        plural: it in words.
        singular: one of it.
        columns: names of the column, or of the field of a JSON object, that holds it; else it is the first column.
        is_header: whether the first row of a CSV is a header.
        divided: whether blanks divide the values of a line.
        written: a value as it stands in a text; None if it is none.
        typed: the same of a value that JSON or NumPy has given a type.
    """

    plural: str
    singular: str
    columns: frozenset[str]
    is_header: Callable[[Sequence[str]], bool]
    divided: bool
    written: Callable[[str], Any]
    typed: Callable[[Any], Any]


def read_rows(path: Path) -> np.ndarray:
    """The row numbers in a file, int64 [k], counted from 0.

    `.txt` holds one a line, `.json` a list, `.jsonl` one a line, bare or as a field `row` or `index`, `.npy` an array
    of one dimension, and `.csv` a column `row` or `index`, or else its first column. The first row of a CSV is a header
    if all of its cells are names, the first one without a digit: no row number is taken for one. `3.0` and `+3` are 3;
    numbers with an exponent are refused, for spreadsheets round what they write so.

    Raises:
        ConfigurationError: no such file, another ending, or anything in it that is no row number, with its line.
    """
    return np.array(_read(path, _ROWS, {**_TEXTS, ".npy": _npy}), dtype=np.int64)


def read_ids(path: Path) -> list[str]:
    """The ids in a file.

    `.txt` holds one a line, `.json` a list of texts or whole numbers, `.jsonl` one a line, bare or as the field `id` of
    a row, and `.csv` a column `id`, or else its first column. The first row of a CSV is a header if one of its cells is
    `id` or `ids`, or the first is index, row, record, canary or name.

    Raises:
        ConfigurationError: no such file, another ending, or anything in it that is no id, with its line.
    """
    return list(map(str, _read(path, _IDS, _TEXTS)))


def _read(path: Path, kind: _Kind, readers: dict[str, Callable[[Path, _Kind], Listed]]) -> list[Any]:
    ending, told = path.suffix.lower(), f"{path} must hold {kind.plural}"
    if ending not in readers:
        raise ConfigurationError(f"{path} must end in {', '.join(readers)}; found {path.suffix or 'no ending'}")
    try:
        listed = readers[ending](path, kind)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{told} and cannot be read: {error}") from error
    if not listed:
        raise ConfigurationError(f"{path} names no record: it must hold {kind.plural}, and holds none")
    value = kind.written if ending in (".txt", ".csv") else kind.typed
    found = [(place, cell, value(cell)) for place, cell in listed]
    wrong = [f"{told}: {place}: expected {kind.singular}, found {short(cell)}" for place, cell, v in found if v is None]
    if wrong:
        more = [f"{told}: {len(wrong) - _SHOWN} more of this kind"] if len(wrong) > _SHOWN else []
        raise ConfigurationError([*wrong[:_SHOWN], *more])
    return [v for _, _, v in found]


def rows_of(ids: Iterable[str]) -> dict[str, list[int]]:
    """The rows of each id, in order: one that comes several times, as a person's does, has several."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(ids):
        rows.setdefault(name, []).append(row)
    return rows


def _txt(path: Path, kind: _Kind) -> Listed:
    signs = r"[ \t]+" if kind.divided else r"(?!)"
    written = [(f"line {n}", line.strip(" \t")) for n, line in enumerate(lines(read_text(path)), 1)]
    return [(place, cell) for place, line in written if line for cell in re.split(signs, line)]


def _json(path: Path, kind: _Kind) -> Listed:
    found = parse_json(read_text(path))
    if not isinstance(found, list):
        raise ValueError(f"expected a list, found {type(found).__name__}")
    return [(f"entry {n}", _field(value, kind)) for n, value in enumerate(found, 1)]


def _jsonl(path: Path, kind: _Kind) -> Listed:
    return [(f"line {n}", _field(value, kind)) for n, value in parse_json_lines(read_text(path))]


def _field(value: Any, kind: _Kind) -> Any:
    """The one field of that name of an object; other values as they are."""
    if not isinstance(value, dict):
        return value
    names = [name for name in value if name.lower() in kind.columns]
    return value[names[0]] if len(names) == 1 else value


def _csv(path: Path, kind: _Kind) -> Listed:
    rows = parse_csv(read_text(path), kind.is_header)
    rows = [(line, cells) for line, cells in rows if any(cell.strip() for cell in cells)]
    named = _named(rows[0][1], kind) if rows else None
    return [
        (f"line {line}", as_meant(cells[named or 0]) if len(cells) > (named or 0) else "")
        for line, cells in rows[named is not None :]
    ]


def _named(cells: Sequence[str], kind: _Kind) -> int | None:
    """Which column a first row names; None where it is no header."""
    if not kind.is_header(cells):
        return None
    names = [cell.strip().lower() for cell in cells]
    own = [place for place, name in enumerate(names) if name in kind.columns]
    if len(own) > 1:
        raise ValueError(f"its first row names the columns {', '.join(names[n] for n in own)}: keep one of them")
    return own[0] if own else 0


def _npy(path: Path, kind: _Kind) -> Listed:
    try:
        found = np.array(np.load(path, allow_pickle=False, mmap_mode="r"))
    except OSError:
        raise
    except Exception as error:  # whatever numpy says of a header that lies
        raise ValueError(f"no array of numbers ({type(error).__name__}: {error})") from error
    if found.ndim != 1:
        raise ValueError(f"expected an array of one dimension, found {found.dtype} {list(found.shape)}")
    return [(f"entry {n}", value) for n, value in enumerate(found.tolist(), 1)]


def _are_names(cells: Sequence[str]) -> bool:
    """Whether cells name columns of numbers: words, of which the first has no digit; pandas leaves it empty."""
    words = [cell.strip() for cell in cells]
    return any(words) and not re.search(r"\d", words[0]) and all(not word or _is_name(word) for word in words)


def _is_name(word: str) -> bool:
    return re.fullmatch(r"[^\W\d][\w .:/()-]*", word) is not None and word.lower() not in _MISSING


def _are_ids(cells: Sequence[str]) -> bool:
    words = [cell.strip().lower() for cell in cells]
    return bool(words) and (not _ID.isdisjoint(words) or words[0] in _RECORD)


def _row_of_text(cell: str) -> int | None:
    whole = re.fullmatch(r"\+?0*([0-9]{1,19})(?:\.0+)?", cell.strip())
    return _row_of_number(int(whole[1])) if whole else None


def _row_of_number(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    return value if type(value) is int and 0 <= value <= _MOST else None


def _id_of_text(cell: str) -> str | None:
    """An id without blanks around it; a mark or a space of no width at an end is no part of any."""
    name = cell.strip()
    return name if name and name.strip("\ufeff\u200b") == name else None


def _id_of_value(value: Any) -> str | None:
    return str(value) if type(value) is int else _id_of_text(value) if isinstance(value, str) else None


_ID = frozenset({"id", "ids"})
_RECORD = {"index", "row", "record", "canary", "name"}
_ROW = frozenset({"row", "rows", "index", "indices"})
_ROWS = _Kind("row numbers", "a row number, counted from 0", _ROW, _are_names, True, _row_of_text, _row_of_number)
_IDS = _Kind("ids", "an id", _ID, _are_ids, False, _id_of_text, _id_of_value)
_TEXTS: dict[str, Callable[[Path, _Kind], Listed]] = {".txt": _txt, ".json": _json, ".csv": _csv, ".jsonl": _jsonl}
