"""Ranks the candidates and fills in `docs/benchmarks.md` between its marks; reads `benchmarks/results/hardness` only.

python benchmarks/hardness/table.py
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import pearsonr, spearmanr

ROOT = Path(__file__).parents[2]
RESULTS, PAGE = ROOT / "benchmarks" / "results" / "hardness", ROOT / "docs" / "benchmarks.md"
CHOSEN = "odds forecast"
REALISED = (("ascent", "retain"), ("ascent", "test"), ("hamu_q", "retain"), ("hamu_q", "test"), ("default", "test"))
DRAWS = 2000
Row = dict[str, Any]
Runs = dict[int, dict[str, Row]]  # by seed and request


def read(results: Path, data: str) -> Runs:
    """All requests of a data set that were run."""
    found = {}
    for path in sorted(results.glob(f"{data}-*.json")):
        content = json.loads(path.read_text())
        rows = {name: row for name, row in content["requests"].items() if row["rules"]}
        found[int(content["setting"]["seed"])] = rows
    return found


def lost(row: Row, rule: str, what: str) -> float:
    """Utility lost at equal forgetting; a run that never forgot as much counts as the most expensive."""
    run = row["rules"][rule]
    return float(run[what]) if run["reached"] else math.inf


def said(row: Row, predictor: str) -> float:
    """What was predicted; undefined counts as hard."""
    value = row["predicted"][predictor]
    return math.inf if value is None or math.isnan(value) else float(value)


def spearman(x: Sequence[float], y: Sequence[float]) -> float:
    """Rank correlation with ties at their mean rank."""
    big = [[1e9 if math.isinf(v) else v for v in side] for side in (x, y)]
    return float(spearmanr(*big).statistic)


def interval(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """95 % bootstrap interval of Spearman's rho over requests (percentiles of 2,000 draws)."""
    rng, n, found = np.random.default_rng(0), len(x), []
    for _ in range(DRAWS):
        rows = rng.integers(0, n, n)
        found.append(spearman([x[i] for i in rows], [y[i] for i in rows]))
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return float(low), float(high)


def ranking(runs: Runs) -> str:
    """Spearman's rho of every candidate with every cost, seed by seed."""
    rules = {rule for rows in runs.values() for row in rows.values() for rule in row["rules"]}
    columns = [(rule, what) for rule, what in REALISED if rule in rules]
    first = next(iter(next(iter(runs.values())).values()))
    names = [name for name in first["predicted"] if name != "seconds"]
    lines = ["|  | " + " | ".join(f"{rule}, {what}" for rule, what in columns) + " |"]
    lines.append("|---|" + "---:|" * len(columns))
    for name in names:
        cells = []
        for rule, what in columns:
            each = [spearman(*_both(rows, name, rule, what)) for rows in runs.values()]
            cells.append(" / ".join(f"{rho:.2f}" for rho in each))
        lines.append(f"| {'**' + name + '**' if name == CHOSEN else name} | " + " | ".join(cells) + " |")
    lines += ["", f"*{CHOSEN}* with 95 % intervals:", ""]
    lines += ["| seed | requests | " + " | ".join(f"{rule}, {what}" for rule, what in columns) + " |"]
    lines.append("|---|---:|" + "---:|" * len(columns))
    for seed, rows in runs.items():
        cells = []
        for rule, what in columns:
            x, y = _both(rows, CHOSEN, rule, what)
            low, high = interval(x, y)
            cells.append(f"{spearman(x, y):.2f} ({low:.2f} to {high:.2f})")
        lines.append(f"| {seed} | {len(rows)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _both(rows: dict[str, Row], name: str, rule: str, what: str) -> tuple[list[float], list[float]]:
    return [said(row, name) for row in rows.values()], [lost(row, rule, what) for row in rows.values()]


def listing(runs: Runs) -> str:
    """Every request of the first seed: what was said, and what it cost."""
    seed, rows = next(iter(runs.items()))
    lines = [f"Seed {seed}, the hardest first:", "", "| request | forget | hardness | forecast | ascent, retain |"]
    lines[-1] += " ascent, test | HAMU-Q, test |"
    lines.append("|---|---:|---:|---:|---:|---:|---:|")
    for name, row in sorted(rows.items(), key=lambda item: -said(item[1], CHOSEN)):
        cells = [f"{row['predicted']['odds cosine']:+.2f}", f"{said(row, CHOSEN):+.4f}"]
        for rule, what in (("ascent", "retain"), ("ascent", "test"), ("hamu_q", "test")):
            value = lost(row, rule, what)
            cells.append("never" if math.isinf(value) else f"{value:+.4f}")
        lines.append(f"| {name} | {row['forget']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def mixes(runs: Runs) -> str:
    """HAMU's figure: hardness of a class request against the share rho of it that is drawn at random instead."""
    measures = {
        "mean kappa, HAMU-Q at constant length": lambda row: row["rules"]["hamu_q"]["kappa"],
        "mean cosine, the same": lambda row: row["rules"]["hamu_q"]["cosine"],
        "mean kappa, HAMU-Q in the trust region": lambda row: row["rules"]["default"]["kappa"],
        "kappa of 4 pairs, original model": lambda row: row["predicted"]["kappa of 4 pairs"],
        "cosine of the log-odds, original model": lambda row: row["predicted"]["odds cosine"],
    }
    rhos = (0.0, 0.25, 0.5, 0.75, 1.0)
    lines = ["| | " + " | ".join(f"rho = {rho:g}" for rho in rhos) + " | Pearson of the means | of all |"]
    lines.append("|---|" + "---:|" * (len(rhos) + 2))
    for name, measure in measures.items():
        points = []
        for seed, rows in runs.items():
            for k in sorted({m[1] for text in rows if (m := re.match(r"mix (\d)", text))}):
                asked = [f"class {k}", *(f"mix {k} {rho}" for rho in rhos[1:-1]), f"random {seed}"]
                if all(text in rows for text in asked):
                    try:
                        points.append([float(measure(rows[text])) for text in asked])
                    except KeyError:  # a rule that was not run
                        continue
        if not points:
            continue
        means = np.mean(points, axis=0)
        everything = pearsonr(np.tile(rhos, len(points)), np.concatenate(points)).statistic
        cells = " | ".join(f"{value:.3g}" for value in means)
        lines.append(f"| {name} | {cells} | {pearsonr(rhos, means).statistic:.3f} | {everything:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    chosen = parser.parse_args()
    page = chosen.page.read_text()
    for data in ("digits", "cifar10"):
        runs = read(chosen.results, data)
        for name, made in (("ranking", ranking), ("mixes", mixes), ("requests", listing)):
            start, end = f"<!-- quote-{data}-{name} -->\n", f"<!-- /quote-{data}-{name} -->"
            if start in page and runs:
                before, rest = page.split(start, 1)
                page = f"{before}{start}\n{made(runs)}\n\n{end}{rest.split(end, 1)[1]}"
    chosen.page.write_text(page)


if __name__ == "__main__":
    main()
