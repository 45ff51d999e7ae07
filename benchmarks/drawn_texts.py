"""What closed-form edits leave of a digit that a model draws by its text. `python benchmarks/drawn_texts.py`.

A small UNet with cross-attention learns to draw digits by texts ("a 3"), which an encoder of random weights reads, and
a second one without the threes. UCE moves the matrices that read the embeddings, the other rows all weights. On three
seeds of the models, the batches and the noise. One line of JSON for a row in results/drawn-texts.jsonl; what is there
is skipped. `--table` prints the table of what is there and runs nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from unweave.demos.compare import Entry, compared
from unweave.demos.drawn import ADAM, BATCHES, CLASS, STEPS
from unweave.execution import one_thread
from unweave.modalities.diffusion.build import request
from unweave.modalities.diffusion.evaluation.scores import score
from unweave.modalities.diffusion.evaluation.search import condition_search
from unweave.modalities.diffusion.job import DiffusionJob
from unweave.modalities.diffusion.recipe import DiffusionData, DiffusionEvaluation, DiffusionForget, DiffusionRecipe
from unweave.recipe.sections import OpenSection

RESULTS = Path(__file__).parent / "results" / "drawn-texts.jsonl"
TRAINING = 2500  # steps, as in examples/papers/eupmu/stable-diffusion.small.yaml
HEADS = {"UA_drawn": "UA %", "RA_drawn": "RA %", "search": "threes found by search %", "frechet": "Fréchet"}
EIGHT = {"guide": "a 8"}
RECE = {"rounds": 3, "lamb": 0.1, "preserve_scale": 0.1}  # as its paper has them
ENTRIES = (
    Entry("UCE, guide: nothing", "uce"),
    Entry("UCE, guide: an 8", "uce", EIGHT),
    Entry("UCE, 3 rounds", "uce", {**EIGHT, "rounds": 3}),
    Entry("RECE, as its paper sets it", "uce", {**EIGHT, **RECE}),
    Entry("relabel", "relabel_condition", {}, ADAM),
    Entry("HAMU-Q", "hamu_q", {}, ADAM),
)
ENDS = ("original", "retrained")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--table", action="store_true", help="print the table of what is there")
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    rows = [json.loads(line) for line in chosen.results.read_text().splitlines()] if chosen.results.exists() else []
    with one_thread():
        for seed in [] if chosen.table else chosen.seeds:
            there = {row["name"] for row in rows if row["seed"] == seed}
            if there >= {*ENDS, *(entry.name for entry in ENTRIES)}:
                continue

            def keep(row: dict[str, Any]) -> None:
                rows.append(row)
                with chosen.results.open("a") as file:
                    print(json.dumps(row, allow_nan=False), file=file)

            run(job_of(seed), seed, there, keep)
            print(table([row for row in rows if row["seed"] == seed]), flush=True)
    print(table(rows))


def run(job: DiffusionJob, seed: int, there: set[str], keep: Callable[[dict[str, Any]], None]) -> None:
    """All rows of a seed that are not there."""

    def measure(name: str, model: nn.Module) -> dict[str, Any]:
        sheet = {**score(model, job.exam).scores, "search": condition_search(model, job.exam, None)}
        share = {key: None if (value := sheet[key].value) is None else 100 * value for key in list(HEADS)[:3]}
        return {**share, "frechet": sheet["frechet"].value, "n": {key: sheet[key].n for key in list(HEADS)[:3]}}

    original, retrained = job.opened(None, told), job.reference(1, told)
    assert retrained is not None, "it is known how the original was trained"
    for name, model in zip(ENDS, (original, retrained), strict=True):
        if name not in there:
            keep({"seed": seed, "name": name, **measure(name, model), "judge": job.judge.accuracy.value})
    batches = {"forget_batch": BATCHES[0], "retain_batch": BATCHES[1]}
    call = {"task": job.task, "forget": job.forget, "retain": job.retain, "steps": STEPS, "seed": seed, **batches}
    for entry in ENTRIES:
        if entry.name in there:
            continue
        [(row, _)] = compared(original, {}, measure, call, [entry], told)
        keep({"seed": seed, **{key: row[key] for key in ("name", *HEADS, "n", "steps", "seconds")}})


def job_of(seed: int) -> DiffusionJob:
    """The request of threes on a model that draws digits by texts."""
    recipe = DiffusionRecipe(
        data=DiffusionData(source="digits_to_draw", prompt="a {class}"),
        forget=DiffusionForget(prompts=f"a {CLASS}"),
        model={"texts": True},
        method={"name": "uce"},
        training=OpenSection(seed=seed, steps=TRAINING),
        evaluation=DiffusionEvaluation(seed=seed, looks=1, attacks=None),
    )
    return request(recipe)


def told(what: str, done: int, of: int) -> None:
    """When something begins or ends."""
    if done in (0, of):
        print(f"{time.strftime('%X')} {what} {done}/{of}", flush=True)


def table(rows: list[dict[str, Any]]) -> str:
    """A line for each model, seeds side by side."""
    found = {(row["name"], row["seed"]): row for row in rows}
    seeds = sorted({row["seed"] for row in rows})
    lines = [f"| | {' | '.join(HEADS.values())} |", f"|---|{'---:|' * len(HEADS)}"]
    for name in (*ENDS, *(entry.name for entry in ENTRIES)):
        of = [found[name, seed] for seed in seeds if (name, seed) in found]
        cells = [" / ".join(_number(row[key], key) for row in of) for key in HEADS]
        lines += [f"| {f'*{name}*' if name in ENDS else name} | {' | '.join(cells)} |"] if of else []
    return "\n".join(lines)


def _number(value: float | None, key: str) -> str:
    return "" if value is None else f"{value:.{1 if key == 'frechet' else 0}f}"


if __name__ == "__main__":
    main()
