"""The contract on the page: every clause with its limit and what was measured, and the budget over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unweave.contract import headline, state_of
from unweave.contract.reading import WORDS
from unweave.report import plots
from unweave.report.page import Plot, Section, Table, Verdict, number
from unweave.run.steps_log import counted

Json = Mapping[str, Any]
TITLE = "The contract"
SHORT: Mapping[str, str] = {"missed": "missed", "undecided": "not shown"}
SAID = {"met": "met", "missed": "MISSED", "undecided": "not shown"}
"""Of a whole contract; a clause has the words of `contract.reading`, as on the console."""
COLUMNS = ["", "limit", "guard set", "bound", "n", "final set", "bound", "n", "kept"]


def sections(summary: Json) -> list[Section]:
    """The section of a run that had a contract; none for one that had not."""
    if not summary["contract"]:
        return []
    reading = summary["contract_reading"]
    text = (
        "Keep clauses bound how much worse the model may be than the original, example by example, on retain "
        "examples that no step trained on. The guard set steered the run; the final set was read once, at the end, and "
        "steered nothing unless a note below says that the two are one. "
        f"The contract was read {counted(reading['looks'], 'time', 'times')}, every "
        f"{counted(reading['every'], 'step', 'steps')}{_back(reading['path'])}, in "
        f"{reading['seconds']:.2f} s: {100 * reading['share']:.1f} % of the run. "
        f"{counted(reading['rollbacks'], 'time', 'times')} a clause broke and the run went back to the last state that "
        "kept all."
    )
    raced = [_race(summary["race"])] if "race" in summary else []
    notes = [Table("Notes", ["", ""], [[str(i), note] for i, note in enumerate(reading["notes"], 1)])]
    caption = "Each clause with what was measured and its confidence bound"
    clauses = Table(caption, COLUMNS, [_row(row) for row in summary["contract"]])
    tables = [clauses, *raced, *(notes if reading["notes"] else [])]
    return [Section(TITLE, text, tables, _path(reading["path"]))]


def _back(path: Sequence[Json]) -> str:
    """How many of the looks were on the way back to where it was just forgotten: those of a step that had one."""
    more = len(path) - len({look["step"] for look in path})
    return f" and {counted(more, 'time', 'times')} on the way back to where it was just forgotten" if more > 0 else ""


def verdicts(summary: Json, against: bool) -> list[Verdict]:
    """One statement for the strip: kept, or what was missed, or that nothing was promised."""
    clauses = summary["contract"]
    if not clauses:
        return [Verdict("Contract", "none: nothing was promised, and nothing stopped the run", "note")]
    words = [f"{row['side']}: {row['clause']}, {WORDS[state_of(row)]}" for row in clauses]
    short = told(clauses)
    if not short:
        enough = ", which is not enough here" if against else ""
        return [
            Verdict("Contract", f"kept: all {len(clauses)} clauses met{enough}", "plain" if against else "good", words)
        ]
    return [Verdict("Contract", f"{headline(clauses)}; {short}", "bad", words)]


def told(clauses: Sequence[Json]) -> str:
    """The clauses that are not met, by what became of them; empty if all are."""
    found = {said: [r["clause"] for r in clauses if state_of(r) == state] for state, said in SHORT.items()}
    return "; ".join(f"{said}: {'; '.join(named)}" for said, named in found.items() if named)


def _row(row: Json) -> list[str]:
    name = f"{row['side']}: {row['clause']}" + (f" ({row['group']})" if row["group"] is not None else "")
    cells = [name, number(row["limit"], 4)]
    for place in ("guard", "final"):
        found = row[place]
        if found is None:
            cells += ["–", "–", "–"]
        else:
            cells += [number(found["measured"], 4), number(found["bound"], 4), str(found["n"])]
    return [*cells, WORDS[state_of(row)]]


def _race(race: Json) -> Table:
    """Who raced to be the method of the run (`method: auto`), and what each leg cost."""
    spent = sum(leg["gradients"] for leg in race["legs"])
    caption = (
        f"The method was chosen on the guard set: {race['winner']} of {len(race['among'])}, in {spent} gradients of "
        f"{race['gradients']}. So the guard set's level is divided by {race['tried']}; the final set was not read."
    )
    rows = [
        [f"round {leg['round']}, {leg['method']}", str(leg["gradients"]), str(leg["steps"]),
         number(100 * leg["forgotten"], 3), number(100 * leg["used"], 3), "yes" if leg["met"] else "no", leg["ended"]]
        for leg in race["legs"]
    ]  # fmt: skip
    return Table(caption, ["", "gradients", "steps", "forgotten, %", "budget used, %", "all clauses", "ended"], rows)


def _path(path: Sequence[Json]) -> list[Plot]:
    if not path:
        return []
    x = [look["step"] for look in path]
    series = {name: [look[name] for look in path] for name in ("used", "forgotten")}
    back = [step for step, look in zip(x, path, strict=True) if look["rolled_back"]]
    drawing = plots.lines("Budget used, forgetting reached", x, series, y="share", levels_at={"budget, target": 1.0})
    text = (
        "Used: of the budget of the keep clause that is nearest to its limit; 0 is the bound of a model that did not "
        "change, 1 the limit. Forgotten: how far forgetting came, 1 is enough."
    )
    return [Plot(drawing, f"{text} Rolled back after step {', '.join(map(str, back))}." if back else text)]
