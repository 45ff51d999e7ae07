"""Every metric object says what it is; every score of a sheet has one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from unweave.audit import attacks, runs
from unweave.audit.attacks import divergence, epsilon, forgetting, population, ulira
from unweave.audit.canaries import verdict
from unweave.audit.every_metric import METRICS
from unweave.evaluation.metric import Metric
from unweave.evaluation.outputs import Outputs
from unweave.evaluation.scores import ROWS, SHEET, score_outputs
from unweave.modalities import read
from unweave.run.runner import run


def outputs(seed: int, labels: list[int]) -> Outputs:
    generator = torch.Generator().manual_seed(seed)
    label = torch.tensor(labels * 10)
    return Outputs(torch.randn(len(label), 3, generator=generator), label)


def test_every_score_of_a_sheet_has_its_metric() -> None:
    whole = score_outputs(outputs(0, [2, 2, 2]), outputs(1, [0, 1, 1]), outputs(2, [0, 1, 2]))
    assert list(whole) == list(SHEET), "a class is forgotten whole: all scores that there are"
    for name, score in whole.items():
        assert (score.definition, score.unit) == (SHEET[name].definition, SHEET[name].unit)
        low, high = SHEET[name].limits
        assert score.value is None or low <= score.value <= high


def test_what_is_written_is_what_unweave_metrics_says(recipe: Callable[..., Path], tmp_path: Path) -> None:
    run(read(recipe()), tmp_path / "run")
    found = json.loads((tmp_path / "run" / "scores.json").read_text(encoding="utf-8"))["models"]
    for sheet in found.values():
        assert list(sheet) == [row.name for row in ROWS], "digits, and class 3 is forgotten whole"
        for name, score in sheet.items():
            assert (score["definition"], score["unit"]) == (METRICS[name].definition, METRICS[name].unit)
    assert found.keys() == {"original", "unlearned"}


def test_every_metric_object_is_complete() -> None:
    modules = (divergence, epsilon, forgetting, population, ulira, verdict, runs)
    found = [value for module in modules for value in vars(module).values() if isinstance(value, Metric)]
    found += SHEET.values()
    drawn = np.random.default_rng(0).normal(size=(4, 30))
    found += [evidence.metric for evidence in attacks.per_example(drawn, drawn + 1).overall.values()]
    for metric in found:
        named = (metric.definition, metric.unit, metric.right, metric.replicate, metric.needs, metric.undefined_when)
        assert all(named), metric.name
        assert metric.limits[0] < metric.limits[1] and (metric.exact or metric.name not in SHEET)
