"""A page of docs/papers from what an experiment left: `python scripts/paper_table.py papers/hamu-cifar10-rho/small`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from unweave.report.paper_page import FILE, said, table


def page(found: dict[str, Any], command: str) -> str:
    """Claims with their answers, then the table."""
    seen, experiment = table(found), found["experiment"]
    seeds = sorted({row["seed"] for row in found["rows"]})
    lines = [f"# {experiment['title']}", "", f"{experiment['paper']}. {experiment['about'].strip()}", ""]
    lines += [
        f"Scale {found['scale']}, {len(found['rows'])} runs of seeds {', '.join(map(str, seeds))}, "
        f"torch {found['environment']['torch']}, {found['created'][:10]}: `{command}`.",
        *(("", "| claim, at this scale | answer |", "|---|---|") if found["answers"] else ()),
        *(f"| {answer['text']} | {said(answer)} |" for answer in found["answers"]),
        *("", seen.caption, ""),
        "| " + " | ".join(seen.columns) + " |",
        "|" + "---|" * len(seen.columns),
        *("| " + " | ".join(row) + " |" for row in seen.rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    print(page(json.loads((folder / FILE).read_text()), " ".join(sys.argv[2:]) or "unweave papers run"), end="")
