"""Text, JSON and CSV files from outside, read so that nothing is lost without a word.

UTF-8 with or without a byte order mark. Lines end at LF, CR LF or CR and at nothing else: U+2028, U+0085 and form feeds
are part of a text. A fault is a `ValueError` that begins with the line; whoever reads says which file it was, and what
it should hold.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unweave.errors import ConfigurationError
from unweave.extras import require

Table = list[dict[str, Any]]
"""Rows of named values."""
Pairs = list[tuple[str, Any]]
"""The names and values of a JSON object, as they were written."""
Record = tuple[int, list[str]]
"""The line where a row of a CSV begins, and its cells."""

_OTHER_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_DELIMITERS = ",;\t"
_RUN = re.compile(r"'*(\s*[=+\-@＝＋－＠]|[\t\r\n])")
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?", re.ASCII | re.IGNORECASE)
_SHOWN = 80
_DIGITS = 300  # of a whole number that is still a float


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, without its byte order mark.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is in another encoding, or no text at all.
    """
    content = path.read_bytes()
    for mark, name in _OTHER_MARKS.items():
        if content.startswith(mark):
            raise ValueError(f"line 1: this is {name}, as its byte order mark says: save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, byte = _line(content.decode("latin-1"), error.start), error.object[error.start]
        raise ValueError(f"line {line}: the byte 0x{byte:02x} is not UTF-8: save the file as UTF-8") from error
    if (place := text.find("\0")) >= 0:
        raise ValueError(f"line {_line(text, place)}: a NUL character: this is another encoding, or no text")
    return text


def lines(text: str) -> list[str]:
    """The lines of a text, without their ends."""
    return re.split(r"\r\n|\r|\n", text)


def parse_json(text: str, objects: Callable[[Pairs], Any] | None = None) -> Any:
    """What a JSON text says.

    Args:
        text: of the file.
        objects: what is made of the names and values of an object; None: a dict, and a name twice is refused.

    Raises:
        ValueError: no JSON, a name twice, half of a surrogate pair, nested too deeply, or a number of too many digits.
    """
    return _parsed(text, "line {0.lineno}: {0.msg} at column {0.colno}", objects or _object)


def parse_json_lines(text: str) -> list[tuple[int, Any]]:
    """The values of JSON lines, each with the number of its line; lines without any are left out.

    Raises:
        ValueError: as `parse_json`, of the first line that is wrong.
    """
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip(" \t\r"):
            try:
                found.append((number, _parsed(line, "{0.msg} at column {0.colno}", _object)))
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from error
    return found


def parse_csv(text: str, is_header: Callable[[Sequence[str]], bool]) -> list[Record]:
    """The rows of a CSV with commas, or with the semicolons or tabs that divide its header; empty lines are left out.

    Args:
        text: of the file.
        is_header: whether cells are the first row of such a file.

    Raises:
        ValueError: quotes that do not end, or that end inside a cell.
    """
    first = {sign: next(_first(text, sign), []) for sign in _DELIMITERS}
    headers = {sign: len(cells) for sign, cells in first.items() if is_header(cells)}
    return list(_records(text, max(headers, key=headers.__getitem__, default=",")))


def csv_table(text: str) -> list[dict[str, str | None]]:
    """The rows of a CSV by the names in its first row; None where a row ends early.

    Raises:
        ValueError: as `parse_csv`, a name twice, or a row with more cells than there are names.
    """
    rows = parse_csv(text, bool)
    if not rows:
        return []
    names = [name.strip() for name in rows[0][1]]
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise ValueError(f"line {rows[0][0]}: the column {short(twice[0])} is named twice")
    found = []
    for line, cells in rows[1:]:
        if any(cells[len(names) :]):
            raise ValueError(
                f"line {line}: expected {len(names)} cells, as many as the first row has, found {len(cells)}"
            )
        padded: list[str | None] = [*cells, *[None] * (len(names) - len(cells))]
        found.append(dict(zip(names, padded, strict=False)))
    return found


def read_file(path: Path) -> Table:
    """The rows of one file.

    Raises:
        ConfigurationError: another ending, or contents that are not rows of named values.
    """
    if (ending := path.suffix.lower()) not in READERS:
        raise ConfigurationError(f"{path} must end in {', '.join(READERS)}; found {path.suffix or 'no ending'}")
    try:
        rows = READERS[ending](path)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read as {ending}: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigurationError(f"{path} must hold rows with named values, such as {{'question': ..., 'answer': ...}}")
    return rows


def to_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A CSV in which no spreadsheet finds a formula: a text that begins like one gets an apostrophe before it.

    `as_meant` takes it away again.
    """
    found = io.StringIO()
    guarded = ([f"'{cell}" if _formula(str(cell)) else cell for cell in row] for row in (header, *rows))
    csv.writer(found, lineterminator="\n").writerows(guarded)
    return found.getvalue()


def as_meant(cell: str) -> str:
    """A cell without the apostrophe that keeps a spreadsheet from running it."""
    return cell[1:] if cell.startswith("'") and _formula(cell[1:]) else cell


def short(value: object) -> str:
    """What was found, for a message: its representation, which shows what cannot be seen, and not all of a long one."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _formula(cell: str) -> bool:
    """Whether a spreadsheet may run it, apostrophes before it or not; a plain number is none."""
    return bool(_RUN.match(cell)) and not _NUMBER.fullmatch(cell)


def _first(text: str, delimiter: str) -> Iterator[list[str]]:
    """The first row; nothing where there is none that can be read."""
    try:
        yield from (cells for _, cells in _records(text, delimiter))
    except ValueError:
        return


def _records(text: str, delimiter: str) -> Iterator[Record]:
    with _fields_of(len(text)):
        reader, line = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), 1
        try:
            for cells in reader:
                if cells:
                    yield line, cells
                line = reader.line_num + 1
        except csv.Error as error:
            raise ValueError(f"line {line}: {error}") from error


@contextmanager
def _fields_of(characters: int) -> Iterator[None]:
    """Cells may be as long as the file: the limit of 131,072 characters is the csv module's, for all of its users."""
    before = csv.field_size_limit(max(characters, csv.field_size_limit()))
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _parsed(text: str, wrong: str, objects: Callable[[Pairs], Any]) -> Any:
    try:
        found = json.loads(text, object_pairs_hook=objects, parse_int=_whole)
        if "\\u" in text:
            json.dumps(found, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise ValueError(wrong.format(error)) from error
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeEncodeError as error:
        raise ValueError(f"{error.object[error.start]!r} is half of a surrogate pair, and no text") from error
    return found


def _object(pairs: Pairs) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{short(next(n for n in names if names.count(n) > 1))} is written twice in one object")
    return found


def _whole(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"a whole number of {len(digits)} digits")
    return int(digits)


def _line(text: str, place: int) -> int:
    return len(lines(text[:place]))


def _jsonl(path: Path) -> Table:
    return [row for _, row in parse_json_lines(read_text(path))]


def _json(path: Path) -> Table:
    found: Table = parse_json(read_text(path))
    return found


def _csv(path: Path) -> Table:
    return [*csv_table(read_text(path))]


def _parquet(path: Path) -> Table:
    read = require("pyarrow.parquet", "language").read_table
    try:
        table: Table = read(path).to_pylist()
    except Exception as error:  # whatever pyarrow says of a damaged file, or of a value that Python cannot hold
        raise ValueError(f"{type(error).__name__}: {error}") from error
    return table


READERS: dict[str, Callable[[Path], Table]] = {".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".parquet": _parquet}
