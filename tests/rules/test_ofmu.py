from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

from tests.reference import ofmu as slow
from tests.rules._ofmu import CONFIG, PROBLEMS, STARTS, penalty, psi, rule, run, twin

# Section 6: theta after both rounds, L_f, L_r at the end, for every reading that the rule offers.
READINGS: dict[str, dict[str, Any]] = {
    "warm": {},
    "lookahead": {"start": "lookahead"},
    "literal": {"start": "literal"},
    "forget_only": {"curvature": "forget_only"},
    "no penalty": {"penalty": 0.0},
    "squared": {"similarity": "squared"},
    "no similarity": {"similarity_weight": 0.0},
    "smoothed": {"smoothing": 0.2},
}
ENDS = {
    ("Q", "warm"): (-0.191927163702, -0.553851507159, -0.677503811995, -0.644329808855, 3.562032346, 1.923159184),
    ("Q", "lookahead"): (0.215415285616, -0.362495044955, 0.257498799854, -0.225944501954, 0.660715523, 1.255061529),
    ("Q", "literal"): (0.187681000969, -0.375020251572, 0.196613175773, -0.251405059800, 0.778020398, 1.267652155),
    ("Q", "forget_only"): (
        -0.191788145199,
        -0.554384632053,
        -0.677588164275,
        -0.645795453860,
        3.564517338,
        1.926493411,
    ),
    ("Q", "no penalty"): (-0.222345673785, -0.567614864279, -0.808183452448, -0.701407537370, 4.149650416, 2.085156127),
    ("Q", "squared"): (-0.194263463635, -0.557941701372, -0.683712331721, -0.650183313696, 3.593617218, 1.937584799),
    ("Q", "no similarity"): (
        -0.195417500000,
        -0.560603437500,
        -0.688389668699,
        -0.655699270928,
        3.619168378,
        1.951015343,
    ),
    ("Q", "smoothed"): (-0.191930355431, -0.553873745211, -0.677536832390, -0.644338907538, 3.562167263, 1.923185859),
    ("L", "warm"): (0.237415246707, -0.273373007990, 0.170203813469, -0.352655313241, 0.730790982, 0.563219101),
    ("L", "lookahead"): (0.317024990478, -0.206470781149, 0.334759811701, -0.211633541731, 0.597596612, 0.533680165),
    ("L", "literal"): (0.315365381367, -0.207830338919, 0.331407250612, -0.214550585380, 0.600079970, 0.534101288),
    ("L", "forget_only"): (
        0.237099311406,
        -0.273194866600,
        0.169228146312,
        -0.352317572425,
        0.731130162,
        0.563592107,
    ),
    ("L", "no penalty"): (0.236354680792, -0.274576108127, 0.166829313044, -0.356792732703, 0.734330401, 0.563851944),
    ("L", "squared"): (0.234487849955, -0.274053926390, 0.165611577798, -0.354246185812, 0.733804976, 0.564581746),
    ("L", "no similarity"): (
        0.225246830910,
        -0.276039548849,
        0.147295303980,
        -0.360443014411,
        0.745839554,
        0.570126215,
    ),
    ("L", "smoothed"): (0.237003146846, -0.274115090376, 0.169979259218, -0.354495700917, 0.731722822, 0.563066293),
}


def closed_form(name: str, reading: str) -> list[slow.Round]:
    """The slow twin's rounds for a reading."""
    options = READINGS[reading]
    problem = twin(
        PROBLEMS[name],
        options.get("similarity_weight", 0.1),
        squared="similarity" in options,
        delta=options.get("smoothing", 0.0),
    )
    config = CONFIG | {"rho0": options.get("penalty", CONFIG["rho0"])}
    return slow.run(
        problem,
        np.array(STARTS[name]),
        reading=options.get("start", "warm"),
        forget_only=options.get("curvature") == "forget_only",
        **config,
    )


@pytest.mark.parametrize(("name", "reading"), ENDS)
@pytest.mark.parametrize("finite", [False, True])
def test_every_reading(name: str, reading: str, finite: bool) -> None:
    """Exact to 1e-9, by differences to 1e-6; the twin and the specification's digits."""
    options = dict(READINGS[reading])
    if finite and reading != "forget_only":
        options["curvature"] = "finite"
    tolerance = 1e-6 if finite or reading == "forget_only" else 1e-9
    found = run(PROBLEMS[name], STARTS[name], rule(CONFIG, **options), CONFIG)
    expected = [r.outer.tolist() for r in closed_form(name, reading)]
    for a, b in zip(found, expected, strict=True):
        assert a == pytest.approx(b, rel=tolerance, abs=1e-12)
    golden = ENDS[name, reading]
    assert [*expected[0], *expected[1]] == pytest.approx(golden[:4], rel=0, abs=6e-13)
    problem = twin(PROBLEMS[name], 0.1)
    end = [problem.forget.value(np.array(found[1])), problem.retain.value(np.array(found[1]))]
    assert end == pytest.approx(golden[4:], rel=0, abs=2e-6 if tolerance > 1e-9 else 6e-10)


def test_every_reading_is_here() -> None:
    assert len(ENDS) == 2 * len(READINGS)


# p = grad Phi, H_f p, (Hess cos) p, (Hess Phi) p, grad F at rho = .05
UNITS = {
    "Q": [
        (-1.834200728094, -0.862628872612),
        (-4.099715892494, -1.779729236659),
        (-0.635156987137, 1.162204488972),
        (-4.036200193780, -1.895949685557),
        (0.246379980622, -2.499594968556),
    ],
    "L": [
        (-0.388353543045, -0.324413072776),
        (-0.136837005792, -0.251134639774),
        (0.569500245422, -0.543359624705),
        (-0.193787030334, -0.196798677304),
        (-0.307307627346, 0.156606778382),
    ],
}


