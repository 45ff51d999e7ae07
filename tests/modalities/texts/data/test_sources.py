"""Files, folders, requests, and what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from unweave.errors import ConfigurationError
from unweave.modalities.texts.data import by_id, read_ids, read_table, texts

ROWS = [{"id": f"r{i}", "question": f"Who is {i}?", "answer": f"Number {i}, 'é'."} for i in range(5)]


def write(path: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(arrow.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        cell = '"{}"'.format
        lines = [list(rows[0]), *(list(map(str, r.values())) for r in rows)]
        path.write_text("\n".join(",".join(map(cell, line)) for line in lines), encoding="utf-8")
    else:
        path.write_text(json.dumps(rows) if path.suffix == ".json" else "\n".join(map(json.dumps, rows)) + "\n")
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet"])
def test_files(tmp_path: Path, name: str) -> None:
    assert read_table(write(tmp_path / name)) == ROWS


@pytest.mark.parametrize(
    "name",
    ["forget10.jsonl", "forget10/train.json", "train.csv", "forget10/train-00000-of-00001.parquet", "data/train.jsonl"],
)
def test_folders(tmp_path: Path, name: str) -> None:
    write(tmp_path / name)
    assert read_table(tmp_path, config="forget10") == ROWS
    assert texts(read_table(str(tmp_path), config="forget10"))[1].answer == "Number 1, 'é'."


def test_a_folder_that_datasets_wrote(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"forget": datasets.Dataset.from_list(ROWS)}).save_to_disk(tmp_path / "parts")
    assert read_table(tmp_path / "one") == ROWS == read_table(tmp_path / "parts", split="forget")
    with pytest.raises(ConfigurationError, match="holds the splits forget; found split='train'"):
        read_table(tmp_path / "parts")


@pytest.mark.parametrize(
    ("row", "turns", "answer"),
    [
        ({"question": "q", "answer": "a"}, (("user", "q"),), "a"),
        ({"prompt": "q", "response": "a"}, (("user", "q"),), "a"),
        ({"text": "a"}, (), "a"),
        (
            {"messages": [{"role": r, "content": c} for r, c in (("system", "s"), ("user", "q"), ("assistant", "a"))]},
            (("system", "s"), ("user", "q")),
            "a",
        ),
    ],
)  # fmt: skip
def test_columns(row: dict[str, Any], turns: Any, answer: str) -> None:
    (found,) = texts([row])
    assert (found.id, found.turns, found.answer) == ("0", turns, answer)
    assert texts([{"frage": "q", "antwort": "a"}], columns=("frage", "antwort"))[0].turns == (("user", "q"),)


def test_faults_of_a_table_come_together() -> None:
    rows = [*ROWS, {**ROWS[0], "answer": " "}, {"id": "r7", "question": None, "answer": "a"}]
    with pytest.raises(ConfigurationError) as caught:
        texts(rows)
    faults = "\n".join(caught.value.faults)
    assert len(caught.value.faults) == 2
    assert "1 texts (r0) have an empty answer" in faults
    assert "1 texts (r7) cannot be read (TypeError: question, answer must be text, found NoneType, str)" in faults
    with pytest.raises(ConfigurationError, match="found 0 rows"):
        texts([])
    with pytest.raises(ConfigurationError, match=r"found q, a\. Name them: columns="):
        texts([{"q": "", "a": ""}])
    with pytest.raises(ConfigurationError, match=r"no column 'awnser'\. Did you mean 'answer'"):
        texts(ROWS, columns=("question", "awnser"))
    with pytest.raises(ConfigurationError, match="must end with one of the assistant"):
        texts([{"messages": [{"role": "user", "content": "q"}]}])


def test_faults_of_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "a.jsonl"
    broken.write_text('{"a": 1}\n{"a": \n')
    with pytest.raises(ConfigurationError, match=r"cannot be read as \.jsonl: line 2"):
        read_table(broken)
    (tmp_path / "list.json").write_text("[1, 2]")
    with pytest.raises(ConfigurationError, match="must hold rows with named values"):
        read_table(tmp_path / "list.json")
    with pytest.raises(ConfigurationError, match=r"holds no table for config=x.*found a\.jsonl, list\.json"):
        read_table(tmp_path, config="x")
    with pytest.raises(ConfigurationError, match=r"there is no file or folder nowhere/data\.jsonl"):
        read_table("nowhere/data.jsonl")
    datasets = pytest.importorskip("datasets")
    for error, hint in (
        (ConnectionError("no route"), "pass its folder"),
        (OSError("Cannot access gated repo"), "hf auth login"),
    ):
        monkeypatch.setattr(datasets, "load_dataset", lambda *_, error=error, **__: (_ for _ in ()).throw(error))
        with pytest.raises(ConfigurationError, match=rf"owner/name \(config=a, split=train\).*{hint}"):
            read_table("owner/name", config="a")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "r3\nr1\n\n"),
        ("a.json", '["r3", "r1"]'),
        ("a.csv", "who,id\nx,r3\ny,r1\n"),
        ("b.csv", "r3\nr1\n"),
        ("a.jsonl", '"r3"\n"r1"\n'),
        ("b.jsonl", '{"id": "r3"}\n{"id": "r1"}\n'),
    ],
)
def test_request_files(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    assert read_ids(path) == ["r3", "r1"]
    split = by_id(texts(ROWS), path)
    assert (split.forget.tolist(), split.retain.tolist()) == ([1, 3], [0, 2, 4])


def test_an_id_of_several_texts_names_all_of_them() -> None:
    """The texts of one person; a text without an id is never taken for somebody's."""
    owners = ["ann", "bob", "ann", None, "ann", "bob"]
    table = [{"id": owner, "question": f"q{n}", "answer": "a"} for n, owner in enumerate(owners)]
    split = by_id(texts(table), ["ann"])
    assert (split.forget.tolist(), split.retain.tolist()) == ([0, 2, 4], [1, 3, 5])
    assert by_id(texts(table), ["bob", "ann"]).retain.tolist() == [3]
    assert by_id(texts(table), ["3"]).forget.tolist() == [3]
    assert by_id(texts([dict(row) for row in [table[0]] * 2 + [table[1]]]), ["ann"]).forget.tolist() == [0, 1]
    with pytest.raises(ConfigurationError, match=r"1 texts \(3\) have no id, and their row's number is the id"):
        texts([*table[:5], table[5] | {"id": "3"}])


def test_faults_of_a_request(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        by_id(texts(ROWS), ["r1", "R2", "r1", "r9"])
    missing, twice = caught.value.faults
    assert missing.startswith("2 of 4 ids are of no text (R2, r9).")
    assert twice == "the request names 1 ids more than once (r1): once is enough"
    with pytest.raises(ConfigurationError, match="retain set must hold at least one"):
        by_id(texts(ROWS), [r["id"] for r in ROWS])
    path = tmp_path / "a.json"
    path.write_text('{"r1": 1}')
    with pytest.raises(ConfigurationError, match=r"must hold ids and cannot be read: .*expected a list"):
        read_ids(path)
    with pytest.raises(ConfigurationError, match=r"must end in \.txt"):
        read_ids(tmp_path / "a.xml")
