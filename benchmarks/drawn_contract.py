"""Does a run keep the default contract of models that draw? `python benchmarks/drawn_contract.py`.

Twenty runs of the size of `unweave demo --drawn`, four methods on five seeds: of the batches, of guard and final set,
and of the noise. The models are those of three trainings. What is asked:
that no run is over its limit on `recognised` or on `loss` on the final set, which steered nothing. How many may be by
chance: at a confidence of 95 %, one of twenty whose true loss is at the limit. The text of every clause is kept, too:
none may speak of nats or perplexity.
One line of JSON a run in results/drawn-contract.jsonl; what is there is skipped.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from unweave import Contract, unlearn
from unweave.demos.drawn import ADAM, BATCHES, STEPS, digits
from unweave.execution import one_thread
from unweave.methods import METHODS
from unweave.modalities.diffusion.build import request
from unweave.recipe.steps import STEPS as STEPPERS

RESULTS = Path(__file__).parent / "results" / "drawn-contract.jsonl"
METHOD_NAMES = ("relabel_condition", "salun", "esd", "hamu_q")
TRAINED = 3  # originals
KEYS = ("limit", "measured", "bound", "n", "state")


def one(name: str, seed: int) -> dict[str, Any]:
    """A run under the default contract, and what its clauses say of the final set."""
    job = request(digits(seed=seed % TRAINED, noise=seed))
    original, begin = job.opened(None), time.process_time()
    step = STEPPERS["adam"](**{key: value for key, value in ADAM.items() if key != "name"})
    result = unlearn(
        original,
        forget=job.forget,
        retain=job.retain,
        task=job.task,
        method=METHODS[name](job.task, original),
        step=step,
        contract=Contract(),
        steps=STEPS,
        forget_batch=BATCHES[0],
        retain_batch=BATCHES[1],
        seed=seed,
    )
    outcome = result.contract
    assert outcome is not None
    verdicts = {
        each.metric: {
            "clause": each.clause,
            **{place: _read(getattr(each, place), each.limit) for place in ("guard", "final")},
        }
        for each in outcome.verdicts
    }
    return {
        "method": name,
        "seed": seed,
        "state": outcome.state,
        "reason": outcome.reason,
        "steps": result.steps,
        "path": [[point.step, round(point.used, 3), point.forgotten, point.rolled_back] for point in outcome.path],
        "cpu_seconds": time.process_time() - begin,
        "clauses": verdicts,
    }


def table(rows: list[dict[str, Any]]) -> str:
    """A line for each run, and what is asked."""
    lines = [f"{'run':24} {'state':10} {'recognised':>18} {'loss':>18} {'generated':>10}  looks (step: budget used)"]
    over, foreign = 0, 0
    for row in rows:
        cells = []
        for metric in ("recognised", "loss"):
            final = row["clauses"][metric]["final"]
            over += final["measured"] > final["limit"]
            cells.append(f"{final['measured'] / final['limit']:+.2f}, at most {final['bound'] / final['limit']:.2f}")
        foreign += any(word in each["clause"] for each in row["clauses"].values() for word in ("nats", "perplexity"))
        path = " ".join(f"{step}: {used:.2f}{'<' if back else ''}" for step, used, _, back in row["path"])
        shown = 100 * row["clauses"]["generated"]["final"]["measured"]
        name = f"{row['method']}, {row['seed']}"
        lines.append(f"{name:24} {row['state']:10} {cells[0]:>18} {cells[1]:>18} {shown:8.1f} %  {path}")
    met = sum(row["state"] == "met" for row in rows)
    lines.append(
        f"{len(rows)} runs: {over} readings of the final set over their limit, {met} contracts met, {foreign} clauses "
        "in nats or perplexity (recognised and loss as shares of the limit; '<': gone back)"
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--methods", nargs="+", choices=METHOD_NAMES, default=METHOD_NAMES)
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    rows = [json.loads(line) for line in chosen.results.read_text().splitlines()] if chosen.results.exists() else []
    there = {(row["method"], row["seed"]) for row in rows}
    with one_thread(), chosen.results.open("a") as file:
        for seed in chosen.seeds:
            for name in chosen.methods:
                if (name, seed) not in there:
                    rows.append(one(name, seed))
                    print(json.dumps(rows[-1], allow_nan=False), file=file, flush=True)
                    print(f"{name} {seed}: {rows[-1]['state']}, {rows[-1]['cpu_seconds']:.0f} s", flush=True)
    print(table(rows))


def _read(reading: Any, limit: float) -> dict[str, Any] | None:
    return None if reading is None else {key: limit if key == "limit" else getattr(reading, key) for key in KEYS}


if __name__ == "__main__":
    main()
