"""The field's requests by a recipe: TOFU, MUSE and WMDP from local folders in the layout of the hub."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from unweave import modalities
from unweave.modalities import read
from unweave.modalities.texts.data.people import people
from unweave.run.runner import run

Write = Callable[..., Path]
Row = dict[str, Any]


def table(path: Path, rows: Iterable[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, rows)))


def tofu(folder: Path) -> None:
    world = people(12, holdout=2, known=2, seed=0)
    rows = [{key: value for key, value in row.items() if key != "id"} for row in [*world.retain, *world.forget]]
    for name, chosen in {"forget01": rows[-8:], "retain99": rows[:20], "holdout01": world.holdout}.items():
        table(folder / f"{name}.jsonl", ({key: row[key] for key in ("question", "answer")} for row in chosen))
    chosen = {"forget01": rows[-8:], "retain": rows[:6], "real_authors": rows[6:9], "world_facts": rows[9:12]}
    for name, own in chosen.items():
        table(folder / f"{name}_perturbed.jsonl", own)


def muse(folder: Path) -> None:
    for side, letter in {"forget": "a", "retain1": "b", "holdout": "c"}.items():
        table(folder / "raw" / f"{side}.jsonl", [{"text": f"{letter} tale of {n} towns. " * 12} for n in range(4)])
    for side in ("forget", "retain", "holdout"):
        table(folder / "privleak" / f"{side}.jsonl", [{"text": f"{side} tale {n} of towns"} for n in range(3)])
    asked = [{"question": f"Who is {n}?", "answer": f"A man of {n}"} for n in range(3)]
    for side in ("forget_qa", "retain_qa", "forget_qa_icl", "retain_qa_icl"):
        table(folder / "knowmem" / f"{side}.jsonl", asked)
    table(folder / "verbmem" / "forget.jsonl", [{"prompt": f"Once {n}", "gt": f"there was {n}"} for n in range(3)])


def wmdp(folder: Path) -> None:
    for side in ("forget", "retain"):
        table(folder / f"cyber-{side}-corpus.jsonl", [{"text": f"{side} text {n} of nets. " * 9} for n in range(4)])
    asked = {"question": "Which?", "choices": ["one", "two", "three", "four"]}
    table(folder / "wmdp-cyber.jsonl", [{**asked, "answer": n} for n in range(4)])


def longer(folder: Path) -> None:
    """The model reads 600 tokens."""
    for file, key in (("config.json", "max_position_embeddings"), ("tokenizer_config.json", "model_max_length")):
        path = folder / "model" / file
        path.write_text(json.dumps({**json.loads(path.read_text()), key: 600}))


CASES: dict[str, tuple[Callable[[Path], None], str, tuple[int, int], set[str], set[str]]] = {
    "tofu": (
        *(tofu, "forget01", (8, 20)),
        {"forget_truth_ratio", "model_utility", "paraphrased_prompt_rouge", "relearned_gain", "mia_min_k", "privleak"},
        {"forget", "retain"},
    ),
    "muse": (
        *(muse, "News", (4, 4)),
        {"verbmem", "knowmem_forget", "knowmem_retain", "mia_min_k", "privleak"},
        {"forget_knowmem", "retain_knowmem", "forget_verbmem"},
    ),
    "wmdp": (wmdp, "cyber", (4, 4), {"choice_accuracy", "forget_probability", "retain_probability"}, set()),
}


@pytest.mark.parametrize("name", CASES)
def test_a_benchmark_by_its_name(recipe: Write, tmp_path: Path, name: str) -> None:
    make, split, (forget, retain), expected, asked = CASES[name]
    make(tmp_path / "bench")
    longer(tmp_path)
    changes = [
        f"data={{source: {name}, path: bench}}",
        f"forget={{split: {split}}}",
        "run.steps=1",
        "method.name=graddiff",
    ]
    summary = run(read(recipe(), changes), tmp_path / "out")
    assert (summary["status"], summary["forget"], summary["retain"]) == ("done", forget, retain)
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())["models"]
    assert expected <= set(scores["unlearned"]) and set(scores) == {"original", "unlearned"}
    answers = json.loads((tmp_path / "out" / "answers.json").read_text())
    assert set(answers) == asked and all(rows for rows in answers.values())


def test_a_sample_of_what_is_kept_and_duplicates(recipe: Write, tmp_path: Path) -> None:
    tofu(tmp_path / "bench")
    longer(tmp_path)
    data = "data={source: tofu, path: bench, retain_sample: 5}"
    job = modalities.job(read(recipe(), [data, "forget={split: forget01}"]))
    assert len(job.rows("retain")) == 5
    data = "data={source: tofu, path: bench, duplicates: exact}"
    job = modalities.job(read(recipe(), [data, "forget={split: forget01}"]))
    assert len(job.rows("retain")) == 28 and "with exact duplicates" in job.text
    again = modalities.job(read(recipe(), [data, "forget={split: forget01}"]))
    assert job.prints() == again.prints()


@pytest.mark.parametrize(
    "steers", [["contract={keep: [], forget: [unseen]}"], ["contract=none", "run.until=unseen"]], ids=["clause", "end"]
)
def test_the_holdout_that_steers_is_not_the_one_that_is_scored(
    steers: list[str], recipe: Write, tmp_path: Path
) -> None:
    tofu(tmp_path / "bench")
    longer(tmp_path)
    changes = ["data={source: tofu, path: bench}", "forget={split: forget01}", *steers, "evaluation.at_most=100"]
    job: Any = modalities.job(read(recipe(), changes))
    steered = {text.answer for text in job.holdout.texts}
    scored = {example.text for example in job.parts["holdout"].examples}
    assert len(steered) == len(scored) == 4 and not steered & scored


def test_of_a_sampled_retain_set_models_are_asked_what_they_learn_here(recipe: Write, tmp_path: Path) -> None:
    tofu(tmp_path / "bench")
    longer(tmp_path)
    data = "data={source: tofu, path: bench, retain_sample: 9}"
    changes = [data, "forget={split: forget01}", "evaluation.at_most=100"]
    job: Any = modalities.job(read(recipe(), changes))
    assert len(job.parts["retain"].examples) == 6  # a model that knows all of TOFU is asked all
    learning = [*changes, "model={base: model}"]
    job = modalities.job(read(recipe(), learning))
    kept = {text.answer for text in job.asked.retain}
    scored = {example.text for example in job.parts["retain"].examples}
    assert len(kept) == 9 and len(scored) == 6 and scored < kept  # those that are asked come first
    job = modalities.job(read(recipe(), [*learning, "data.retain_sample=4"]))
    assert {text.answer for text in job.asked.retain} == {example.text for example in job.parts["retain"].examples}
