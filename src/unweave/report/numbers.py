"""Numbers as people read them, alike on the console and on every page: with interval, null band and n, or why not.

They are given as JSON: an entry of `scores.json` (`Score.brief`) or one of `evidence.json` (`Score.as_dict`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from unweave.audit.every_metric import METRICS
from unweave.audit.standing import said
from unweave.evaluation.figures import NONE, interval, plain, span, unit, value
from unweave.modalities import MODALITIES
from unweave.report.page import Table

Json = Mapping[str, Any]
ORDER = ("original", "unlearned", "retrained", "retrained again")
RIGHT = {"higher": "higher", "lower": "lower", "as null": "as retrained"}


def null_band(found: Json) -> str:
    """Where an exact method lies in 95 % of cases."""
    return NONE if found["null"] is None else span(found["null"], unit(found))


def p_value(found: Json) -> str:
    """Of the hypothesis that the method is exact."""
    return probability(found["p"])


def probability(p: float | None) -> str:
    """A p-value, two digits of it."""
    return NONE if p is None else f"{p:.2g}" if p >= 0.001 else "< 0.001"


def count(found: Json) -> str:
    """How many entered; of several things, in the order of `sizes`."""
    return "/".join(str(n) for n in found["sizes"].values()) if "sizes" in found else str(found["n"])


def in_full(found: Json | None, *, short: bool = False) -> str:
    """The value with its interval; if there is none, the reason (short: the value alone, or a dash)."""
    if found is None or (short and found["value"] is None):
        return NONE
    if found["value"] is None:
        return f"undefined: {found['reason']}"
    return value(found) if short or found["low"] is None else f"{value(found)} {interval(found)}"


Columns = Mapping[str, Callable[[Json], str]]
COLUMNS: Columns = {"value": value, "95 % interval": interval, "null band": null_band, "p": p_value, "n": count}
NO_TEST: Columns = {title: read for title, read in COLUMNS.items() if title != "p"}


def definition(name: str) -> tuple[str, str, str]:
    """Which direction is right, the definition, and what an exact method scores; empty for what is no metric."""
    metric = METRICS.get(name)
    return ("", "", "") if metric is None else (RIGHT[metric.right], metric.definition, metric.exact)


def named(name: str) -> str:
    """A score's name in plain words, and in files."""
    plain = said(name)
    return name if plain == name.replace("_", " ") else f"{plain} ({name})"


def evidence_table(caption: str, named: Mapping[str, Json]) -> Table:
    """Entries of `evidence.json` on a page, one row each."""

    def cells(found: Json) -> list[str]:
        exact = NONE if found["null"] is None else f"{plain(found['null']['value'], unit(found))} {null_band(found)}"
        first = f"undefined: {found['reason']}" if found["value"] is None else value(found)
        sizes = ", ".join(f"{n} {what}" for what, n in found["sizes"].items())
        return [first, interval(found), exact, p_value(found), sizes, found["metric"]["definition"]]

    heads = ["", "value", "95 % interval", "an exact method", "p", "n", "definition"]
    return Table(caption, heads, [[name, *cells(found)] for name, found in named.items()])


def deciding(sheets: Mapping[str, Mapping[str, Json]]) -> list[str]:
    """Scores that their modality shows first; all, where it shows none of those that have a value."""
    names = list(dict.fromkeys(name for sheet in sheets.values() for name in sheet))
    front = min(MODALITIES.values(), key=lambda kind: sum(name not in kind.metrics for name in names)).front
    found = [name for name in names if name in (*front.figures, *front.columns)]
    return found if any(valued(sheets, name) for name in found) else names


def valued(sheets: Mapping[str, Mapping[str, Json]], name: str) -> bool:
    """Whether some model has a value of a score."""
    return any(name in sheet and sheet[name]["value"] is not None for sheet in sheets.values())


def score_table(scores: Json, *, everything: bool) -> Table:
    """The scores of every model on a page, with what they are: those that decide, or all."""
    models, sheets = models_of(scores), scores["models"]
    names = list(dict.fromkeys(name for model in models for name in sheets[model]))
    shown, rows = names if everything else [name for name in deciding(sheets) if valued(sheets, name)], []
    for name in shown:
        cells = [scores["models"][model].get(name) for model in models]
        known = next(cell for cell in cells if cell)
        right, _, exact = definition(name)
        rows.append([said(name), name, right, *map(in_full, cells), str(known["n"]), known["definition"], exact])
    heads = ["", "in files", "right is", *models, "n", "definition", "an exact method"]
    none, left = [name for name in names if not valued(sheets, name)], len(names) - len(shown)
    more = f". {left} more scores, {len(none)} of them undefined, are in the table of all" if left else ""
    caption = "All scores" if everything else "The scores that decide"
    return Table(f"{caption}, each with its 95 % interval over examples{more}", heads, rows)


def gap_tables(scores: Json) -> list[Table]:
    """The gaps to the retrained model, where there is one."""
    models = [name for name in ORDER if name in scores["gaps"]]
    if not models:
        return []
    names = scores["gaps"][models[0]]
    rows = [[named(name), *(in_full(scores["gaps"][model].get(name)) for model in models)] for name in names]
    found = distance_unit(scores)
    what = "Points of difference" if found == "points" else f"Difference, {found},"
    caption = f"{what} to the retrained model; the original's is what doing nothing leaves"
    if "retrained again" in models:
        caption += ", a second retrained model's is chance"
    return [Table(caption, ["", *models], rows)]


def models_of(scores: Json) -> list[str]:
    """The models that were scored, in the order of every table."""
    return [name for name in ORDER if name in scores["models"]]


def distance_unit(scores: Json) -> str:
    """Of the average gap to the retrained model."""
    return next((gaps["average_gap"]["unit"] for gaps in scores["gaps"].values() if "average_gap" in gaps), "points")


def distances(scores: Json) -> dict[str, float]:
    """Average gap to the retrained model, of the models that have one."""
    found = {name: gaps.get("average_gap") for name, gaps in scores["gaps"].items()}
    return {name: gap["value"] for name, gap in found.items() if gap is not None and gap["value"] is not None}


def reasons(undefined: Mapping[str, str]) -> list[str]:
    """Why numbers are undefined, each reason once, with the names that it is of."""
    return [f"{'; '.join(names)}: undefined. {reason}" for reason, names in said_of(undefined).items()]


def said_of(said: Mapping[str, str]) -> dict[str, list[str]]:
    """What is said -> the names that it is said of."""
    found: dict[str, list[str]] = {}
    for name, what in said.items():
        found.setdefault(what, []).append(name)
    return found


def half_width(found: Json, factor: float, places: int) -> str:
    """The wider side of the 95 % interval, as `±` beside the value; empty where there is none."""
    middle, low, high = found["value"], found["low"], found["high"]
    return "" if None in (middle, low, high) else f"±{factor * max(high - middle, middle - low):.{places}f}"


def most_counted(sheets: Iterable[Mapping[str, Json]], titles: Mapping[str, str]) -> str:
    """What n is of every score, each n once: of the model that has most."""
    known = list(sheets)
    found = {title: max((x[key]["n"] for x in known if key in x), default=0) for key, title in titles.items()}
    return "; ".join(f"{', '.join(names)} {n}" for n, names in said_of({k: str(n) for k, n in found.items()}).items())
