"""Write the tables of `docs/benchmarks-text.md` from the result files: `python benchmarks/tofu/table.py`."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev

from cell import ENDS, RESULTS, Cell, cells, distance
from scipy.stats import t
from settings import ENDED, HEADLINE, PUBLISHED, REPAIRED, SETTINGS
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
    """A method on one split, or several: its runs, one for each seed and order of the batches, and the scores of the
    retrained model of the same split and seed.
    """

    method: str
    runs: Sequence[Cell]
    retrained: Sequence[dict[str, float | None]]

    def values(self, key: str) -> list[float]:
        """By split and seed, the mean over orders; without those where it is undefined in one."""
        found = defaultdict[tuple[str, int], list[float | None]](list)
        for cell, retrained in zip(self.runs, self.retrained, strict=True):
            own = next(iter(cell.scores.values()))
            found[cell.place.split, cell.place.seed].append(
                distance(own, retrained) if key == "distance" else own.get(key)
            )
        each = [[value for value in of if value is not None] for of in found.values()]
        return [fmean(some) for some, of in zip(each, found.values(), strict=True) if len(some) == len(of)]

    def mean(self, key: str) -> float | None:
        """Over seeds; None if it is undefined in one of them."""
        found = self.values(key)
        return fmean(found) if len(found) == len({(cell.place.split, cell.place.seed) for cell in self.runs}) else None

    def aims(self) -> tuple[float, ...]:
        """Forget quality and model utility, both better where larger; -1 where undefined."""
        return tuple(-1.0 if (value := self.mean(key)) is None else value for key in AIMS)


def dominates(one: Row, other: Row) -> bool:
    """At least as good in both aims and better in one: Pareto's criterion, on means over seeds."""
    a, b = one.aims(), other.aims()
    return all(x >= y for x, y in zip(a, b, strict=True)) and a != b


def rows(found: Sequence[Cell], names: Iterable[str] = SETTINGS) -> list[Row]:
    """The ends of the scale, then methods: those that are there for every seed, in every order that any was run in."""
    seeds = {cell.place.seed for cell in found if cell.place.method == "original"}
    orders = {cell.place.order for cell in found if cell.place.method in SETTINGS} or {None}
    retrained = {c.place.seed: c.scores["all"] for c in found if c.place.method == "retrained"}
    by = ([c for c in found if c.place.method == m and c.place.seed in retrained] for m in (*ENDS, *names))
    rows = [Row(runs[0].place.method, runs, [retrained[c.place.seed] for c in runs]) for runs in by if runs]
    return [row for row in rows if _ran(row) == {(s, o) for s in seeds for o in ([None] if _is_end(row) else orders)}]


def _ran(row: Row) -> set[tuple[int, int | None]]:
    return {(cell.place.seed, cell.place.order) for cell in row.runs}


def _is_end(row: Row) -> bool:
    return row.method in ENDS


def joined(splits: Mapping[str, Sequence[Cell]], names: Iterable[str]) -> dict[str, tuple[Row, dict[str, Row]]]:
    """Methods that are there on every split: all of their runs, and those of each."""
    by = {split: {row.method: row for row in rows(found, names)} for split, found in splits.items()}
    found = {}
    for method in (m for m in (*ENDS, *names) if all(m in rows for rows in by.values())):
        parts = {split: rows[method] for split, rows in by.items()}
        runs = [cell for part in parts.values() for cell in part.runs]
        found[method] = Row(method, runs, [scores for part in parts.values() for scores in part.retrained]), parts
    return found


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
        lines.append(_line(_named(row.method), _with_spread(values), each))
    return [*lines, *_leads(ranked)]


def _named(method: str) -> str:
    return f"`{method}`" if method in HEADLINE else f"*{method.replace('_', ' ')}*" if method in ENDS else method


def _leads(ranked: Sequence[Row]) -> list[str]:
    """How far our nearest row is ahead of the nearest baseline, as published and with the end."""
    lines = []
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
        half = _interval(differences)[1]
        interval = f" (95 % interval {mean - half:.3f} to {mean + half:.3f})"
    return (
        f"Our nearest row is `{ours.method}`, the nearest {what} {other.method}, whose distance is larger by {mean:.3f}"
        f"{interval}; ours is nearer in {nearer} of {n} runs."
    )


def _with_spread(values: Sequence[float]) -> str:
    spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
    return f"{fmean(values):.3f}{spread}"


