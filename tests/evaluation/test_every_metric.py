"""Every number of `evidence.json` has an entry in `unweave metrics`, and every entry is a number of some file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.report.card import evidence_directory
from unweave.audit.every_metric import EVERY, METRICS
from unweave.evaluation.metric import Metric

PARTS = ("gaps", "per_example", "attacks", "over_runs", "robustness")
EVIDENCE = {"metric", "sizes", "value", "low", "high", "interval", "null", "p", "reason"}
BARE = {  # keys of numbers that are no evidence of their own -> what they are
    "tost": "tost",
    **{"found": "examples_found", "smallest_p": "smallest_p", "t": "example_t", "ecdf": "example_t", "p": "example_p"},
    "margins": "example_margin",
    **{"roc": "tpr_at_0.01", "records": "ulira_auc", "ceiling": "epsilon_ceiling", "unchanged": "unchanged"},
    **{"curves": "relearned_confidence", "halfway": "relearned_confidence", "accuracy": "relearned_accuracy"},
    "half_life": "half_life",
    **{name: name for name in ("UA", "FA", "RA", "TA", "MIA_AUC")},
}
SIZES = {"n", "row", "label", "learned", "scored", "steps", "rate", "margin", "exchangeable", "equivalent"}
"""What was counted, settled or named: no score."""


def test_every_number_of_an_evidence_file_is_described(tmp_path: Path) -> None:
    file = evidence_directory(tmp_path) / "evidence.json"
    found = json.loads(file.read_text(encoding="utf-8"))
    told, bare = [], set()
    for part in PARTS:
        for key, value in _numbers(found[part], part):
            if isinstance(value, dict):
                told.append(value["metric"])
            elif key not in SIZES:
                assert key in BARE, f"{part}: a number {key} = {value} that nothing describes"
                bare.add(BARE[key])
    for metric in told:
        assert METRICS[metric["name"]].as_dict() == metric, f"{metric['name']} is another number than it is listed as"
    names = {metric["name"] for metric in told}
    assert bare == set(BARE.values()) <= METRICS.keys()
    listed = {name for place in EVERY if place.startswith("evidence") for name in EVERY[place]}
    assert listed - names - bare == {"auc_above_one_retrained"}, "on_triple's own, over examples"


def test_every_entry_says_all_that_it_has_to() -> None:
    for metric in METRICS.values():
        assert isinstance(metric, Metric)
        assert all((metric.definition, metric.unit, metric.needs, metric.undefined_when)), metric.name
        assert metric.right in ("higher", "lower", "as null") and metric.limits[0] < metric.limits[1]
    distinct = {(name, metric.definition) for every in EVERY.values() for name, metric in every.items()}
    assert len(METRICS) == len(distinct)


def _numbers(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Each evidence as a whole, under its key, and every other number under the nearest key that says what it is."""
    if isinstance(value, dict) and value.keys() >= EVIDENCE:
        yield key, {name: value[name] for name in EVIDENCE}
        key, value = "", {name: each for name, each in value.items() if name not in EVIDENCE}
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _numbers(each, key if key in {*BARE, *SIZES} else name)
    elif isinstance(value, list):
        for each in value:
            yield from _numbers(each, key)
    elif isinstance(value, (int, float)):
        yield key, value
