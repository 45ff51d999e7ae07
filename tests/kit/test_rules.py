"""A rule that breaks one promise is told by the name of that promise; a right one passes."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from unweave.errors import ConfigurationError
from unweave.rules import HAMU, Fixed, GradientRule, LossRule, PCGrad, Rule, Step
from unweave.testing import PROPERTIES, Violation, check_rule


@dataclass
class Sum(GradientRule):
    """`g_u + g_r`, as `how` would have it."""

    how: Callable[[Tensor], Any] = lambda g: torch.ones(len(g), 2, dtype=torch.float64)

    def weights(self, gramian: Tensor) -> Any:
        return self.how(gramian)


@dataclass
class Counted(LossRule):
    """Adds 1 to the retain weight after every step, and keeps the count where `kept` says."""

    kept: bool = True
    count: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.hidden: Any = 0

    def weights(self, losses: Tensor) -> Tensor:
        return torch.tensor([1.0, 1.0 + (self.count if self.kept else self.hidden)], dtype=torch.float64)

    def observe(self, objectives: object) -> None:
        self.count, self.hidden = (self.count + 1, 0) if self.kept else (0, self.hidden + 1)


@dataclass
class Unplain(Fixed):
    last: Any = field(default=None, init=False)

    def observe(self, objectives: object) -> None:
        self.last = {"seen": [object()]}


@dataclass
class Reads(Fixed):
    """Says that it reads no forget loss, and does."""

    needs_losses = True

    @property
    def needs_forget_loss(self) -> bool:
        return False

    def weights(self, losses: Tensor) -> Tensor:
        return losses.new_tensor([1.0, 2.0 if bool(losses[0] < 1) else 1.0])


@dataclass
class Backwards(Rule):
    """A rule with a backward of its own, up the sum of the objectives."""

    sign: float = -1.0

    def backward(self, objectives: Any) -> Step:
        losses, (f, r) = objectives.gradients()
        objectives.write([self.sign * (a + b) for a, b in zip(f, r, strict=True)])
        return Step(losses, torch.ones(1, 2, dtype=torch.float64))


def ones(g: Tensor) -> Tensor:
    return torch.ones(len(g), 2, dtype=torch.float64)


def zeroed(g: Tensor) -> Tensor:
    g.zero_()
    return ones(g)


def drawn(g: Tensor) -> Tensor:
    return ones(g) * (1 + torch.rand(1, dtype=torch.float64))


def draws_and_drops(g: Tensor) -> Tensor:
    random.random()
    return ones(g)


def unguarded(g: Tensor) -> Tensor:
    """PCGrad's projection without a guard: NaN where a gradient is 0."""
    c = g[:, 0, 1].clamp_max(0)
    return torch.stack([1 - c / g[:, 0, 0], 1 - c / g[:, 1, 1]], -1)


def squared(g: Tensor) -> Tensor:
    """Lengths to the eighth power: beyond float64 at 1e-12."""
    w = 1 / g.diagonal(dim1=1, dim2=2).pow(16)
    return torch.where(g.diagonal(dim1=1, dim2=2) > 0, w, 0.0)


def by_place(g: Tensor) -> Tensor:
    return ones(g) + torch.arange(len(g))[:, None] % 2


def absolute(g: Tensor) -> Tensor:
    return torch.stack([torch.ones(len(g)).double(), 1 / (1 + g[:, 1, 1])], -1)


def still(g: Tensor) -> Tensor:
    return torch.stack([torch.zeros(len(g)).double(), (g[:, 0, 1] < 0).double()], -1)


BROKEN: list[tuple[str, Rule, dict[str, Any]]] = [
    ("shape", Sum(lambda g: ones(g)[0]), {}),
    ("shape", Sum(lambda g: ones(g).float()), {}),
    ("shape", Sum(lambda g: [1.0, 1.0]), {}),
    ("shape", Sum(lambda g: g[:, 7, 7]), {}),
    ("untouched", Sum(zeroed), {}),
    ("deterministic", Sum(drawn), {}),
    ("deterministic", Sum(draws_and_drops), {}),
    ("zero gradients", Sum(unguarded), {}),
    ("finite", Sum(squared), {}),
    ("blocks", Sum(by_place), {}),
    ("descends", Sum(lambda g: -ones(g)), {}),
    ("descends", Sum(still), {}),
    ("descends", Fixed(forget=-1.0), {}),
    ("descends", Fixed(forget=0.0, retain=0.0), {}),
    ("descends", Backwards(), {}),
    ("scale", Sum(absolute), {"degree": 1}),
    ("scale", Sum(), {"degree": 0}),
    ("never raises", Sum(), {"never_raises": ["retain"]}),
    ("front", Sum(lambda g: ones(g) / 100), {}),
    ("forget unseen", Reads(), {}),
    ("plain state", Unplain(), {}),
    ("resume", Counted(kept=False), {}),
    ("golden", Sum(), {"golden": [((1.0, 0.0), (0.0, 1.0), (1.0, 2.0))]}),
    ("golden", Fixed(), {"golden": [((1.0, 2.0), (), (1.0, 2.0))]}),
]


@pytest.mark.parametrize(("name", "rule", "claims"), BROKEN, ids=lambda v: v if isinstance(v, str) else "")
def test_a_broken_rule_is_told_by_name(name: str, rule: Rule, claims: dict[str, Any]) -> None:
    with pytest.raises(Violation) as caught:
        check_rule(rule, **claims)
    assert caught.value.property == name, str(caught.value)
    text = str(caught.value)
    assert text.startswith(f"{name}: {PROPERTIES[name]}") and caught.value.seed == 7
    assert all(f"  {part}" in text for part in ("case:", "expected:", "found:", "to do:")) and caught.value.advice
    if name in ("zero gradients", "never raises", "scale") and isinstance(rule, GradientRule):
        assert caught.value.gramian is not None and caught.value.gramian.shape == (2, 2)


@pytest.mark.parametrize("rule", [Sum(ones), Counted(), Backwards(sign=1.0), Fixed(0.5, 2.0)])
def test_right_ones_pass_and_are_left_as_they_were(rule: Rule) -> None:
    state, random_state = rule.state_dict(), torch.get_rng_state()
    found = check_rule(rule, golden=[((1.0, 0.0), (0.0, 1.0), (1.0, 1.0))] if isinstance(rule, Sum) else ())
    assert found["resume"] == found["plain state"] == 1 and found["descends"] > 0
    assert rule.state_dict() == state and torch.get_rng_state().equal(random_state)


def test_what_is_claimed_is_counted() -> None:
    found = check_rule(PCGrad(), degree=1, never_raises=["retain"], but=["tiny", "huge"], front=False, seed=3)
    assert (found["scale"], found["never raises"], found.seed) == (4 * 54, 54 - 8, 3) and "front" not in found


def test_a_fixed_radius_does_not_end_on_the_front_and_need_not_claim_it() -> None:
    rule = HAMU("retain", split="joint", radius=0.1)
    with pytest.raises(Violation, match=r"^front"):
        check_rule(rule)
    assert check_rule(rule, front=False)["finite"] > 0


def test_what_is_no_rule_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"rule must be a rule, .*found the class PCGrad"):
        check_rule(PCGrad)  # type: ignore[arg-type]


def test_every_property_of_rules_has_a_broken_twin() -> None:
    assert {name for name, *_ in BROKEN} == set(list(PROPERTIES)[: list(PROPERTIES).index("golden") + 1])
