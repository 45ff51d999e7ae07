"""Lists, tables and arrays of the outside world, damaged: each is read, or refused with the name of the file.

A list of numbers is never read as a shorter one: a line that is neither blank, nor a header, nor a number, is an error.
"""

from __future__ import annotations

import csv
import io
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fuzz._cases import cases
from unweave.audit.canaries import read_scores
from unweave.data.index_file import read_ids, read_rows
from unweave.errors import ConfigurationError
from unweave.modalities.texts.data import read_table

ODD = [
    *("\ufeff", "\u200b", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\xa0", "\0", "\x1c", "\r", "\n", "\r\n", "\t"),
    *(" ", '"', "'", ",", ";", ".", "-", "+", "e", "E5", "_", "0", "00", ".0", "/", "#", "=", "[", "]", "{", "}", ":"),
    *("\\", "\\ud800", "\\u0000", "(x)", "nan", "NaN", "null", "true", "Infinity", "index", "row", "id", '"id"', "é"),
    *("\u0663", "\uff11", "😀"),
]
LONG = ["9" * 19, "9" * 400, "9" * 6000, "[" * 3000, '{"a":' * 2000, "x" * 140_000, '"id": 1, "id": 2,']


def rows_of(lot: random.Random) -> list[int]:
    return lot.sample(range(500), lot.randint(1, 30))


def csv_of(lot: random.Random, table: list[list[Any]]) -> str:
    text, quoting, end = io.StringIO(), lot.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), lot.choice(["\n", "\r\n", "\r"])
    csv.writer(text, delimiter=lot.choice(",;\t"), lineterminator=end, quoting=quoting).writerows(table)
    return text.getvalue()


MADE: dict[str, Callable[[random.Random], str]] = {
    "rows.txt": lambda lot: "\n".join(map(str, rows_of(lot))),
    "rows.csv": lambda lot: csv_of(lot, [["row", "why"], *([n, "a, b"] for n in rows_of(lot))]),
    "bare.csv": lambda lot: csv_of(lot, [[n] for n in rows_of(lot)]),
    "rows.json": lambda lot: json.dumps(rows_of(lot), indent=lot.choice([None, 1])),
    "rows.jsonl": lambda lot: "\n".join(json.dumps(lot.choice([n, {"row": n}])) for n in rows_of(lot)),
    "ids.csv": lambda lot: csv_of(lot, [["id", "who"], *([f"p{n}", "a; b"] for n in rows_of(lot))]),
    "table.csv": lambda lot: csv_of(lot, [["id", "text"], *([n, f"words\n{n}"] for n in rows_of(lot))]),
    "table.jsonl": lambda lot: "\n".join(json.dumps({"id": n, "text": f"w {n}"}) for n in rows_of(lot)),
    "table.json": lambda lot: json.dumps([{"id": n, "text": f"w {n}"} for n in rows_of(lot)]),
    "scores.csv": lambda lot: csv_of(lot, [["id", "score"], *([f"c{n}", n / 7] for n in rows_of(lot))]),
    "scores.json": lambda lot: json.dumps({f"c{n}": n / 7 for n in rows_of(lot)}),
}  # fmt: skip


def damaged(lot: random.Random, content: bytes) -> bytes:
    for _ in range(lot.randint(0, 3)):
        at = lot.randrange(len(content) + 1)
        new = [lot.choice(ODD + LONG).encode("utf-8"), bytes([lot.randrange(256)]), b""]
        content = content[:at] + lot.choice(new) + content[at + lot.choice([0, 0, 1, 7]) :]
    how = lot.random()
    if how < 0.1:
        return b"\xef\xbb\xbf" + content
    if how < 0.15:
        return content.decode("utf-8", "replace").encode(lot.choice(["utf-16", "utf-16-le", "utf-32"]))
    return content[: lot.randrange(len(content) + 1)] if how < 0.2 else content


@pytest.mark.parametrize("name", MADE)
def test_a_damaged_list_or_table_is_read_or_refused(name: str, tmp_path: Path) -> None:
    lot, path, wanted = random.Random(f"lists {name}"), tmp_path / name, cases(12)
    readers: list[Callable[[Path], Any]] = [read_rows, read_ids, read_table, read_scores]
    read, count = 0, 0
    for _ in range(wanted):
        path.write_bytes(damaged(lot, MADE[name](lot).encode()))
        for reader in readers:
            try:
                found = reader(path)
            except ConfigurationError as error:
                assert name in str(error) and len(str(error)) < 1500
            else:
                read += 1
                assert all(isinstance(one, str) for one in found) or reader is not read_ids
        count += 1
    assert count == wanted >= 12 and read > wanted // 5


def test_no_row_number_is_ever_lost(tmp_path: Path) -> None:
    """A damaged first, middle or last line of a list: as many numbers as there are lines with a digit, or an error."""
    lot, wanted, read = random.Random("lost"), cases(150), 0
    for _ in range(wanted):
        lines = [str(n) for n in rows_of(lot)]
        at = lot.choice([0, 0, len(lines) - 1, lot.randrange(len(lines))])
        cut = lot.randrange(len(lines[at]) + 1)
        lines[at] = lines[at][:cut] + lot.choice(ODD) + lines[at][cut:]
        path = tmp_path / lot.choice(["rows.txt", "rows.csv"])
        path.write_text(
            "\n".join(lot.choice([[], ["index"]]) * (path.suffix == ".csv") + lines), encoding="utf-8", newline=""
        )
        try:
            found = read_rows(path)
        except ConfigurationError as error:
            assert path.name in str(error)
            continue
        read += 1
        numbers = r"[^ \t\r\n]*\d[^ \t\r\n]*" if path.suffix == ".txt" else r"[^\r\n]*\d[^\r\n]*"
        values = len(re.findall(numbers, "\n".join(lines)))
        assert len(found) == values, path.read_text(encoding="utf-8")
    assert wanted // 10 < read < wanted


def test_a_damaged_array_is_read_or_refused(tmp_path: Path) -> None:
    lot, path, wanted, read = random.Random("arrays"), tmp_path / "rows.npy", cases(150), 0
    kinds = ["<i8", "<i4", ">i2", "u1", "<u8", "<f8", "<f2", "?", "<c8", "<U3", "S2", "<M8[D]", "O"]
    for _ in range(wanted):
        array = np.array(rows_of(lot)).astype(lot.choice(["<i8"] * 12 + kinds))
        np.save(path, array.reshape(lot.choice([(-1,)] * 4 + [(1, -1), (-1, 1)])), allow_pickle=True)
        content = bytearray(path.read_bytes())
        for _ in range(lot.randint(0, 2)):
            content[lot.randrange(len(content) if lot.random() < 0.2 else min(len(content), 100))] = lot.randrange(256)
        path.write_bytes(content[: lot.randrange(len(content))] if lot.random() < 0.1 else content)
        try:
            found = read_rows(path)
        except ConfigurationError as error:
            assert "rows.npy" in str(error)
        else:
            assert found.dtype == np.int64 and found.ndim == 1 and (found >= 0).all()
            read += 1
    assert 0 < read < wanted
