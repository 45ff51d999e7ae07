"""Write the tables of `docs/benchmarks-text.md` from the result files: `python benchmarks/tofu/table.py`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev

from cell import ENDS, RESULTS, Cell, cells, distance
from scipy.stats import t
from settings import ENDED, HEADLINE, PUBLISHED, SETTINGS
from world import SHARES

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks-text.md"
COLUMNS = {
    "forget_quality": "forget quality",
    "model_utility": "model utility",
    "distance": "distance",
    "ks_distance": "KS distance",
    "forget_probability": "forget P",
    "forget_rouge": "ROUGE",
    "mia_loss": "MIA loss",
    "mia_min_k": "MIA Min-K",
    "relearned_probability": "relearned P",
    "retain_probability": "retain P",
    "retain_rouge": "ROUGE",
}
AIMS = ("forget_quality", "model_utility")


@dataclass(frozen=True)
class Row:
    """A method on one split: its runs, one for each seed, and the scores of the retrained model of the same seed."""

    method: str
    runs: Sequence[Cell]
    retrained: Sequence[dict[str, float | None]]

    def values(self, key: str) -> list[float]:
        """By seed, where they are defined."""
        scores = [next(iter(cell.scores.values())) for cell in self.runs]
        if key == "distance":
            each = [distance(own, other) for own, other in zip(scores, self.retrained, strict=True)]
        else:
            each = [own.get(key) for own in scores]
        return [value for value in each if value is not None]

    def mean(self, key: str) -> float | None:
        """Over seeds; None if it is undefined in one of them."""
        found = self.values(key)
        return fmean(found) if len(found) == len(self.runs) else None

    def aims(self) -> tuple[float, ...]:
        """Forget quality and model utility, both better where larger; -1 where undefined."""
        return tuple(-1.0 if (value := self.mean(key)) is None else value for key in AIMS)


def dominates(one: Row, other: Row) -> bool:
    """At least as good in both aims and better in one: Pareto's criterion, on means over seeds."""
    a, b = one.aims(), other.aims()
    return all(x >= y for x, y in zip(a, b, strict=True)) and a != b


def rows(found: Sequence[Cell]) -> list[Row]:
    """The ends of the scale, then methods: those that are there for every seed."""
    seeds = {cell.place.seed for cell in found if cell.place.method == "original"}
    retrained = {c.place.seed: c.scores["all"] for c in found if c.place.method == "retrained"}
    by = ([c for c in found if c.place.method == m and c.place.seed in retrained] for m in (*ENDS, *SETTINGS))
    rows = [Row(runs[0].place.method, runs, [retrained[c.place.seed] for c in runs]) for runs in by if runs]
    return [row for row in rows if {c.place.seed for c in row.runs} == seeds]


def split_table(found: Sequence[Cell]) -> str:
    """Means over seeds."""
    every = rows(found)
    methods = [row for row in every if row.method not in ENDS]
    lines = [_line("", *COLUMNS.values(), "gradients", "setting"), "|---|" + "---:|" * (len(COLUMNS) + 1) + "---|"]
    for row in every:
        of = [f"*{row.method.replace('_', ' ')}*", *(_number(key, row.mean(key)) for key in COLUMNS)]
        if row.method in ENDS:
            lines.append(_line(*of, "", ""))
            continue
        front = not any(dominates(other, row) for other in methods)
        of[0] = f"`{row.method}`" if row.method in HEADLINE else row.method
        of[1:3] = [f"**{text}**" if front else text for text in of[1:3]]
        spent = fmean(next(reversed(cell.spent.values())) for cell in row.runs)
        place = next(reversed(row.runs[0].spent))
        lines.append(_line(*of, f"{spent:.0f}", f"{row.runs[0].place.setting}, {place}"))
    return "\n".join([*lines, "", *_nearest(every), "", *_verdict(methods), "", *_by_seed(every)])


