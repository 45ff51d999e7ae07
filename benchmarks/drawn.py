"""What methods leave of a digit that a diffusion model draws. `python benchmarks/drawn.py`.

The rows of `unweave demo --drawn` on three seeds: of the models, the batches and the noise. One line of JSON for a row
in results/drawn.jsonl; what is there is skipped. `--repair` lets the last of the steps repair, `--order` draws other
batches. `--table` prints the tables of docs/diffusion.md and runs nothing.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean
from typing import Any

from unweave.demos.compare import ENDS
from unweave.demos.drawn import COLUMNS, ENTRIES, OTHERS, demo_drawn

RESULTS = Path(__file__).parent / "results" / "drawn.jsonl"
HEADS = {"UA_drawn": "UA %", "RA_drawn": "RA %", "search": "threes found by search %", "frechet": "Fréchet"}
HELD = ("seed", "order", "repair", "name", *HEADS, "leak", "steps", "seconds", "scores")


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


def repairs(rows: list[dict[str, Any]]) -> str:
    """The distance to the retrained model of each method, without a repair and with one, by seed.

    In every order of the batches in which all rows were run in both ways, the seed's own first.
    """
    retrained = {row["seed"]: row for row in rows if row["name"] == "retrained"}
    names = [entry.name for entry in (*ENTRIES, *OTHERS)]
    found = {
        (row["order"], row["repair"], row["name"], row["seed"]): _distance(row, retrained[row["seed"]]) for row in rows
    }

    def of(order: int | None, repair: bool, name: str) -> list[float]:
        return [found[key] for seed in sorted(retrained) if (key := (order, repair, name, seed)) in found]

    orders = [
        order
        for order in sorted({row["order"] for row in rows}, key=lambda order: (order is not None, order))
        if all(len(of(order, repair, name)) == len(retrained) for repair in (False, True) for name in names)
    ]
    if not orders:
        return ""
    ways = [(order, repair) for order in orders for repair in (False, True)]
    heads = [f"{'own' if o is None else 'other'} batches{', repaired' if r else ''}" for o, r in ways]
    lines = [f"| | {' | '.join([*heads, 'mean', 'mean, repaired'])} |", f"|---|{'---:|' * (len(heads) + 2)}"]
    for name in names:
        each = {way: of(*way, name) for way in ways}
        means = [fmean(x for (_, r), some in each.items() if r == repair for x in some) for repair in (False, True)]
        cells = [*(" / ".join(f"{x:.1f}" for x in some) for some in each.values()), *(f"{mean:.1f}" for mean in means)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _distance(row: dict[str, Any], retrained: dict[str, Any]) -> float:
    """In points, the mean over what the demo compares."""
    return fmean(abs(row[key] - retrained[key]) for key in COLUMNS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    keys = [each.key for each in (*ENTRIES, *OTHERS)]
    parser.add_argument("--methods", nargs="+", choices=keys, default=keys)
    parser.add_argument("--repair", action="store_true", help="the last of the steps repair")
    parser.add_argument("--order", type=int, help="the seed of the batches; by default that of the models")
    parser.add_argument("--table", action="store_true", help="print the tables of what is there")
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    lines = chosen.results.read_text().splitlines() if chosen.results.exists() else []
    rows = [{"order": None, "repair": False, **json.loads(line)} for line in lines]
    how = {"order": chosen.order, "repair": chosen.repair}
    for seed in [] if chosen.table else chosen.seeds:
        there = {
            row["name"] for row in rows if row["seed"] == seed and (row["name"] in ENDS or how.items() <= row.items())
        }
        wanted = [each.key for each in (*ENTRIES, *OTHERS) if each.key in chosen.methods and each.name not in there]
        if not wanted:
            continue
        found = demo_drawn(wanted, seed=seed, **how)["rows"]
        made = [{"seed": seed, **how, **row} for row in found if row["name"] not in there]
        rows += made
        with chosen.results.open("a") as file:
            for row in made:
                print(json.dumps({key: row[key] for key in HELD}, allow_nan=False), file=file)
        print(table(made), flush=True)
    print(table([row for row in rows if row["order"] is None and not row["repair"]]))
    print(repairs(rows))


def _number(value: float | None, key: str) -> str:
    return "" if value is None else f"{value:.{1 if key == 'frechet' else 0}f}"


if __name__ == "__main__":
    main()
