"""The tables of docs/how-to-read-the-evidence.md, in Markdown.

python benchmarks/evidence/table.py benchmarks/results/evidence/digits-wrong.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NAMES = {
    "original": "*original*",
    "retrained": "*retrained*",
    "hamu_q": "HAMU-Q",
    "hamu_u": "HAMU-U",
    "eupmu": "EUPMU",
    "unilateral_surgery": "UnilateralSurgery",
    "ofmu": "OFMU",
    "finetune": "fine-tune",
    "graddiff": "GradDiff",
    "random_label": "random labels",
    "scrub": "SCRUB",
}
Json = Mapping[str, Any]


def main() -> None:
    for name in sys.argv[1:]:
        found = json.loads(Path(name).read_text(encoding="utf-8"))
        methods = {NAMES[key]: value for key, value in found["methods"].items()}
        for head, row in (
            (("gap in points", "UA", "RA", "TA", "MIA AUC", "average", "of an exact method", "ToW"), gaps),
            (
                ("over runs", "worst decile of T", "differ", "on retain", "KLoM", "F", "epsilon at least"),
                over_runs,
            ),
            (("attacks", "U-LiRA", "worst decile", "audit", "refuted", "epsilon at least"), attacks),
            (
                ("share of the original's", "left", "relearning", "from holdout", "int4", "buckets", "seconds"),
                recovered,
            ),
        ):
            print("\n| " + " | ".join(head) + " |\n|---" + "|---:" * (len(head) - 1) + "|")
            for title, value in methods.items():
                print("| " + " | ".join([title, *row(value)]) + " |")


def gaps(found: Json) -> list[str]:
    """Signed, each with half of its Welch interval."""
    metrics, average = found["gaps"]["metrics"], found["gaps"]["average_gap"]
    cells = [f"{_signed(m['value'])} ± {(m['high'] - m['low']) / 2:.1f}" for m in metrics.values()]
    return [*cells, f"{average['value']:.1f}", _band(average["null"]), f"{found['gaps']['ToW']['value']:.3f}"]


def over_runs(found: Json) -> list[str]:
    """Each with its null band where an exact method does not read 0."""
    forget, retain = (found["per_example"][side] for side in ("forget", "retain"))
    worst = forget["overall"]["worst_decile"]
    epsilon = found["epsilon"]
    return [
        f"{worst['value']:.1f} ({_band(worst['null'])})",
        f"{forget['found']} of {forget['n']}",
        f"{retain['found']} of {retain['n']}",
        _with_band(found["klom"]),
        _with_band(found["forgetting_score"]),
        "undefined" if epsilon["value"] is None else f"{epsilon['value']:.2f} of {epsilon['ceiling']:.2f}",
    ]


def attacks(found: Json) -> list[str]:
    """U-LiRA over all shadows; the audit's mean AUC over its draws, and how many of them refute."""
    shadow, draws = found["u_lira"], found["audit"]
    mean = sum(each["auc"]["value"] for each in draws) / len(draws)
    epsilon = max(each["epsilon"] for each in draws)
    refuted = sum(each["refuted"] for each in draws)
    told = ["not run"] * 2 if shadow is None else [_with_band(shadow["auc"]), _with_band(shadow["worst"])]
    return [
        *told,
        f"{mean:.2f} ({_band(draws[0]['auc']['null'])})",
        f"{refuted} of {len(draws)}",
        f"{epsilon:.2f} of {draws[0]['ceiling']:.2f}",
    ]


def recovered(found: Json) -> list[str]:
    """Shares with their intervals; what rounding to four bits leaves as it was; processor time of one unlearning."""
    shares = [found["left"], found["relearned"]["records"], found["relearned"]["holdout"], found["int4"]]
    cells = [
        "undefined" if each["value"] is None else f"{each['value']:.2f} ({each['low']:.2f} to {each['high']:.2f})"
        for each in shares
    ]
    return [*cells, f"{100 * found['unchanged']:.0f} %", f"{found['cpu_seconds']:.2f}"]


def _signed(value: float) -> str:
    return f"{value:+.1f}"


def _with_band(each: Json) -> str:
    return "undefined" if each["value"] is None else f"{each['value']:.2f} ({_band(each['null'])})"


def _band(null: Json) -> str:
    return f"{null['low']:.2f} to {null['high']:.2f}"


if __name__ == "__main__":
    main()
