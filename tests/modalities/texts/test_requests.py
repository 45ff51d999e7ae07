"""The ways to name texts and what is to be forgotten of them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.modalities.texts._world import facts
from unweave import modalities
from unweave.modalities import read
from unweave.run.runner import run

Write = Callable[..., Path]
GONE = [{"question": "born: Ana?", "answer": "In Lima, once."}, {"question": "born: Ida?", "answer": "In Cork."}]


def as_csv(folder: Path) -> None:
    with (folder / "facts.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["id", "question", "answer"])
        writer.writeheader()
        writer.writerows(facts())


def as_parquet(folder: Path) -> None:
    pytest.importorskip("pyarrow")
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(facts()), folder / "facts.parquet")


def as_saved(folder: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.DatasetDict({"train": datasets.Dataset.from_list(facts())}).save_to_disk(folder / "saved")


def renamed(folder: Path) -> None:
    rows = [{"id": row["id"], "frage": row["question"], "antwort": row["answer"]} for row in facts()]
    (folder / "other.jsonl").write_text("\n".join(map(json.dumps, rows)))


def turns(folder: Path) -> None:
    rows = [
        {
            "id": row["id"],
            "messages": [
                {"role": "user", "content": row["question"]},
                {"role": "assistant", "content": row["answer"]},
            ],
        }
        for row in facts()
    ]
    (folder / "turns.jsonl").write_text("\n".join(map(json.dumps, rows)))


def gone(folder: Path) -> None:
    (folder / "gone.jsonl").write_text("\n".join(map(json.dumps, GONE)))


def nothing(folder: Path) -> None:
    return None


CASES: dict[str, tuple[Callable[[Path], None], list[str], tuple[int, int]]] = {
    "jsonl and ids": (nothing, [], (4, 20)),
    "csv": (as_csv, ["data.path=facts.csv"], (4, 20)),
    "parquet": (as_parquet, ["data.path=facts.parquet"], (4, 20)),
    "written by datasets": (as_saved, ["data.path=saved"], (4, 20)),
    "columns by other names": (renamed, ["data.path=other.jsonl", "data.columns=[frage, antwort]"], (4, 20)),
    "conversations": (turns, ["data.path=turns.jsonl"], (4, 20)),
    "a plain prompt": (nothing, ['data.format="Q: {question} A: "'], (4, 20)),
    "a random share": (nothing, ["forget={random: 0.25}"], (6, 18)),
    "a file of their own": (gone, ["forget={file: gone.jsonl}"], (2, 24)),
    "a sample of what is kept": (nothing, ["data.retain_sample=7"], (4, 7)),
}


@pytest.mark.parametrize("name", CASES)
def test_requests(recipe: Write, tmp_path: Path, name: str) -> None:
    make, changes, (forget, retain) = CASES[name]
    make(tmp_path)
    job: Any = modalities.job(read(recipe(), changes))
    assert (len(job.forget), len(job.retain)) == (forget, retain)
    assert len({*job.forget.numbers.tolist(), *job.retain.numbers.tolist()}) == forget + retain, "no number twice"
    if name not in ("a random share", "a file of their own"):
        assert job.forget.ids == ["Ana/born", "Ana/work", "Ana/live", "Bela/born"]
    prompt = job.tokenizer.decode(job.forget.tokens[: int(job.forget.starts[0])])
    assert ("Q: born: Ana? A:" in prompt) == (name == "a plain prompt")


def test_dpo_prefers_refusals(recipe: Write, tmp_path: Path) -> None:
    (tmp_path / "idk.txt").write_text("No idea.\n\nI never heard of it.\n")
    summary = run(
        read(recipe(), ["method.name=dpo", "data.refusals=idk.txt", "evaluation.generate=0"]), tmp_path / "out"
    )
    assert summary["status"] == "done" and summary["model_before"] != summary["model_after"]


def test_texts_of_one_person_keep_their_own_paraphrases(recipe: Write, tmp_path: Path) -> None:
    """Four rows of two people: each is scored beside what its own row holds, and none is lost from what is kept."""
    path = recipe()
    rows = [row | {"id": row["id"].split("/")[0], "paraphrased_answer": f"{row['answer']} Yes."} for row in facts()]
    (path.parent / "facts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (path.parent / "request.txt").write_text("Ana\nHugo\n")
    job = modalities.job(read(path))
    assert job.text == "the texts named in request.txt: 6 of 2 ids" and len(job.retain) == len(rows) - 6
    assert [job.asked.rows[text]["answer"] for text in job.asked.forget] == [text.answer for text in job.asked.forget]
    assert job.rows("forget") == list(range(6)) and job.asked.numbers == (0, 1, 2, 21, 22, 23)