@pytest.mark.parametrize("name", UNITS)
def test_unit_quantities(name: str) -> None:
    problem, start = PROBLEMS[name], STARTS[name]
    p, h = psi(problem, start), penalty(problem, start)
    h_f = penalty(problem, start, curvature="forget_only")
    g_r = torch.tensor(twin(problem, 0.1).retain.gradient(np.array(start)))
    found = [p, h_f, (h_f - h) / 0.1, h, g_r + 0.1 * h]
    tolerances = [1e-12, 1e-8, 1e-7, 1e-12, 1e-12]  # H_f p is by differences
    for value, golden, tolerance in zip(found, UNITS[name], tolerances, strict=True):
        assert value.tolist() == pytest.approx(golden, rel=0, abs=max(tolerance, 6e-13))


def test_iterates_of_the_inner_loop() -> None:
    """The warm reading's inner points, with the outer step of length 0 taken away."""
    golden = {
        "Q": [(0.016579927191, -0.586262887261), (-0.207342449318, -0.691356462204)],
        "L": [(0.261164645696, -0.232441307278), (0.220390256229, -0.266902226841)],
    }
    for name, points in golden.items():
        for steps, point in enumerate(points, 1):
            (found,) = run(PROBLEMS[name], STARTS[name], rule(CONFIG, inner_steps=steps), {"K": 1, "eout": 0.0})
            assert found == pytest.approx(point, rel=0, abs=6e-13)
            assert found == pytest.approx(closed_form(name, "warm")[0].inner[steps].tolist(), rel=1e-12)


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("delta", [0.0, 0.3])
def test_the_twin_is_the_derivative(name: str, squared: bool, delta: float) -> None:
    """grad Phi and (Hess Phi) p of the twin against differences of Phi: the sign of every term."""
    problem, t = twin(PROBLEMS[name], 0.4, squared=squared, delta=delta), np.array(STARTS[name])
    assert problem.grad_phi(t) == pytest.approx(slow.differences(problem.phi, t), rel=1e-7)
    p = problem.grad_phi(t)
    along = slow.differences(lambda x: float(p @ problem.grad_phi(x)), t)
    assert problem.hess_phi(t, p) == pytest.approx(along, rel=1e-6)
    options: Any = {"similarity_weight": 0.4, "similarity": "squared" if squared else "cosine", "smoothing": delta}
    assert psi(PROBLEMS[name], STARTS[name], **options).tolist() == pytest.approx(p, rel=1e-10)
    found = penalty(PROBLEMS[name], STARTS[name], **options)
    assert found.tolist() == pytest.approx(problem.hess_phi(t, p), rel=1e-10)


def test_golden_runs(vectors: Any) -> None:
    """6 random problems; every reading exact to 1e-9 of |theta|, by differences to 1e-6, and both curvatures."""
    cases, checked = vectors("ofmu"), 0
    for case in cases:
        options = {
            "similarity_weight": case["beta"],
            "similarity": {"cos": "cosine", "cos2": "squared"}[case["similarity"]],
        }
        for reading, (curvature, tolerance) in product(
            ("warm", "lookahead", "literal"), (("exact", 1e-9), ("finite", 1e-6))
        ):
            asked = rule(case["config"], start=reading, curvature=curvature, **options)
            found = run(case["problem"], case["theta0"], asked, case["config"])[-1]
            expected = case["theta"][reading]
            assert found == pytest.approx(expected, rel=0, abs=tolerance * math.hypot(*expected)), reading
            checked += 1
        asked = rule(case["config"], curvature="forget_only", **options)
        found = run(case["problem"], case["theta0"], asked, case["config"])[-1]
        expected = case["theta"]["warm_hf"]
        assert found == pytest.approx(expected, rel=0, abs=1e-6 * math.hypot(*expected))
        checked += 1
    assert (len(cases), checked) == (6, 42)


def test_one_sided_differences_are_good_to_five_digits() -> None:
    for name in PROBLEMS:
        found = run(PROBLEMS[name], STARTS[name], rule(CONFIG, curvature="forget_only", one_sided=True), CONFIG)[-1]
        expected = closed_form(name, "forget_only")[-1].outer
        assert found == pytest.approx(expected, rel=1e-5)
        assert found != pytest.approx(expected, rel=1e-12)


def test_an_uncapped_penalty_relearns_and_a_cap_keeps_it_from_that() -> None:
    """Section 2: `rho` doubles; beyond .675 the outer step undoes the ascent. L_f after each round."""
    golden = (1.92, 3.62, 6.08, 8.00, 5.87, 0.52, 0.41)
    config = CONFIG | {"K": 7}
    value = twin(PROBLEMS["Q"], 0.0).forget.value
    rows = {}
    for cap in (math.inf, 0.2):
        asked = rule(config, similarity_weight=0.0, penalty_max=cap)
        rows[cap] = [value(np.array(t)) for t in run(PROBLEMS["Q"], STARTS["Q"], asked, config)]
        assert asked.rho == pytest.approx(min(0.05 * 2**7, cap))
    assert rows[math.inf] == pytest.approx(golden, rel=0, abs=6e-3)
    assert all(b > 1.3 * a for a, b in zip(rows[0.2], rows[0.2][1:], strict=False)), rows
