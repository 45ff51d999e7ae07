"""Tables of numbers on the console: none without its n, and what is not beside it is said below, each thing once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import rich.table
from rich.console import Group
from rich.text import Text

from unweave.audit.every_metric import METRICS
from unweave.evaluation.figures import interval, unit, value
from unweave.report.numbers import COLUMNS, Columns, Json, deciding, definition, models_of, reasons, said_of, valued

_OVER = "[ , ]: 95 % interval over the n examples or prompts, for this model only. unweave metrics NAME: what it is"
_RETRAINED = "as retrained: right is what the column 'retrained' says; away from it, both ways are wrong"
_NO_RETRAINED = (
    "as retrained: right is what a model retrained without the forget set scores. There is none here, so these have no "
    "null level (evaluation.retrained, of texts evaluation.reference or model.base; --logs takes a second log)"
)


def table(columns: Sequence[str], rows: Sequence[Sequence[str | Text]], notes: Sequence[str] = ()) -> Group:
    """Rows of cells that fold where the terminal is narrow, and notes under them."""
    made = rich.table.Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    return Group(made, *(Text(note, style="dim") for note in notes))


def evidence_table(
    title: str, rows: Mapping[str, Json], columns: Columns = COLUMNS, lacking: Mapping[str, str] | None = None
) -> Group:
    """One row a number, and under them why some are undefined, what n counts and what has no interval.

    Args:
        title: of the numbers' names.
        rows: as `Score.as_dict` gives them, by name.
        columns: what is said of each.
        lacking: numbers that were not formed at all, and why.
    """
    known = {name: each for name, each in rows.items() if each["value"] is not None}
    undefined = {name: each["reason"] for name, each in rows.items() if each["value"] is None}
    sizes = said_of({name: " / ".join(each["sizes"]) for name, each in known.items()})
    most, *others = sorted(sizes.items(), key=lambda found: -len(found[1])) or [("", [])]
    notes = reasons({**undefined, **(lacking or {})}) + ([f"n: {most[0]}"] if most[0] else [])
    notes += [f"n of {'; '.join(names)}: {what}" for what, names in others]
    if bare := [name for name, each in known.items() if each["low"] is None]:
        notes.append(f"no interval: {'; '.join(bare)}. The null band says what chance gives")
    cells = [[name, *(read(each) for read in columns.values())] for name, each in rows.items()]
    return table([title, *columns], cells, notes)


def scores_of(scores: Json, *, everything: bool = False) -> Group:
    """The scores of every model in `scores.json` that decide, or all; the distances to the retrained one last."""
    return score_table({name: scores["models"][name] for name in models_of(scores)}, scores["gaps"], everything)


def score_table(
    models: Mapping[str, Mapping[str, Json]], gaps: Mapping[str, Mapping[str, Json]], everything: bool = True
) -> Group:
    """One row a score: n and the right direction under its name, the interval under every value, reasons below.

    Args:
        models: the scores of each, by name.
        gaps: of those that are compared with the retrained one.
        everything: all scores; otherwise those that decide and have a value, and the others are named below.
    """
    rows, undefined, bare = [], dict[str, str](), []
    names = list(dict.fromkeys(name for sheet in models.values() for name in sheet))
    shown = names if everything else deciding(models)
    left = [name for name in names if name not in shown]
    for name in shown:
        if not everything and not valued(models, name):
            undefined[name] = next(sheet[name]["reason"] for sheet in models.values() if name in sheet)
            continue
        found = [sheet.get(name) for sheet in models.values()]
        known = [score for score in found if score]
        right, _, exact = definition(name)
        told = f"\nn {max(score['n'] for score in known)}{f', {right}' if right else ''}"
        rows.append([Text.assemble(name, (told, "dim")), *map(_cell, found)])
        if lacking := [score["reason"] for score in known if score["value"] is None]:
            undefined[name] = lacking[0]
        if name in METRICS and any(score["value"] is not None and score["low"] is None for score in known):
            bare.append(f"{name}: no interval; an exact method: {exact}")
    if left:
        none = [name for name in left if not valued(models, name)]
        bare.append(f"{len(left)} more scores, {len(none)} of them undefined: --all shows them")
    notes = [*reasons(undefined), *bare, _RETRAINED if "retrained" in models else _NO_RETRAINED, _OVER]
    if apart := {name: gap["average_gap"] for name, gap in gaps.items() if "average_gap" in gap}:
        away = {name: _cell(gap, f" {unit(gap)}") for name, gap in apart.items()}
        head = Text.assemble("distance", (f"\nn {max(gap['n'] for gap in apart.values())}, 0 is right", "dim"))
        rows.append([head, *(away.get(name, Text("is compared\nwith")) for name in models)])
        notes.append(_of_distance(next(iter(apart.values()))["definition"], "retrained again" in gaps))
    return table(["", *models], rows, notes)


def _cell(score: Json | None, word: str = "") -> Text:
    if score is None or score["value"] is None:
        return Text("–" if score is None else "undefined")
    under = "no interval" if score["low"] is None else interval(score)
    return Text.assemble(value(score), word, (f"\n{under}", "dim"))


def _of_distance(named: str, again: bool) -> str:
    chance = "its null level is that of the second retrained model, which is chance"
    if not again:
        chance = "its null level needs a second retrained model (evaluation.retrained: 2) or unweave evidence"
    return f"distance: {named}. One model against one has no interval over trainings; {chance}"
