"""Writes the demo's table into the README: `python scripts/readme_table.py unweave-demo/demo.json`."""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path
from typing import Any

README = Path(__file__).parents[1] / "README.md"
MARKS = re.compile(r"(?<=<!-- demo-table -->\n).*?(?=<!-- /demo-table -->)", re.DOTALL)
Json = dict[str, Any]


def table(requests: list[Json]) -> str:
    """The distance of every model in every request, in points; the smallest of the methods in bold."""
    titles = " | ".join(request["title"] for request in requests)
    lines = [f"| | {titles} | seconds |", "|---|" + "---:|" * (len(requests) + 1)]
    least = [min(distance(row) for row in q["rows"] if row["kind"] == "method") for q in requests]
    for rows in zip(*(q["rows"] for q in requests), strict=True):
        method = rows[0]["kind"] == "method"
        name = rows[0]["name"] if method else f"*{rows[0]['name']}*"
        found = zip(map(distance, rows), least, strict=True)
        cells = [cell(value, method and value == best) for value, best in found]
        seconds = [row["seconds"] for row in rows if row["seconds"] is not None]
        cells.append(f"{sum(seconds) / len(seconds):.1f}" if seconds else "")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def distance(row: Json) -> float:
    return math.inf if row["distance"] is None else row["distance"]


def cell(value: float, bold: bool) -> str:
    text = f"{value:.1f}" if math.isfinite(value) else "undefined"
    return f"**{text}**" if bold else text


def caption(found: Json) -> str:
    day, torch, seconds = found["created"][:10], found["environment"]["torch"], found["seconds"]
    return f"""\
Distance to a retrained model: mean absolute gap, in points, over UA (error on the forget set), RA and TA
(accuracy on retain and test set) and the AUC of a membership attack. Rows in italics are the scale: doing
nothing, the reference, and the reference from another seed. Bold is the least of the methods; seconds are means
over the requests. `unweave demo` on {day}, torch {torch}, {seconds:.0f} s for everything."""


def main() -> None:
    found = json.loads(Path(sys.argv[1]).read_text())
    text = f"\n{table(found['requests'])}\n\n{caption(found)}\n\n"
    page, replaced = MARKS.subn(lambda _: text, README.read_text())
    if replaced != 1:
        sys.exit("README.md must hold the two demo-table marks once.")
    README.write_text(page)


if __name__ == "__main__":
    main()
