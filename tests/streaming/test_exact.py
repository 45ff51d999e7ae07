"""Whatever is kept of the two gradients, the steps are the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.streaming._problems import BY_BLOCK, BY_MODEL, MICRO, MODELS, STEPS, network, outcome, pairs
from unweave.streaming import Memory

RULES = BY_MODEL | BY_BLOCK
MEMORIES: list[Memory] = ["lean", "least"]
Case = tuple[str, str, str, str]


def drawn(count: int) -> list[Case]:
    """Every value of every axis, in combinations that a seed draws."""
    generator = torch.Generator().manual_seed(5)
    axes = (list(RULES), list(MODELS), list(MICRO), list(STEPS))
    orders = [
        [axis[int(i)] for _ in range(-(-count // len(axis))) for i in torch.randperm(len(axis), generator=generator)]
        for axis in axes
    ]
    return list(zip(*(order[:count] for order in orders), strict=True))


CASES = drawn(60)


def test_the_cases_have_everything() -> None:
    for axis, all_of in enumerate((RULES, MODELS, MICRO, STEPS)):
        assert {case[axis] for case in CASES} == set(all_of)


def run(case: Case, memory: Memory) -> dict[str, Any]:
    rule, model, micro, step = case
    start = network(model)
    return outcome(start, memory, RULES[rule](), STEPS[step](start), pairs(MICRO[micro]))


def assert_same(found: dict[str, Any], kept: dict[str, Any], what: str) -> None:
    assert found["moved"] and found["notes"] == kept["notes"], what
    tensors = [
        {**each["model"], **{name: each[name] for name in ("losses", "gramian", "lr")}} for each in (found, kept)
    ]
    torch.testing.assert_close(*tensors, rtol=1e-7, atol=1e-9, equal_nan=True, msg=lambda m: f"{what}: {m}")
    assert found["rule"] == pytest.approx(kept["rule"], rel=1e-7, abs=1e-9, nan_ok=True), what


@pytest.mark.parametrize("case", CASES, ids=", ".join)
def test_lean_and_least_take_the_steps_of_fast(case: Case) -> None:
    kept = run(case, "fast")
    for memory in MEMORIES if case[0] in BY_MODEL else MEMORIES[:1]:
        assert_same(run(case, memory), kept, memory)


@pytest.mark.parametrize("memory", MEMORIES)
def test_the_same_run_twice_is_bit_for_bit_the_same(memory: Memory) -> None:
    one, other = (run(("hamu_q", "tied, training", "both", "trust"), memory)["model"] for _ in range(2))
    assert one.keys() and all(one[name].equal(other[name]) for name in one)
