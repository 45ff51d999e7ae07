"""What a rule cannot be told: misspelt options and numbers out of range, all of them at once, when it is made."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from unweave import rules
from unweave.arguments import check_fields, fault
from unweave.errors import ConfigurationError, shown
from unweave.rules import EUPMU, HAMU, OFMU, PDU, Alternating, EUPMUCompat, Fixed, Rule, UnilateralSurgery
from unweave.rules.torchjd import AGGREGATORS

EVERY: dict[str, type[Rule]] = {
    name: rule
    for name in rules.__all__
    if inspect.isclass(rule := getattr(rules, name)) and issubclass(rule, Rule) and not inspect.isabstract(rule)
}
FIELDS = [(name, f.name) for name, rule in EVERY.items() for f in fields(rule) if f.init]
OUT: list[tuple[Callable[..., Rule], dict[str, Any]]] = [
    (HAMU, {"rate": -1}),
    (HAMU, {"ratio": 1.0}),
    (HAMU, {"ratio": -0.1}),
    (HAMU, {"radius": 0.0}),
    (HAMU, {"patience": 0}),
    (HAMU, {"patience": 1.5}),
    (HAMU, {"slack": -3}),
    (EUPMU, {"dual_lr": 0.0}),
    (EUPMU, {"budget": -1, "steps": 10}),
    (EUPMU, {"budget": 0.1, "steps": -3}),
    (EUPMU, {"budget": 0.1, "steps": 0}),
    (EUPMU, {"lr": 0.0}),
    (EUPMU, {"multiplier_max": -1}),
    (EUPMUCompat, {"dual_lr": -1}),
    (EUPMUCompat, {"weight_decay": -0.1}),
    (EUPMUCompat, {"floor": -1e-8}),
    (OFMU, {"similarity_weight": -0.1}),
    (OFMU, {"inner_steps": -1}),
    (OFMU, {"inner_steps": 1.5}),
    (OFMU, {"inner_lr": -1}),
    (OFMU, {"penalty": -1}),
    (OFMU, {"penalty_growth": 0.0}),
    (OFMU, {"penalty_max": -1}),
    (OFMU, {"smoothing": -1}),
    (PDU, {"dual_lr": -1}),
    (Alternating, {"forget_steps": 0}),
    (Alternating, {"retain_steps": 0}),
    (Alternating, {"rounds": -1}),
]


def told(make: Callable[..., Any], **arguments: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        make(**arguments)
    return caught.value.faults


def options(rule: type[Rule], name: str) -> list[str]:
    return list(AGGREGATORS) if name == "aggregator" else _within(get_type_hints(rule)[name])


def _within(hint: Any) -> list[str]:
    parts = get_args(hint)
    return list(parts) if get_origin(hint) is Literal else [option for part in parts for option in _within(part)]


@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_no_field_of_any_rule_takes_what_it_cannot_be(name: str, field: str) -> None:
    """NaN, a misspelt option, and a thing of another kind."""
    rule = EVERY[name]
    known = options(rule, field)
    wrong = [math.nan, object(), *(option[:-1] for option in known)]
    for value in wrong:
        text = told(rule, **{field: value})[0]
        assert text.startswith(f"{field} must be ") and shown(value) in text
        if isinstance(value, str):
            assert "Did you mean '" in text and all(repr(option) in text for option in known), text


@pytest.mark.parametrize(("rule", "arguments"), OUT, ids=lambda value: getattr(value, "__name__", str(value)))
def test_out_of_range(rule: Callable[..., Rule], arguments: dict[str, Any]) -> None:
    text = told(rule, **arguments)[0]
    said = {f"{name} must be ": f"found {shown(value)}" for name, value in arguments.items()}
    assert any(text.startswith(begin) and end in text for begin, end in said.items())


def test_all_faults_at_once() -> None:
    wrong = {"guarantee": "forgot", "rate": -1, "ratio": 7, "radius": 0, "split": "x", "infeasible": "x", "slack": -3}
    found = told(HAMU, **wrong)
    assert [text.split()[0] for text in found] == list(wrong)
    assert found[1] == "rate must be a number in [0, inf) or None; found -1."
    assert found[2] == "ratio must be a number in [0, 1) or 'auto'; found 7."
    assert "Did you mean 'forget'?" in found[0]
    assert len(told(EUPMU, tolerance="auto", budget=-1)) == 3


def test_what_every_rule_takes() -> None:
    """The ends of the ranges, integers for numbers, numpy's numbers, and the defaults."""
    import numpy as np

    made = [rule() for rule in EVERY.values()] + [
        HAMU(rate=0, ratio=0, patience=1, slack=0),
        HAMU(rate=np.float32(0.5), patience=np.int64(3)),  # type: ignore[arg-type]
        UnilateralSurgery(-1, blocks="tensor"),
        EUPMU(budget=0.0, steps=1, multiplier_max=math.inf),
        OFMU(0, 0, penalty=0, penalty_max=math.inf),
        Alternating(rounds=0),
        Fixed(-1, 0),
    ]
    assert len(made) == len(EVERY) + 7


def test_types_that_cannot_be_told_are_left_alone() -> None:
    assert fault("x", "y", list[int]) == "" and fault("x", 3, None | str) == ""
    assert fault("x", True, int) and fault("x", 1, bool) and not fault("x", None, float | None)
    with pytest.raises(ConfigurationError, match=r"^this too$"):
        check_fields(Fixed(), "", "this too")