def _nearest(every: Sequence[Row]) -> list[str]:
    """All rows by their distance to the retrained model, and by how much our nearest leads, or does not."""
    ranked = sorted((row for row in every if row.mean("distance") is not None), key=lambda r: r.mean("distance") or 0.0)
    lines = [_line("nearest to the retrained model", "distance", "by seed"), "|---|---:|---|"]
    for row in ranked:
        values = row.values("distance")
        each = " / ".join(_number("distance", value) for value in values)
        end = f"*{row.method.replace('_', ' ')}*" if row.method in ENDS else row.method
        name = f"`{row.method}`" if row.method in HEADLINE else end
        lines.append(_line(name, _with_spread(values), each))
    methods = [row for row in ranked if row.method not in ENDS]
    ours = next((row for row in methods if row.method in HEADLINE), None)
    for what, names in (("baseline", PUBLISHED), ("baseline with the end", ENDED)):
        other = next((row for row in methods if row.method in names), None)
        if ours is not None and other is not None:
            lines += ["", _lead(ours, other, what)]
    return lines


def _lead(ours: Row, other: Row, what: str) -> str:
    """In words: the mean of the differences over seeds, with its 95 % interval (Student's t)."""
    differences = [b - a for a, b in zip(ours.values("distance"), other.values("distance"), strict=True)]
    mean, nearer, n = fmean(differences), sum(d > 0 for d in differences), len(differences)
    interval = ""
    if n > 1:
        half = float(t.ppf(0.975, n - 1)) * stdev(differences) / sqrt(n)
        interval = f", 95 % interval {mean - half:.3f} to {mean + half:.3f}"
    return (
        f"Our nearest row is `{ours.method}`, the nearest {what} is {other.method}: ours is nearer by {mean:.3f}"
        f"{interval}, and on {nearer} of {n} seeds."
    )


def _with_spread(values: Sequence[float]) -> str:
    spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
    return f"{fmean(values):.3f}{spread}"


def _verdict(methods: Sequence[Row]) -> list[str]:
    baselines = [row for row in methods if row.method not in HEADLINE]
    lines = [_line("Pareto's criterion", "baselines it dominates", "baselines that dominate it"), "|---|---:|---|"]
    for row in (row for row in methods if row.method in HEADLINE):
        below = sum(dominates(row, other) for other in baselines)
        above = [other.method for other in baselines if dominates(other, row)]
        lines.append(_line(f"`{row.method}`", f"{below} of {len(baselines)}", ", ".join(above) or "none"))
    return lines


def _by_seed(every: Sequence[Row]) -> list[str]:
    lines = [_line("by seed", *(COLUMNS[key] for key in AIMS)), "|---|---|---|"]
    for row in every:
        lines.append(_line(row.method, *(" / ".join(_number(key, v) for v in row.values(key)) for key in AIMS)))
    return lines


def tuning_table(found: Sequence[Cell]) -> str:
    """Every setting and length that was tried, on the seed that the other tables leave out."""
    lines = [
        _line("", "setting", "length", "forget quality", "KS distance", "model utility"),
        "|---|---|---|---:|---:|---:|",
    ]
    for method in (*ENDS, *SETTINGS):
        for cell in (cell for cell in found if cell.place.method == method):
            for place, scores in cell.scores.items():
                keys = ("forget_quality", "ks_distance", "model_utility")
                numbers = [_number(key, scores[key]) for key in keys]
                lines.append(_line(method, cell.place.setting, place, *numbers))
    return "\n".join(lines)


def _number(key: str, value: float | None) -> str:
    if value is None:
        return "–"
    if key == "forget_quality":
        return f"{value:.2f}" if value >= 0.005 else f"{value:.0e}"
    return f"{value:.3f}"


def _line(*values: object) -> str:
    return f"| {' | '.join(map(str, values))} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--tuning-seed", type=int, default=3)
    chosen = parser.parse_args()
    page = chosen.page.read_text()
    larger = chosen.results.with_stem(f"{chosen.results.stem}-100")  # of `--authors 100`
    for (suite, prefix), split in product(((chosen.results, ""), (larger, "100-")), SHARES):
        every = list(cells(suite, split).values())
        tuned = [cell for cell in every if cell.place.seed == chosen.tuning_seed]
        other = [cell for cell in every if cell.place.seed != chosen.tuning_seed]
        tables = {split: split_table(other) if other else "", f"{split}-tuning": tuning_table(tuned)}
        for name, text in ((f"{prefix}{key}", table) for key, table in tables.items()):
            start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
            if start in page and text:
                before, rest = page.split(start, 1)
                page = f"{before}{start}\n{text}\n\n{end}{rest.split(end, 1)[1]}"
    chosen.page.write_text(page)


if __name__ == "__main__":
    main()
