"""Does the bound of a keep clause hold, and what can it decide? `python benchmarks/contract_promise.py`.

A clause claims that the mean difference, each example's counted up to the clip, is within the limit; the claim is made
if the bounds on two disjoint sets of n examples, guard and final, both are. Here the differences are drawn many times
from distributions whose means are known, with tails from light to heavy:

* false: the limit lies just below the true mean, so that each claim is false; the share of draws that claim it must not
  exceed 5 %. `raw` puts the limit just below the mean without a clip, which is not promised.
* decided: the limit that nine of ten draws claim, which is what can be asked for; beside it that of Student's bound,
  which promises nothing here.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtrit

from unweave.contract.bounds import level, upper
from unweave.run.environment import environment

RESULTS = Path(__file__).parent / "results" / "contract_promise.json"
LEVELS = (level(0.95, 4), level(0.95))  # of the guard set, with three rollbacks, and of the final set
CLIP = 3.0
Draw = Callable[[np.random.Generator, int], np.ndarray]


def rare(share: float, size: float, spread: float = 0.0) -> Draw:
    """A share of the examples loses so much, the others hardly anything."""
    return lambda rng, n: np.where(rng.random(n) < share, size, spread * rng.normal(size=n))


LAWS: dict[str, Draw] = {
    "none changes": lambda rng, n: np.zeros(n),
    "normal, sd 0.05": lambda rng, n: 0.01 + 0.05 * rng.normal(size=n),
    "normal, sd 0.3": lambda rng, n: 0.02 + 0.3 * rng.normal(size=n),
    "exponential, mean 0.05": lambda rng, n: rng.exponential(0.05, n),
    "lognormal, sigma 2": lambda rng, n: rng.lognormal(-5, 2, n),
    "Pareto, index 1.5": lambda rng, n: 0.005 * rng.pareto(1.5, n),
    "1 % lose 1 nat": rare(0.01, 1.0, 0.02),
    "1 % lose 10 nats": rare(0.01, 10.0, 0.02),
    "0.4 % lose 10 nats": rare(0.004, 10.0, 0.02),
    "0.4 % lose 30 nats": rare(0.004, 30.0, 0.02),
}


def student(values: np.ndarray, alpha: float) -> float:
    """What the clause was judged by before."""
    n = len(values)
    return float(values.mean() + stdtrit(n - 1, 1 - alpha) * values.std(ddof=1) / math.sqrt(n))


def one(name: str, n: int, draws: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    draw, many = LAWS[name], np.random.default_rng(1)
    whole = draw(many, 4_000_000)
    means = {"clipped": float(np.clip(whole, -CLIP, CLIP).mean()), "raw": float(whole.mean())}
    sets = [[draw(rng, n) for _ in LEVELS] for _ in range(draws)]
    ours = np.array([max(upper(x, a, CLIP) for x, a in zip(pair, LEVELS, strict=True)) for pair in sets])
    theirs = np.array([max(student(x, a) for x, a in zip(pair, LEVELS, strict=True)) for pair in sets])
    return {
        "law": name,
        "n": n,
        "draws": draws,
        "mean": means["raw"],
        "clipped_mean": means["clipped"],
        "false": float((ours < means["clipped"]).mean()),
        "false_raw": float((ours < means["raw"]).mean()),
        "student_false_raw": float((theirs < means["raw"]).mean()),
        "decided": float(np.quantile(ours, 0.9)),
        "student_decided": float(np.quantile(theirs, 0.9)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--output", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    rows = []
    print(
        f"{'law':24} {'n':>5} {'mean':>8} {'clipped':>8} | {'false':>6} {'raw':>6} {'Student':>8} | decided, Student's"
    )
    for name in LAWS:
        for n in (100, 250, 1000):
            rows.append(row := one(name, n, chosen.draws, n))
            print(
                f"{name:24} {n:5} {row['mean']:8.4f} {row['clipped_mean']:8.4f} | {row['false']:6.3f} "
                f"{row['false_raw']:6.3f} {row['student_false_raw']:8.3f} | {row['decided']:.4f} "
                f"{row['student_decided']:.4f}",
                flush=True,
            )
    worst = max(row["false"] for row in rows)
    print(f"claims that are false: at most {worst:.3f} of the draws (promised: at most 0.05)")
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    content = {"clip": CLIP, "levels": LEVELS, "worst": worst, "environment": environment(), "rows": rows}
    chosen.output.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


if __name__ == "__main__":
    main()
