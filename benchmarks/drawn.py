"""What methods leave of a digit that a diffusion model draws. `python benchmarks/drawn.py`.

The rows of `unweave demo --drawn` on three seeds: of the models, the batches and the noise. One line of JSON for a row
in results/drawn.jsonl; what is there is skipped. `--table` prints the table of docs/diffusion.md and runs nothing.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from unweave.demos.compare import ENDS
from unweave.demos.drawn import ENTRIES, OTHERS, demo_drawn

RESULTS = Path(__file__).parent / "results" / "drawn.jsonl"
HEADS = {"UA_drawn": "UA %", "RA_drawn": "RA %", "search": "threes found by search %", "frechet": "Fréchet"}
HELD = ("seed", "name", *HEADS, "leak", "steps", "seconds", "scores")


def table(rows: list[dict[str, Any]]) -> str:
    """A line for each model, seeds side by side; None is left blank."""
    seeds = sorted({row["seed"] for row in rows})
    found = {(row["name"], row["seed"]): row for row in rows}
    lines = [f"| | {' | '.join(HEADS.values())} |", f"|---|{'---:|' * len(HEADS)}"]
    for name in (*ENDS, *(entry.name for entry in (*ENTRIES, *OTHERS))):
        of = [found[name, seed] for seed in seeds if (name, seed) in found]
        if not of:
            continue
        cells = [" / ".join(_number(row[key], key) for row in of) for key in HEADS]
        lines.append(f"| {f'*{name}*' if name in ENDS else name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    keys = [each.key for each in (*ENTRIES, *OTHERS)]
    parser.add_argument("--methods", nargs="+", choices=keys, default=keys)
    parser.add_argument("--table", action="store_true", help="print the table of what is there")
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    rows = [json.loads(line) for line in chosen.results.read_text().splitlines()] if chosen.results.exists() else []
    for seed in [] if chosen.table else chosen.seeds:
        there = {row["name"] for row in rows if row["seed"] == seed}
        wanted = [each.key for each in (*ENTRIES, *OTHERS) if each.key in chosen.methods and each.name not in there]
        if not wanted:
            continue
        made = [{"seed": seed, **row} for row in demo_drawn(wanted, seed=seed)["rows"] if row["name"] not in there]
        rows += made
        with chosen.results.open("a") as file:
            for row in made:
                print(json.dumps({key: row[key] for key in HELD}, allow_nan=False), file=file)
        print(table(made), flush=True)
    print(table(rows))


def _number(value: float | None, key: str) -> str:
    return "" if value is None else f"{value:.{1 if key == 'frechet' else 0}f}"


if __name__ == "__main__":
    main()
