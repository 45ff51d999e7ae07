"""Text, JSON and CSV from outside: nothing is lost without a word, and what is wrong has its line."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path

import pytest

from unweave.audit.canaries import read_scores
from unweave.data.text_file import csv_table, lines, parse_csv, parse_json, parse_json_lines, read_text
from unweave.errors import ConfigurationError
from unweave.modalities.texts.data import read_table

SIGNS = ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\u200b", "\ufeff", "\t"]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_table_is_what_was_written_whatever_its_signs(tmp_path: Path, ending: str, mark: str, end: str) -> None:
    rows = [
        {"id": f"n{n}", "question": f"a{sign}b?", "answer": f'c, "{sign}"; d{sign}e'} for n, sign in enumerate(SIGNS)
    ]
    path = tmp_path / f"table{ending}"
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(mark)
        if ending == ".csv":
            writer = csv.DictWriter(file, list(rows[0]), lineterminator=end)
            writer.writeheader()
            writer.writerows(rows)
        elif ending == ".json":
            file.write(json.dumps(rows, ensure_ascii=False, indent=1).replace("\n", end))
        else:
            file.write("".join(f"{json.dumps(row, ensure_ascii=False)}{end}" for row in rows))
    assert read_table(path) == rows


def test_lines_end_at_line_ends_only() -> None:
    assert lines("a\nb\r\nc\rd\u2028e\x0cf\x85g\n") == ["a", "b", "c", "d\u2028e\x0cf\x85g", ""]
    assert parse_json_lines('1\r\n\n \t\r\n"\u2028"\n') == [(1, 1), (4, "\u2028")]
    with pytest.raises(ValueError, match="line 2: "):
        parse_json_lines("1\n\u2028\n3")


def test_a_cell_may_be_longer_than_the_module_thinks(tmp_path: Path) -> None:
    long, path, before = "word " * 60_000, tmp_path / "a.csv", csv.field_size_limit()
    path.write_text(f'id,text\n1,"{long}"\n2,b\n')
    assert [row["text"] for row in read_table(path)] == [long, "b"]
    assert csv.field_size_limit() == before, "it is everybody's"


@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_a_header_says_what_divides_the_cells(sign: str) -> None:
    text = f"id{sign}question{sign} answer\n1{sign}a, b; c?{sign}d\n2{sign}e{sign}f\n"
    quoted = "id" if sign == "\t" else "a, b; c?"
    text = text.replace(quoted, f'"{quoted}"', 1)
    found = csv_table(text)
    assert [row["question"] for row in found] == ["a, b; c?", "e"] and [row["answer"] for row in found] == ["d", "f"]


def test_rows_of_other_lengths() -> None:
    assert csv_table("id,text\n1\n\n2,b,,\n") == [{"id": "1", "text": None}, {"id": "2", "text": "b"}]
    assert csv_table("") == csv_table("id,text\n") == []
    assert parse_csv('a,"b\nc"\n\nd\n', bool) == [(1, ["a", "b\nc"]), (4, ["d"])]


FAULTY = {
    "cells.csv": ("id,text\n1,a\n2,b,c\n", "line 3: expected 2 cells, as many as the first row has, found 3"),
    "names.csv": ("id,text,text\n1,a,b\n", "line 1: the column 'text' is named twice"),
    "open.csv": ('id,text\n1,"a\n2,b\n3,c\n', "line 2: unexpected end of data"),
    "inside.csv": ('id,text\n1,a\n2,"b"c\n', "line 3: ',' expected after '\"'"),
    "nul.csv": ("id,text\n1,a\0\n", "line 2: a NUL character"),
    "twice.jsonl": ('{"id": 1}\n{"id": 2, "text": "a", "id": 3}\n', "line 2: 'id' is written twice in one object"),
    "twice.json": ('[{"id": 1, "text": "a", "text": "b"}]', "'text' is written twice in one object"),
    "deep.jsonl": ("1\n" + "[" * 5000, "line 2: it is nested too deeply"),
    "deep.json": ('{"a":' * 5000, "it is nested too deeply"),
    "digits.jsonl": (f'{{"id": {"3" * 6000}}}\n', "line 1: a whole number of 6000 digits"),
    "half.jsonl": ('{"text": "a"}\n{"text": "\\ud83d"}', r"line 2: '\\ud83d' is half of a surrogate pair"),
    "torn.json": ('[{"id": 1},\n{"id": 2', "line 2: Expecting ',' delimiter at column 9"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTY)
def test_a_fault_of_a_table_has_its_line(tmp_path: Path, name: str) -> None:
    text, says = FAULTY[name]
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        read_table(tmp_path / name)
    assert says.replace("\\\\", "\\") in str(caught.value) and name in str(caught.value)


def test_whole_pairs_and_constants_are_kept() -> None:
    assert parse_json('["\\ud83d\\ude00", NaN]')[0] == "\U0001f600"
    assert parse_json('{"a": 1, "a": 2}', list) == [("a", 1), ("a", 2)]


def test_not_utf_8_says_line_and_byte(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\rcaf\xe9\n")
    with pytest.raises(ValueError, match="line 3: the byte 0xe9 is not UTF-8"):
        read_text(tmp_path / "a.txt")


@pytest.mark.parametrize("source", ["a" * 5000, f"a/{'b' * 5000}", "a\0b", "a\0.csv", ""])
def test_what_names_no_table(source: str) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be read|no file or folder|holds no table"):
        read_table(source)


def test_a_damaged_folder_of_datasets(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    (tmp_path / "dataset_info.json").write_text("{")
    with pytest.raises(ConfigurationError, match=r"cannot be read as `datasets` writes it"):
        read_table(tmp_path)


def test_a_damaged_parquet(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path, lot, refused = tmp_path / "a.parquet", random.Random(5), 0
    parquet.write_table(arrow.Table.from_pylist([{"id": str(n), "text": f"words {n}"} for n in range(40)]), path)
    right = path.read_bytes()
    for _ in range(60):
        content = bytearray(right)
        for _ in range(4):
            content[lot.randrange(len(content))] = lot.randrange(256)
        path.write_bytes(content[: lot.randrange(len(content))] if lot.random() < 0.3 else content)
        try:
            read_table(path)
        except ConfigurationError as error:
            assert "a.parquet cannot be read" in str(error)
            refused += 1
    assert refused > 20


def test_scores(tmp_path: Path) -> None:
    good = {"a.csv": "\ufeffID;Score\r\nx;1e-3\r\ny; -2.5\r\n", "a.json": '\ufeff{"x": 1e-3, "y": -2.5}'}
    for name, text in good.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert read_scores(tmp_path / name) == {"x": 0.001, "y": -2.5}
    bad = {"a.csv": ["id;score\nx;1\ny;0,5\n", "id,score\nx,1_0\n", "id,score\nx\n", "id,score\nx,1,2\n", "x,1\ny,2\n"]}
    bad["a.json"] = ["[1]", '{"x": true}', '{"x": "1"}', f'{{"x": {"9" * 5000}}}', '{"x": [1]}', "1", '[["x", 1]]']
    count = 0
    for name, contents in bad.items():
        for text in contents:
            (tmp_path / name).write_text(text)
            with pytest.raises(ConfigurationError, match="must hold a score for each canary"):
                read_scores(tmp_path / name)
            count += 1
    assert count == 12