def all_table(splits: Mapping[str, Sequence[Cell]]) -> str:
    """All rows by their mean distance over several splits, with both aims, and the baselines that dominate them."""
    by = {split: {row.method: row for row in rows(found)} for split, found in splits.items()}
    head = [f"distance, {split}" for split in by] + [f"{COLUMNS[key]}, {split}" for split in by for key in AIMS]
    lines = [_line("", "distance", *head, "dominated by, on either"), "|---|" + "---:|" * (len(head) + 1) + "---|"]
    found = joined(splits, SETTINGS)
    ranked = sorted((row for row, _ in found.values()), key=lambda row: row.mean("distance") or 0.0)
    for row in ranked:
        parts = list(found[row.method][1].values())
        numbers = [_number("distance", p.mean("distance")) for p in parts]
        numbers += [_number(key, p.mean(key)) for p in parts for key in AIMS]
        named = "" if row.method in ENDS else ", ".join(_above(row.method, list(by.values()))) or "none"
        lines.append(_line(_named(row.method), _number("distance", row.mean("distance")), *numbers, named))
    return "\n".join([*lines, *_leads(ranked)])


def repair_table(splits: Mapping[str, Sequence[Cell]]) -> str:
    """Each method without a repair and with one, each with its own choice, nearest with one first.

    In the orders of the batches that rows with a repair were run in.
    """
    splits = {split: _in_orders(found, REPAIRED) for split, found in splits.items()}
    without, repaired = joined(splits, SETTINGS), joined(splits, REPAIRED)
    both = [(without[m], repaired[f"{m}+repair"]) for m in SETTINGS if m in without and f"{m}+repair" in repaired]
    both.sort(key=lambda pair: pair[1][0].mean("distance") or 0.0)
    head = [
        f"{what}{end}"
        for what in ("distance", *(f"{COLUMNS[k]}, {s}" for s in splits for k in AIMS))
        for end in ("", ", repaired")
    ]
    head.insert(2, "difference (95 %)")
    lines = [_line("", *head, "setting with a repair"), "|---|" + "---:|" * len(head) + "---|"]
    for (row, parts), (other, others) in both:
        pairs = [(parts[split].mean(key), others[split].mean(key), key) for split in splits for key in AIMS]
        numbers = [_number(key, value) for one, two, key in pairs for value in (one, two)]
        own = [_number("distance", each.mean("distance")) for each in (row, other)]
        named = f"`{row.method}`" if row.method in HEADLINE else row.method
        lines.append(_line(named, *own, _difference(row, other), *numbers, other.runs[0].place.setting))
    return "\n".join([*lines, *_leads([replace(other, method=row.method) for (row, _), (other, _) in both])])


def _in_orders(found: Sequence[Cell], names: Container[str]) -> list[Cell]:
    """What was run in an order in which these methods were; ends have none."""
    orders = {cell.place.order for cell in found if cell.place.method in names}
    return [cell for cell in found if cell.place.method in ENDS or cell.place.order in orders]


def _difference(row: Row, other: Row) -> str:
    """How much further the other is, where both are defined."""
    pairs = list(zip(row.values("distance"), other.values("distance"), strict=False))
    if len(pairs) < 2 or len(row.values("distance")) != len(other.values("distance")):
        return "–"
    mean, half = _interval([b - a for a, b in pairs])
    return f"{mean:+.3f} ({mean - half:+.3f} to {mean + half:+.3f})"


def _interval(differences: Sequence[float]) -> tuple[float, float]:
    """Mean of at least two, and half of its 95 % interval (Student's t)."""
    n = len(differences)
    return fmean(differences), float(t.ppf(0.975, n - 1)) * stdev(differences) / sqrt(n)


def _above(method: str, splits: Sequence[Mapping[str, Row]]) -> list[str]:
    """Baselines that dominate a method on one of the splits."""
    others = (m for m in SETTINGS if m in PUBLISHED | ENDED)
    return [m for m in others if any(m in found and dominates(found[m], found[method]) for found in splits)]


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
    for method in (*ENDS, *SETTINGS, *REPAIRED):
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
    for suite, prefix in ((chosen.results, ""), (larger, "100-")):
        found = {split: _judged(suite, split, chosen.tuning_seed) for split in SHARES}
        for split, other in found.items():
            tuned = list(cells(suite, split, chosen.tuning_seed).values())
            page = _put(page, f"{prefix}{split}", split_table(other) if other else "")
            page = _put(page, f"{prefix}{split}-tuning", tuning_table(tuned))
        judged = {split: found[split] for split in reversed(SHARES) if found[split]}
        page = _put(page, f"{prefix}all", all_table(judged) if judged else "")
        repaired = {split: of for split, of in judged.items() if any(c.place.method in REPAIRED for c in of)}
        page = _put(page, f"{prefix}repair", repair_table(repaired) if repaired else "")
    chosen.page.write_text(page)


def _judged(suite: Path, split: str, tuning_seed: int) -> list[Cell]:
    """All runs of a split but those that settings were chosen on."""
    return [cell for cell in cells(suite, split).values() if cell.place.seed != tuning_seed]


def _put(page: str, name: str, text: str) -> str:
    """The page with a table in its place; as it was where there is neither."""
    start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    if start not in page or not text:
        return page
    before, rest = page.split(start, 1)
    return f"{before}{start}\n{text}\n\n{end}{rest.split(end, 1)[1]}"


if __name__ == "__main__":
    main()
