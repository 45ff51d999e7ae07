"""Lists from files: every row number and every id that stands there, or an error that says the line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from unweave.data.index_file import read_ids, read_rows
from unweave.errors import ConfigurationError
from unweave.ledger.selector import by_rows
from unweave.modalities.texts.data import by_id, texts

MARK = "\ufeff"


def written(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


READ = [
    ("a.csv", "5\n12\n40\n"),
    ("a.csv", MARK + "5\n12\n40\n"),
    ("a.csv", "index\n5\n12\n40\n"),
    ("a.csv", MARK + "index\n5\n12\n40\n"),
    ("a.csv", "Row Number,why\r\n5,x\r\n12,y\r\n40,z\r\n"),
    ("a.csv", "row\r5\r12\r40\r"),
    ("a.csv", '"row"\n"5"\n"12"\n"40"\n'),
    ("a.csv", "who,row\nAnn,5\nBen,12\nCid,40\n"),
    ("a.csv", ",index\n0,5\n1,12\n2,40\n"),
    ("a.csv", ",label\n5,cat\n12,cat\n40,dog\n"),
    ("a.csv", "why;row\nx, y;5\nz;12\n;40\n"),
    ("a.csv", "row\twhy\n5\tx\n12\t\n40\tz\n"),
    ("a.csv", "5.0\n12.00\n40.0\n"),
    ("a.csv", "+5\n +12 \n040\n"),
    ("a.csv", "5,\n12,\n40,\n,\n\n"),
    ("a.csv", 'row,note\n5,"two\nlines"\n12,\n40,"a ""b"""\n'),
    ("a.CSV", "row\n5\n12\n40"),
    ("a.txt", "5\n12\n40\n\n"),
    ("a.txt", MARK + "5\r\n12\r\n40"),
    ("a.txt", "5 12\t40\n"),
    ("a.txt", "5.0\n+12\n40"),
    ("a.json", "[5, 12.0, 40]"),
    ("a.json", MARK + "[5, 12, 40]"),
    ("a.json", '[{"row": 5}, {"index": 12, "who": "x"}, {"row": 40}]'),
    ("a.jsonl", "5\n12\n\n40\n"),
    ("a.jsonl", MARK + '{"row": 5, "who": "x"}\r\n{"row": 12}\r\n{"row": 40}'),
]


@pytest.mark.parametrize(("name", "text"), READ)
def test_every_row_number_is_read(tmp_path: Path, name: str, text: str) -> None:
    found = read_rows(written(tmp_path / name, text))
    assert found.tolist() == [5, 12, 40] and found.dtype == np.int64


NO_NUMBERS = [
    *(
        "5 (Ann)",
        "\u200b5",
        "5\u200b",
        "1e3",
        "5e0",
        '"5;"',
        "5;",
        "0x5",
        "5_0",
        "5'000",
        "\uff15",
        "\u0665",
        "-5",
        "#5",
    ),
    *("No. 5", "r5", "O5", "5/6", "nan", "None", "true", "=5", "5\u202812", "5\x0c12", "5\x8512", "5.5", "5,5.", "- 5"),
    *("9" * 19, "1" * 6000, "sep=;", "\ufffd5"),
]


@pytest.mark.parametrize("cell", NO_NUMBERS)
def test_a_first_cell_that_is_no_number_and_no_name_is_an_error_with_its_line(tmp_path: Path, cell: str) -> None:
    if cell == "5,5.":
        cell = '"5,5."'
    refused = 0
    for text in (f"{cell},x\n12,y\n", f"row\n12\n{cell},x\n", f"12,y\n40,z\n{cell},x"):
        line = text.split("\n").index(f"{cell},x") + 1
        with pytest.raises(
            ConfigurationError,
            match=f"a.csv must hold row numbers: line {line}: expected a row number, counted from 0, found ",
        ):
            read_rows(written(tmp_path / "a.csv", text))
        refused += 1
    assert refused == 3


