"""Every row of the catalogue passes the kit that is there for methods of others."""

from __future__ import annotations

import inspect

import pytest

from tests._toys import DIFFUSION_ONLY, TEXT_ONLY, TORCHJD
from unweave.losses import Ascent
from unweave.methods import METHODS, PAPERS, Method
from unweave.rules import GradientRule
from unweave.tasks import Classification
from unweave.testing import check_method
from unweave.testing.method import FIRST, Run, blobs

ROWS = sorted(set(METHODS) - TEXT_ONLY - DIFFUSION_ONLY)
KEEPS_THE_FORGET_SET = {"finetune"}
CLOSED = {"hamu_q", "hamu_u", "unilateral_surgery", "pcgrad", "gru", "ngdiff", "munba"}
GRADIENT_ROWS = sorted(CLOSED | TORCHJD)
STATEFUL = {"scrub", "pdu", "eupmu", "eupmu_compat", "ofmu"}


def build(name: str) -> Method:
    if name in TORCHJD:
        pytest.importorskip("torchjd")
    return METHODS[name](Classification(), blobs()[0])


def test_every_row_is_here_and_has_a_paper() -> None:
    assert set(PAPERS) == set(METHODS) >= TEXT_ONLY | TORCHJD
    for name, function in METHODS.items():
        assert function.__name__ == name
        assert (function.__doc__ or "").split("\n")[0].rstrip().endswith(".")
        taken, original, *own = inspect.signature(function).parameters.values()
        assert (taken.name, original.name) == ("task", "original")
        assert all(p.default is not p.empty for p in own), name
        paper = PAPERS[name]
        assert "arXiv:" in paper or "ICLR" in paper


@pytest.mark.parametrize("name", ROWS)
def test_a_row_passes_the_kit(name: str) -> None:
    method = build(name)
    found = check_method(name)
    assert method.paper == PAPERS[name] and found["resumes"] == found["forgets"] == found["paper"] == 1
    assert (method.forget is None) == (name in KEEPS_THE_FORGET_SET)
    assert found["per example"] == 9 * sum(side is not None for side in (method.forget, method.retain))
    assert found.get("front", 0) == isinstance(method.rule, GradientRule)


@pytest.mark.parametrize("name", ROWS)
def test_the_state_that_a_resume_is_tested_with_moves(name: str) -> None:
    fresh, run = build(name), Run(METHODS[name])
    run.go(FIRST)
    assert (run.method.rule.state_dict() != fresh.rule.state_dict()) == (name in STATEFUL)


def test_the_rows_that_compare_gradient_rules_share_one_forget_loss() -> None:
    methods = {name: build(name) for name in ROWS}
    gradient = {name for name, made in methods.items() if isinstance(made.rule, GradientRule)}
    assert set(GRADIENT_ROWS) <= gradient
    assert all(isinstance(methods[name].forget, Ascent) for name in gradient)
