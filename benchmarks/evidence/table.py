"""The tables of docs/how-to-read-the-evidence.md, in Markdown.

python benchmarks/evidence/table.py benchmarks/results/evidence/digits-wrong.json
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtrit

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


def main(names: Sequence[str]) -> None:
    for name in names:
        found = json.loads(Path(name).read_text(encoding="utf-8"))
        methods = {NAMES[key]: value for key, value in found["methods"].items()}
        for head, row in (
            (("gap in points", "UA", "RA", "TA", "MIA AUC", "average", "ToW"), gaps),
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
    """Signed, each with half of its Welch interval; what they come to, with interval and null band."""
    part = found["gaps"]
    cells = [f"{_signed(m['value'])} ± {(m['high'] - m['low']) / 2:.1f}" for m in part["metrics"].values()]
    average = f"{_inside(part['average_gap'], 1)} ({_band(part['average_gap']['null'])})"
    return [*cells, average, f"{_inside(part['ToW'], 3)} ({_band(part['ToW']['null'], 3)})"]


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
    """U-LiRA over all shadows; the audit's mean AUC over its draws, and how many of them refute.

    The null band of the audit is that of one draw.
    """
    shadow, draws = found["u_lira"], found["audit"]
    epsilon = max(each["epsilon"] for each in draws)
    refuted = sum(each["refuted"] for each in draws)
    told = ["not run"] * 2 if shadow is None else [_with_band(shadow["auc"]), _with_band(shadow["worst"])]
    return [
        *told,
        f"{_inside(_over_draws([each['auc'] for each in draws]), 2)} ({_band(draws[0]['auc']['null'])})",
        f"{refuted} of {len(draws)}",
        f"{epsilon:.2f} of {draws[0]['ceiling']:.2f}",
    ]


def recovered(found: Json) -> list[str]:
    """Shares with interval and null band; what rounding to four bits leaves as it was; processor time of one run."""
    shares = [found["left"], found["relearned"]["records"], found["relearned"]["holdout"], found["int4"]]
    cells = ["undefined" if each["value"] is None else f"{_inside(each, 2)} ({_band(each['null'])})" for each in shares]
    return [*cells, f"{100 * found['unchanged']:.0f} %", f"{found['cpu_seconds']:.2f}"]


def _signed(value: float) -> str:
    return f"{value:+.1f}"


def _with_band(each: Json) -> str:
    return "undefined" if each["value"] is None else f"{_inside(each, 2)} ({_band(each['null'])})"


def _inside(each: Json, places: int) -> str:
    """A number and its interval, where it has one."""
    value = f"{each['value']:.{places}f}"
    return value if each["low"] is None else f"{value} [{each['low']:.{places}f}, {each['high']:.{places}f}]"


def _over_draws(found: Sequence[Json]) -> Json:
    """The mean of several draws of the coins, each with a training of its own, and Student's interval; one as it is."""
    if len(found) == 1:
        return found[0]
    values = np.array([each["value"] for each in found])
    half = float(stdtrit(len(values) - 1, 0.975)) * values.std(ddof=1) / math.sqrt(len(values))
    mean = float(values.mean())
    return {"value": mean, "low": max(0.0, mean - half), "high": min(1.0, mean + half)}


def _band(null: Json, places: int = 2) -> str:
    return f"{null['low']:.{places}f} to {null['high']:.{places}f}"


if __name__ == "__main__":
    main(sys.argv[1:])
