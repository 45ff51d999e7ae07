"""Writes a demo's table into its page: `python scripts/readme_table.py unweave-demo/demo.json`, or demo_text.json.

The digits stand in README.md, the texts in docs/demos.md.
"""

from __future__ import annotations

import json
import math
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TEXT = {  # column of the demo on texts: its head, decimals, factor
    "distance": ("distance", 1, 1),
    "forget_quality": ("forget quality", 2, 1),
    "model_utility": ("model utility", 0, 100),
    "forget_probability": ("forget P", 0, 100),
    "forget_rouge": ("ROUGE", 0, 100),
    "forget_truth_ratio": ("truth ratio", 0, 100),
    "extraction_strength": ("extraction", 0, 100),
    "mia_loss": ("MIA AUC", 0, 100),
    "retain_probability": ("retain P", 0, 100),
    "retain_rouge": ("ROUGE", 0, 100),
}
SCORES = ("UA", "RA", "TA", "MIA_AUC")
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
    low, high = sizes(found["requests"])
    return f"""\
Distance to a retrained model, in points: mean absolute gap over UA (error on the forget set), RA and TA (accuracy on
retain and test set) and the AUC of a membership attack, each over {low} to {high} examples. Italics are the scale:
doing nothing, the reference, and the reference from another seed, which is what chance gives. A row is one training,
so it has no interval; the command prints the four scores with theirs. Bold is the least of the methods. Seconds are
means over the requests. `unweave demo` on {day}, torch {torch}, {seconds:.0f} s for everything."""


def sizes(requests: list[Json]) -> tuple[int, int]:
    """The fewest and the most examples that a score is over."""
    found = [request["rows"][1]["scores"][key]["n"] for request in requests for key in SCORES]
    return min(found), max(found)


def text_table(rows: list[Json]) -> str:
    """Every model's scores on texts; the smallest distance of the methods in bold, the ends of the scale in italics."""
    lines = [f"| | {' | '.join(head for head, _, _ in TEXT.values())} |", "|---|" + "---:|" * len(TEXT)]
    least = min(distance(row) for row in rows if row["kind"] in ("baseline", "headline"))
    for row in rows:
        method = row["kind"] in ("baseline", "headline")
        cells = [
            "undefined" if row[key] is None else f"{factor * row[key]:.{places}f}"
            for key, (_, places, factor) in TEXT.items()
        ]
        cells[0] = f"**{cells[0]}**" if method and distance(row) == least else cells[0]
        lines.append(f"| {row['name'] if method else '*' + row['name'] + '*'} | {' | '.join(cells)} |")
    return "\n".join(lines)


def text_caption(found: Json) -> str:
    day, torch = found["created"][:10], found["environment"]["torch"]
    n = {key: found["rows"][1]["scores"][key]["n"] for key in TEXT if key != "distance"}
    others = ", ".join(f"{n[key]} for {TEXT[key][0]}" for key in n if n[key] != n["forget_probability"])
    return f"""\
In percent, but for the distance (points) and forget quality (a p-value). Distance to a retrained model: mean absolute
gap over these columns without forget quality, and over two more: ROUGE of the forget questions in other words, and the
probability of forget answers after relearning others. Rows in italics are the scale, as above.
n: {n["forget_probability"]} questions, {others}; the command prints the intervals over them. A row is one training.
`unweave demo --text` on {day}, torch {torch}."""


def main() -> None:
    found = json.loads(Path(sys.argv[1]).read_text())
    if "requests" in found:
        page, name, lines = ROOT / "README.md", "demo-table", (table(found["requests"]), caption(found))
    else:
        page, name, lines = (
            ROOT / "docs" / "demos.md",
            "demo-text-table",
            (text_table(found["rows"]), text_caption(found)),
        )
    marks = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", re.DOTALL)
    written, replaced = marks.subn(lambda _: f"\n{lines[0]}\n\n{lines[1]}\n\n", page.read_text())
    if replaced != 1:
        sys.exit(f"{page.name} must hold the two {name} marks once.")
    page.write_text(written)


if __name__ == "__main__":
    main()