def test_all_that_is_wrong_is_told_and_the_first_five_are_shown(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_rows(written(tmp_path / "a.txt", "\n".join(["7", *(f"x{n}" for n in range(8)), "9"])))
    assert len(caught.value.faults) == 6
    assert caught.value.faults[0].endswith(
        "a.txt must hold row numbers: line 2: expected a row number, counted from 0, found 'x0'"
    )
    assert caught.value.faults[-1].endswith("3 more of this kind")


NO_LISTS = {
    "a.json": [
        *("[5, -1]", "[true]", "[5.5]", '["5"]', "[NaN]", "[Infinity]", "[[5]]", '{"row": 5}', "[5", "5", "", "[5,]"),
        *("[" * 3000 + "]" * 3000, f"[{'7' * 6000}]", f"[{2**63}]", "[null]"),
        *('[{"row": 5, "index": 6}]', '[{"row": 5, "row": 6}]', "[]"),
    ],
    "a.jsonl": ["5\n[6]\n", '5\n"6"\n', "5 6\n", '5\n{"rwo": 6}\n', "5\u20286\n", "5\x856\n", "5\nnull\n", "{" * 2000],
    "a.csv": ['row,index\n5,6\n', '"5\n12\n40\n', 'row\n"5"x\n', "5\n,x\n", "row,n\n5,1\n,2\n"],
    "a.txt": ["# rows\n5\n", "row\n5\n", "5, 12\n", "5\0\n", "", "\n\n"],
}  # fmt: skip


@pytest.mark.parametrize("name", NO_LISTS)
def test_no_list_of_row_numbers(tmp_path: Path, name: str) -> None:
    refused = 0
    for text in NO_LISTS[name]:
        with pytest.raises(ConfigurationError, match=name.replace(".", r"\.")):
            read_rows(written(tmp_path / name, text))
        refused += 1
    assert refused == len(NO_LISTS[name]) >= 4


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32", "latin-1"])
def test_other_encodings_are_refused_and_the_line_is_said(tmp_path: Path, encoding: str) -> None:
    text = "row,who\n5,x\n12,Zo\u00eb\n"
    refused = 0
    for read in (read_rows, read_ids):
        with pytest.raises(ConfigurationError, match=r"cannot be read: line \d: .*(save|encoding)"):
            read(written(tmp_path / "a.csv", text, encoding))
        refused += 1
    assert refused == 2


def test_arrays(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    good = [np.array([5, 12], np.uint8), np.array([5.0, 12.0]), np.array([5, 12], np.int64), np.array([5, 12], ">i4")]
    for array in good:
        np.save(path, array)
        assert read_rows(path).tolist() == [5, 12]
    bad = [
        np.array([], np.int64),
        np.array([True, False]),
        np.array([0.5]),
        np.array([[5], [12]]),
        np.array([-1]),
        np.array([np.nan]),
        np.array(5),
    ]
    bad += [np.array([2**64 - 1], np.uint64), np.array([5j]), np.array(["5"]), np.array([(5,)], [("row", "i8")])]
    bad += [np.array(["2026-01-01"], "datetime64[D]"), np.array([[1, 2]], object)]
    for array in bad:
        np.save(path, array, allow_pickle=True)
        with pytest.raises(ConfigurationError, match=r"a\.npy"):
            read_rows(path)
    assert (len(good), len(bad)) == (4, 13)


def test_arrays_whose_header_lies(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.arange(40))
    right = path.read_bytes()
    lies = {
        b"(40,)": [b"(41,)", b"(-1,)", b"(4e,)", b"40   ", b"(4,9)"],
        b"<i8": [b"<i9", b"|O8", b"<M8", b"<q8"],
        b"{'des": [b"((((('", b"{'dex", b"\xff\xfe{'de"],
        b"NUMPY": [b"NUMPX"],
    }
    count = 0
    for old, news in lies.items():
        for new in news:
            path.write_bytes(right.replace(old, new))
            with pytest.raises(ConfigurationError, match=r"a\.npy"):
                read_rows(path)
            count += 1
    for content in (
        b"",
        right[:8],
        right[:60],
        right[:-8],
        right.replace(b"(40,), }" + b" " * 11, b"(9999999999999,), }"),
    ):
        path.write_bytes(content)
        with pytest.raises(ConfigurationError, match=r"a\.npy"):
            read_rows(path)
        count += 1
    assert count == 18


def test_a_request_of_65_rows_is_one_of_65(tmp_path: Path) -> None:
    """The first row was taken for a header, and the ledger took 64."""
    rows, read = [*range(3, 198, 3)], 0
    for sign in ("{}", "{}.0", "+{}", "{};", "{} (x)", MARK + "{}", "\u200b{}", "{}e0"):
        text = "\n".join([sign.format(rows[0]), *map(str, rows[1:])])
        try:
            found = by_rows(written(tmp_path / "rows.csv", text)).rows
        except ConfigurationError as error:
            assert "line 1" in str(error)
        else:
            assert found == tuple(rows)
            read += 1
    assert read == 4


IDS = [
    ("a.txt", MARK + "p1\r\n p\u20282 \r\np3"),
    ("a.csv", MARK + "ID,who\np1,x\np\u20282,y\np3,z\n"),
    ("a.csv", "who;id\nx, y;p1\n;p\u20282\nz;p3\n"),
    ("a.csv", "name\tid\nx\tp1\ny\tp\u20282\nz\tp3\n"),
    ("a.csv", "canary,n\np1,1\np\u20282,2\np3,3\n,\n\n"),
    ("a.csv", "p1,1\np\u20282,2\np3,3\n"),
    ("a.json", MARK + json.dumps(["p1", "p\u20282", "p3"])),
    ("a.json", json.dumps([{"id": "p1"}, {"id": " p\u20282"}, "p3"], ensure_ascii=False)),
    ("a.jsonl", MARK + '"p1"\n{"id": "p\u20282", "who": "x"}\n"p3"\n'),
]


@pytest.mark.parametrize(("name", "text"), IDS)
def test_every_id_is_read(tmp_path: Path, name: str, text: str) -> None:
    assert read_ids(written(tmp_path / name, text)) == ["p1", "p\u20282", "p3"]


def test_ids_that_are_numbers_and_what_is_no_id(tmp_path: Path) -> None:
    assert read_ids(written(tmp_path / "a.json", "[7, 0, -3]")) == ["7", "0", "-3"]
    assert read_ids(written(tmp_path / "a.csv", "7;x\n8;y\n")) == ["7;x", "8;y"], "no header says that it is divided"
    bad = {"a.json": ["[1.0]", "[null]", "[true]", '[""]', "[[1]]", '[{"uid": "p1"}]', "7"]}
    bad |= {
        "a.csv": ["id,who\n,x\n", "id\np1\n\ufeffp2\n", "id,ids\np1,p2\n", "who,id\nx\n"],
        "a.txt": ["p1\n\u200bp2"],
    }
    count = 0
    for name, contents in bad.items():
        for text in contents:
            with pytest.raises(ConfigurationError, match=name.replace(".", r"\.")):
                read_ids(written(tmp_path / name, text))
            count += 1
    assert count == 12


def test_a_request_by_ids_with_a_mark(tmp_path: Path) -> None:
    table = [{"id": f"p{n}", "text": f"words {n}"} for n in range(6)]
    path = written(tmp_path / "who.csv", MARK + "id;why\np4;x, y\np1;\n")
    assert by_id(texts(table), path).forget.tolist() == [1, 4]
