"""The contract as it is printed: what was promised, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from unweave.contract import State, Verdict, state_of
from unweave.contract.reading import WORDS

Json = Mapping[str, Any]
READ = (
    "keep: how much worse than the original, and the upper bound that decides, over the n examples of a set that no "
    "step trained on; forget: the forget set itself, whose scores have their intervals in the table of scores"
)
UNSEEN = (
    "unseen: an AUC against examples like those to forget, which are not the unseen examples of the table of scores: "
    "its AUC differs"
)


def promise(clauses: Sequence[Verdict], notes: Sequence[str], *, as_json: bool) -> None:
    """Prints the clauses with their limits, before anything is known of them."""
    made = Table(box=None, pad_edge=False)
    for column in ("contract", "", "limit"):
        made.add_column(column, overflow="fold")
    for each in clauses:
        made.add_row(each.side, Text(_name(each.clause, each.group)), _number(each.limit))
    console = Console(stderr=as_json, highlight=False)
    console.print(made)
    for note in notes:
        console.print(note, style="dim", markup=False)


def kept(rows: Sequence[Json], reading: Json) -> Group:
    """One line a clause, of `contract` and `contract_reading` in `summary.json`: limit, what each set says, state."""
    made = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for column in ("contract", "", "limit", "guard set", "final set", ""):
        made.add_column(column, overflow="fold")
    for row in rows:
        said = state_of(row)
        places = (_read(row[place]) for place in ("guard", "final"))
        made.add_row(row["side"], Text(_name(row["clause"], row["group"])), _number(row["limit"]), *places, word(said))
    spent = f"{reading['looks']} looks, {reading['rollbacks']} rollbacks; reading took {100 * reading['share']:.1f} %"
    legend = [READ, *([UNSEEN] if any(row["clause"].startswith("unseen") for row in rows) else [])]
    notes = [Text(note, style="dim") for note in (*legend, *reading["notes"])]
    return Group(made, *notes, Text(f"{spent} of the run's time", style="dim"))


def word(state: State) -> Text:
    """A state as it stands at the end of a line."""
    return Text("met") if state == "met" else Text(WORDS[state], style="bold red")


def _name(clause: str, group: str | None) -> str:
    return clause if group is None else f"{clause} ({group})"


def _read(found: Json | None) -> str:
    if found is None:
        return "-"
    bound = "" if found["bound"] is None else f" (at most {_number(found['bound'])})"
    return f"{_number(found['measured'])}{bound}, n {found['n']}"


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4g}"
