"""What a round of OFMU says of itself, what it does where something is 0 or no number, and its difference step."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.rules._functions import logistic, negated, objectives, quadratic
from tests.rules._ofmu import CENTRAL, FORGET_Z, PROBLEMS, RETAIN_Z, STARTS, functions
from unweave.data.pairs import Pair
from unweave.objectives import Objectives
from unweave.rules import OFMU

UNIT = [[1.0, 0.0], [0.0, 1.0]]


def problem(name: str = "Q", **options: Any) -> Objectives:
    """The worked example at its start."""
    forget, retain = functions(PROBLEMS[name])
    return objectives(STARTS[name], negated(forget), retain, **options)[1]


def point(seen: Objectives) -> list[float]:
    return seen.parameters[0].tolist()


@pytest.mark.parametrize("start", ["warm", "lookahead", "literal"])
@pytest.mark.parametrize("inner_steps", [0, 1, 3])
def test_the_losses_of_a_round_are_those_before_it(inner_steps: int, start: Any) -> None:
    """What the inner loop itself does to them is no part of what was found."""
    seen = problem()
    expected = seen.losses().tolist()
    step = OFMU(inner_steps=inner_steps, inner_lr=0.1, start=start).backward(seen)
    assert step.losses.tolist() == pytest.approx(expected, rel=1e-12)
    assert inner_steps == 0 or seen.losses().tolist() != pytest.approx(expected) or start != "warm"


def test_without_a_penalty_the_outer_direction_is_what_the_weights_say() -> None:
    seen = problem()
    step = OFMU(inner_lr=0.1, penalty=0.0).backward(seen)
    found = seen.direction()[0].clone()
    f, r = (g[0] for g in seen.gradients()[1])
    ((w_f, w_r),) = step.weights.tolist()
    torch.testing.assert_close(found, w_f * f + w_r * r)


def test_a_radius_takes_the_place_of_every_step_length() -> None:
    """No lr is asked for; the outer step is per unit of gradient as long as all inner ones together."""
    seen = problem()
    seen.lr, seen.radius = None, 0.3
    before, scales, move = seen.snapshot()[0], list[float](), seen.move

    def noted(direction: Any, scale: float) -> None:
        scales.append(-scale)
        move(direction, scale)

    seen.move = noted  # type: ignore[method-assign]
    step = OFMU(0.0, 3, penalty=0.0).backward(seen)
    assert len(scales) == 3 and len(set(scales)) == 3
    assert step.lr == pytest.approx(sum(scales), rel=1e-12)
    assert float((seen.snapshot()[0] - before).norm()) <= 0.3 * (1 + 1e-9)


def test_a_step_length_of_0_moves_nothing() -> None:
    """The first step of a warm-up."""
    seen = problem()
    seen.lr = 0.0
    OFMU().backward(seen)
    assert point(seen) == list(STARTS["Q"])


def test_a_forget_gradient_that_is_0_goes_no_part_of_the_radius() -> None:
    seen = objectives((0.2, -0.5), negated(quadratic(UNIT, [0.2, -0.5])), quadratic(UNIT, [1.0, 1.0]))[1]
    seen.radius = 0.3
    step = OFMU(penalty=0.0).backward(seen)
    assert step.lr == 0.0 and point(seen) == [0.2, -0.5]


@pytest.mark.parametrize("curvature", ["exact", "forget_only"])  # around a zero the cosine jumps: no differences
@pytest.mark.parametrize("gone", ["forget", "retain", "both"])
def test_a_gradient_that_is_0_has_no_similarity_and_no_penalty_of_it(curvature: Any, gone: str) -> None:
    """At the point itself, without an inner loop: `g_r + 2 rho H_u g_u`, where H = -1 of the forget objective."""
    here, there = [0.2, -0.5], [1.0, 1.0]
    centres = [here if gone in (side, "both") else there for side in ("forget", "retain")]
    seen = objectives(here, negated(quadratic(UNIT, centres[0])), quadratic(UNIT, centres[1]))[1]
    OFMU(1.0, 0, penalty=0.25, curvature=curvature, strict=True).backward(seen)
    g_u, g_r = (torch.tensor(here) - torch.tensor(c) for c in centres)
    expected = g_r.double() + 0.5 * g_u.double()
    torch.testing.assert_close(seen.direction()[0], expected, rtol=1e-6, atol=1e-6)


def undefined(t: Tensor) -> Tensor:
    """0, and its derivative is no number: the square root of 0 times something."""
    return (0.0 * t).sum().sqrt()


def test_an_inner_step_that_is_no_number_is_not_taken() -> None:
    """The outer step starts where the inner loop came to."""
    looks = itertools.count()

    def forget(t: Tensor) -> Tensor:
        return -quadratic(UNIT, [1.0, 0.0])(t) + (undefined(t) if next(looks) else 0.0)

    for broken, expected in ((negated(undefined), [0.2, -0.5]), (forget, [0.2 + 0.1 * -0.8, -0.5 + 0.1 * -0.5])):
        seen = objectives((0.2, -0.5), broken, quadratic(UNIT, [1.0, 1.0]))[1]
        OFMU(0.0, 3, 0.1, penalty=0.0).backward(seen)
        assert point(seen) == pytest.approx(expected)
        assert seen.direction()[0].tolist() == pytest.approx([x - 1.0 for x in expected])


def test_an_outer_step_that_is_no_number_takes_the_inner_loop_back() -> None:
    seen = objectives((0.2, -0.5), negated(quadratic(UNIT, [1.0, 0.0])), undefined)[1]
    OFMU(0.0, 3, 0.1).backward(seen)
    assert point(seen) == [0.2, -0.5] and seen.direction()[0].isnan().all()


def test_a_curvature_that_is_no_number_is_left_out() -> None:
    """`|x|^(3/2)` at 0 has a gradient and no second derivative: what the guard keeps is the retain gradient."""
    forget = lambda t: -(t.abs() ** 1.5).sum()  # noqa: E731
    seen = objectives((0.0, 2.0), forget, quadratic(UNIT, [1.0, 1.0]))[1]
    OFMU(0.1, 0, penalty=0.1, curvature="exact").backward(seen)
    assert seen.direction()[0].tolist() == [-1.0, 1.0]


def curved(scale: float, curvature: str, dtype: torch.dtype = torch.float64, start: Any = STARTS["L"]) -> Tensor:
    """The outer direction with `rho = 1`, of problem L with its parameters measured in units of `scale`."""
    forget, retain = functions(PROBLEMS["L"])

    def inside(function: Callable[[Tensor], Tensor]) -> Any:
        return lambda m, batch: function(m().double() / scale).expand(len(batch))

    model = objectives([scale * x for x in start], forget, retain)[0].to(dtype)
    batch = [torch.zeros(1)]
    seen = Objectives(model, (inside(negated(forget)), inside(retain))).at(Pair(batch, batch))
    OFMU(1.0, 0, penalty=scale**2, **{**CENTRAL, "curvature": curvature}).backward(seen)  # type: ignore[arg-type]
    return seen.direction()[0].double() * scale


def error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e6])
def test_differences_of_differences_are_good_to_four_digits_in_every_unit(scale: float) -> None:
    """Both steps are 1e-5 of the parameters' norm: 1e-16 of rounding becomes 1e-11, then 1e-6 of what is small here."""
    assert error(curved(scale, "finite"), curved(scale, "exact")) < 1e-4


def test_float32_takes_a_longer_difference_step() -> None:
    """1e-3 of the norm; of one of 1e-5 nothing but rounding would be left."""
    start = (1.5, -2.0)
    assert error(curved(1.0, "finite", torch.float32, start), curved(1.0, "exact", start=start)) < 0.05


def test_differences_have_a_step_where_all_parameters_are_0() -> None:
    seen = objectives((0.0, 0.0), *(logistic(z) for z in (FORGET_Z, RETAIN_Z)))[1]
    g_r = seen.gradient(1)[1][0].clone()
    OFMU(1.0, 0, penalty=1.0, curvature="finite").backward(seen)
    found = seen.direction()[0]
    assert found.isfinite().all() and 0.0 < float((found - g_r).norm()) <= float(g_r.norm()) * (1 + 1e-9)
