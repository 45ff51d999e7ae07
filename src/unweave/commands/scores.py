"""The table of scores, as it is printed."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Group
from rich.table import Table
from rich.text import Text

from unweave.commands.metrics import RIGHT
from unweave.commands.numbers import Json, reasons
from unweave.report.every_metric import METRICS
from unweave.report.scores import ORDER

_OVER = "[ , ]: 95 % interval over the n examples or prompts, for this model only. unweave metrics NAME: what it is"
_RETRAINED = "as retrained: right is what the column 'retrained' says; away from it, both ways are wrong"
_NO_RETRAINED = (
    "as retrained: right is what a model retrained without the forget set scores. There is none here, so these have no "
    "null level (evaluation.retrained; --logs takes a second log)"
)


def table(scores: Json) -> Group:
    """The scores of every model, the distances to the retrained one last.

    Args:
        scores: of `scores.json`.
    """
    models = [name for name in ORDER if name in scores["models"]]
    return score_table({name: scores["models"][name] for name in models}, scores["gaps"])


def score_table(models: Mapping[str, Mapping[str, Json]], gaps: Mapping[str, Mapping[str, Json]]) -> Group:
    """One row a score: n and the right direction under its name, the interval under every value, reasons below.

    Args:
        models: the scores of each, by name.
        gaps: of those that are compared with the retrained one.
    """
    made = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for column in ("", *models):
        made.add_column(column, overflow="fold")
    names = list(dict.fromkeys(name for sheet in models.values() for name in sheet))
    for name in names:
        found = [sheet.get(name) for sheet in models.values()]
        n = max(score["n"] for score in found if score)
        right = f", {RIGHT[METRICS[name].right]}" if name in METRICS else ""
        head = Text.assemble(name, (f"\nn {n}{right}", "dim"))
        made.add_row(head, *(_cell(score) for score in found))
    shown = _distance(models, gaps)
    if shown:
        made.add_row(*shown)
    told = [*_undefined(models), *_bare(models), _RETRAINED if "retrained" in models else _NO_RETRAINED, _OVER]
    return Group(made, *(Text(note, style="dim") for note in [*told, *_of_distance(gaps)]))


def value_text(score: Json) -> str:
    """The value in its unit: shares in per cent, anything else with three digits."""
    return _plain(score["value"], score["unit"])


def _cell(score: Json | None) -> Text:
    if score is None:
        return Text("–")
    if score["value"] is None:
        return Text("undefined")
    if score["low"] is None:
        return Text.assemble(value_text(score), ("\nno interval", "dim"))
    low, high = (_plain(score[end], score["unit"], short=True) for end in ("low", "high"))
    return Text.assemble(value_text(score), (f"\n[{low}, {high}]", "dim"))


def _plain(value: float, unit: str, *, short: bool = False) -> str:
    if unit == "share":
        return f"{100 * value + 0.0:.1f}{'' if short else ' %'}"
    if unit == "points":
        return f"{value + 0.0:.1f}{'' if short else ' points'}"
    return f"{value + 0.0:.3g}"


def _distance(models: Mapping[str, Mapping[str, Json]], gaps: Mapping[str, Mapping[str, Json]]) -> list[Text]:
    """The row of the average gaps to the retrained model; empty without one."""
    known = {name: gap["average_gap"] for name, gap in gaps.items() if "average_gap" in gap}
    if not known:
        return []
    n = max(gap["n"] for gap in known.values())
    cells = [_cell(known[name]) if name in known else Text("is compared\nwith") for name in models]
    return [Text.assemble("distance", (f"\nn {n}, 0 is right", "dim")), *cells]


def _of_distance(gaps: Mapping[str, Mapping[str, Json]]) -> list[str]:
    if not any("average_gap" in gap for gap in gaps.values()):
        return []
    named = next(gap["average_gap"]["definition"] for gap in gaps.values() if "average_gap" in gap)
    chance = "its null level is that of the second retrained model, which is chance"
    if "retrained again" not in gaps:
        chance = "its null level needs a second retrained model (evaluation.retrained: 2) or unweave evidence"
    return [f"distance: {named}. One model against one has no interval over trainings; {chance}"]


def _undefined(models: Mapping[str, Mapping[str, Json]]) -> list[str]:
    found: dict[str, str] = {}
    for sheet in models.values():
        found = {name: score["reason"] for name, score in sheet.items() if score["value"] is None} | found
    return reasons(found)


def _bare(models: Mapping[str, Mapping[str, Json]]) -> list[str]:
    """What an exact method scores, in words, where there is no interval that could be read instead."""
    names = dict.fromkeys(
        name
        for sheet in models.values()
        for name, score in sheet.items()
        if score["value"] is not None and score["low"] is None and name in METRICS
    )
    return [f"{name}: no interval; an exact method: {METRICS[name].exact}" for name in names]
