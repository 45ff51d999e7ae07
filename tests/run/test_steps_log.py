"""What is written down: every step as one line of plain JSON, hardness as its definition says."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch

from unweave.diagnosis import thresholds
from unweave.loop import Record
from unweave.rules import HAMU
from unweave.rules._base import Step
from unweave.run.steps_log import StepLog, hardness, line, read_steps
from unweave.store import write_json


def step(cosine: float, weights: tuple[float, float] = (1.0, 0.0), blocks: int = 1) -> Step:
    """Gradients of norm 2 (forget) and 3 (retain), spread evenly over equal blocks."""
    gram = torch.tensor([[4.0, 6 * cosine], [6 * cosine, 9.0]], dtype=torch.float64) / blocks
    w = torch.tensor([weights], dtype=torch.float64)
    return Step(torch.tensor([-1.5, 0.25]), w.expand(blocks, 2), gram.expand(blocks, 2, 2))


def test_a_line_is_plain_json_with_everything_in_it() -> None:
    record = Record(7, step(-0.5), 0.1, True, torch.tensor([-0.2, math.inf]), 0.01, "note")
    row = json.loads(json.dumps(line(record), allow_nan=False))
    assert row["step"] == 7 and row["losses"] == [-1.5, 0.25] and row["note"] == "note"
    assert row["predicted"] == pytest.approx([-0.4, 0.3])
    assert row["realised"] == [pytest.approx(-0.2), None], "infinity is no JSON"
    assert set(row) >= {"weights", "gramian", "branches", "lr", "radius", "accepted", "cosine", "kappa", "kappa_ratio"}
    assert (row["cosine"], row["kappa"], row["kappa_ratio"]) == (pytest.approx(-0.5), pytest.approx(3.0), None)


def test_a_rule_that_looks_at_losses_only_has_no_hardness() -> None:
    bare = Step(torch.zeros(2), torch.ones(1, 2))
    row = line(Record(1, bare, 0.1, True))
    names = ("gramian", "cosine", "kappa", "kappa_ratio", "predicted", "radius")
    assert [row[name] for name in names] == [None] * 6


@pytest.mark.parametrize("cosine", [-0.9, -0.3, 0.0, 0.5])
@pytest.mark.parametrize("blocks", [1, 4])
@pytest.mark.parametrize("guarantee", ["forget", "retain"])
def test_the_ratio_is_to_the_threshold_of_hamu_at_what_the_step_gains_on_its_own_side(
    cosine: float, blocks: int, guarantee: Literal["forget", "retain"]
) -> None:
    weights, side = (0.6, 0.7), HAMU(guarantee).side
    made = replace(step(cosine, weights, blocks), side=side)
    whole = made.gramian.sum(0) if made.gramian is not None else torch.zeros(2, 2)
    w = torch.tensor(weights, dtype=torch.float64)
    gain = float(whole[side] @ w)  # fall of the guaranteed objective
    rate = gain / float((w @ whole @ w).sqrt())  # per unit of length
    kappa2 = float(thresholds(whole, rate, guarantee)[1])
    assert hardness(made) == pytest.approx((cosine, -6 * cosine, -6 * cosine / kappa2))


def test_steepest_forgetting_and_zero_gradients_have_no_threshold() -> None:
    zero = Step(torch.zeros(2), torch.ones(1, 2, dtype=torch.float64), torch.zeros(1, 2, 2, dtype=torch.float64))
    assert hardness(zero) == (None, 0.0, None)
    assert hardness(step(-0.5, (1.0, 0.0))).ratio is None
    assert hardness(step(-0.5, (0.0, 0.0))).ratio is None


def test_hamu_u_says_its_own_side() -> None:
    """`w = HAMU.weights` at a share c = 1/2 of what is feasible: `kappa_2 = 6 sqrt(3) / 2` for either guarantee."""
    for guarantee in ("forget", "retain"):
        rule = HAMU(guarantee, ratio=0.5, radius=0.1, blocks="model")
        bare = step(-0.6)
        assert bare.gramian is not None
        made = replace(bare, weights=rule.weights(bare.gramian), side=rule.side)
        assert hardness(made) == pytest.approx((-0.6, 3.6, 3.6 / (6 * math.sqrt(3) / 2)))


def test_the_log_is_readable_while_it_grows_and_continues_after_what_it_keeps(tmp_path: Path) -> None:
    path = tmp_path / "steps.jsonl"
    with StepLog(path) as log:
        for number in (1, 2, 3):
            log.on_step(Record(number, step(0.1), 0.1, True), None)  # type: ignore[arg-type]
            assert [row["step"] for row in read_steps(path)] == list(range(1, number + 1))
    with StepLog(path, before=2) as log:
        log.on_step(Record(3, step(0.1), 0.1, True), None)  # type: ignore[arg-type]
        log.sync()
    assert [row["step"] for row in read_steps(path)] == [1, 2, 3]
    path.write_text(path.read_text() + '{"step": 4, "lo')
    assert [row["step"] for row in read_steps(path)] == [1, 2, 3], "a line cut short is left out"
    assert read_steps(tmp_path / "nowhere.jsonl") == []
    with pytest.warns(UserWarning, match="should hold 5 steps and holds 3"), StepLog(path, before=5):
        pass


def test_json_files_are_strict_and_complete_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.json"
    write_json(path, {"a": (1, math.nan, {"b": -math.inf}), 2: True})
    assert json.loads(path.read_text()) == {"a": [1, None, {"b": None}], "2": True}
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text())["2"] is True
    assert [file.name for file in path.parent.iterdir()] == ["a.json"]
