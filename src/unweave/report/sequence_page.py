"""The page of a sequence: every request, what later ones did to it, and the budget that all share."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unweave.contract import state_of
from unweave.report import first, plots
from unweave.report.contract import SAID, SHORT
from unweave.report.page import Page, Plot, Section, Table, Verdict, number

Json = Mapping[str, Any]
STILL = {"met": "met", "missed": "not met", "undecided": "not shown"}


def read(directory: Path) -> Page:
    """The page of a sequence's directory.

    Raises:
        ConfigurationError: what it says was changed since it was written.
    """
    from unweave.run import seal

    path = directory / "sequence.json"
    sequence = json.loads(path.read_text(encoding="utf-8"))
    seal.check(path, sequence)
    requests = sequence["requests"]
    tests = (
        f"{sum(len(r['retests']) for r in requests)} tests. A request regressed if its forget clauses were met when "
        "its own run ended and are not after a later one."
    )
    return Page(
        title=f"{len(requests)} requests in a row",
        lead=f"Report of {first.dated(str(sequence['created']))}",
        first=first.of_sequence(sequence),
        verdicts=_verdicts(sequence),
        sections=[
            Section("Requests", tables=[_requests(requests)], plots=_budget(requests)),
            Section("Tested again", tests, [_retests(requests)]),
        ],
    )


def _verdicts(sequence: Json) -> list[Verdict]:
    requests = sequence["requests"]
    lost = [test["id"] for test in requests[-1]["retests"] if test["regressed"]] if requests else []
    short = [f"{SHORT[state_of(r)]}: {r['id']}" for r in requests if state_of(r) != "met"]
    return [
        Verdict("Status", sequence["status"], "good" if sequence["status"] == "done" else "bad"),
        Verdict("Contracts", "; ".join(short) or "all met", "bad" if short else "good"),
        Verdict("Regressions", f"still there: {', '.join(lost)}" if lost else "none", "bad" if lost else "good"),
        Verdict("Budget left", "–" if not requests else f"{100 * requests[-1]['left']:.0f} %", "plain"),
        Verdict("Advice", sequence["advice"], "note"),
    ]


def _requests(requests: Sequence[Json]) -> Table:
    columns = ["request", "what", "examples", "steps", "seconds", "contract", "budget left", "ended", "directory"]
    rows = [
        [
            *(r["id"], r["text"], str(r["forget"]), str(r["steps"]), number(r["seconds"], 1), SAID[state_of(r)]),
            f"{100 * r['left']:.0f} %",
            r["reason"] + (f"; repaired: {', '.join(r['repaired'])}" if r["repaired"] else ""),
            r["directory"],
        ]
        for r in requests
    ]
    return Table("In the order in which they were unlearned", columns, rows)


def _budget(requests: Sequence[Json]) -> list[Plot]:
    if not requests:
        return []
    x, left = list(range(len(requests) + 1)), {"left": [1.0, *(r["left"] for r in requests)]}
    drawing = plots.lines("Utility budget left", x, left, y="share", x_name="requests")
    return [Plot(drawing, "Share of the keep clauses' limits that their bounds leave, against the first original.")]


def _retests(requests: Sequence[Json]) -> Table:
    """One row per request, one column per model that came of the sequence."""
    found = [{test["id"]: _cell(test) for test in after["retests"]} for after in requests]
    rows = [[r["id"], *(after.get(r["id"], "") for after in found)] for r in requests]
    return Table("Forget clauses after each request", ["", *(f"after {r['id']}" for r in requests)], rows)


def _cell(test: Json) -> str:
    values = ", ".join(number(clause["measured"]) for clause in test["clauses"])
    return f"{values} ({'REGRESSED' if test['regressed'] else STILL[state_of(test)]})"
