"""The matrix of an edit: golden values, and that nothing near it is better."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from unweave.edit import closed_form
from unweave.edit.matrices import Scales, solved
from unweave.errors import ConfigurationError

CASES = ("uce", "uce_preserve", "rece_style_scales")


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def objective(
    new: Tensor, old: Tensor, erase: Tensor, guide: Tensor, preserve: Tensor, *, lamb: float, e: float, p: float
) -> Tensor:
    """`s_e sum |W* e - W g|^2 + s_p sum |W* p - W p|^2 + lamb |W* - W|^2_F`."""
    edited = (erase @ new.T - guide @ old.T).square().sum()
    kept = (preserve @ new.T - preserve @ old.T).square().sum()
    return e * edited + p * kept + lamb * (new - old).square().sum()


@pytest.mark.parametrize("name", CASES)
def test_golden_values(name: str, vectors: Callable[[str], Any]) -> None:
    every = vectors("diffusion")
    (case,) = [each for each in every["cases"] if each["name"] == name]
    assert case["kind"] == "closed_form"
    assert {each["name"] for each in every["cases"] if each["kind"] == "closed_form"} == set(CASES)
    weight, erase, guide = (torch.tensor(case[key], dtype=torch.float64) for key in ("weight", "edit", "guide"))
    preserve = torch.tensor(case["preserve"], dtype=torch.float64).reshape(-1, weight.shape[1])
    given = {key: each for key, each in case["settings"].items() if each is not None}
    found = closed_form(weight, erase, guide, preserve, **given)
    near = {"rtol": every["tolerance"], "atol": every["tolerance"]}
    torch.testing.assert_close(found, torch.tensor(case["expected"], dtype=torch.float64), **near)
    scales = {"lamb": given["lamb"], "e": given["erase_scale"], "p": given.get("preserve_scale", 1.0)}
    reached = objective(found, weight, erase, guide, preserve, **scales)
    torch.testing.assert_close(reached, torch.tensor(case["objective"], dtype=torch.float64), **near)


@pytest.mark.parametrize("preserved", [0, 7])
def test_fifty_perturbations_do_not_lower_the_objective(preserved: int) -> None:
    weight, erase, guide = normal(5, 6, seed=0), normal(3, 6, seed=1), normal(3, 6, seed=2)
    preserve, scales = normal(preserved, 6, seed=3), {"lamb": 0.3, "e": 2.0, "p": 0.7}
    best = closed_form(weight, erase, guide, preserve, lamb=0.3, erase_scale=2.0, preserve_scale=0.7)
    least = objective(best, weight, erase, guide, preserve, **scales)
    assert least < objective(weight, weight, erase, guide, preserve, **scales)
    others = [best + 10.0 ** -(i % 5) * normal(5, 6, seed=10 + i) for i in range(50)]
    assert all(objective(other, weight, erase, guide, preserve, **scales) > least for other in others)


def test_rows_as_long_as_those_of_a_text_encoder_are_solved_to_the_gradient_of_nothing() -> None:
    """Norm 27 and 77 tokens that are nearly one: a condition number of 1e5 and more."""
    erase = 27 * torch.nn.functional.normalize(normal(1, 32, seed=0) + 0.05 * normal(77, 32, seed=1), dim=1)
    weight, guide, preserve = normal(8, 32, seed=2), normal(77, 32, seed=3), 27 * normal(20, 32, seed=4)
    best = closed_form(weight.float(), erase.float(), guide.float(), preserve.float(), lamb=0.5).requires_grad_()
    arguments = (weight.float().double(), erase.float().double(), guide.float().double(), preserve.float().double())
    value = objective(best, *arguments, lamb=0.5, e=1.0, p=1.0)
    (gradient,) = torch.autograd.grad(value, best)
    size = erase.square().sum() * best.detach().norm()
    assert gradient.norm() / size < 1e-13


def test_a_row_that_is_its_own_guide_changes_nothing() -> None:
    weight, rows = normal(4, 6, seed=0), normal(3, 6, seed=1)
    assert closed_form(weight, rows, rows, normal(2, 6, seed=2)).equal(weight)


def test_companions_minimise_what_they_are_said_to_and_are_edited_with_the_others() -> None:
    weights = [normal(5, 6, seed=0), normal(7, 6, seed=1)]
    erase, guide, preserve = normal(2, 6, seed=2), normal(2, 6, seed=3), normal(4, 6, seed=4)
    scales, ridge = Scales(0.1, 1.0, 0.1), 0.2
    first = solved(weights, erase, guide, [preserve], scales)
    second = solved(weights, erase, guide, [preserve], scales, rounds=1, ridge=ridge)
    third = solved(weights, erase, guide, [preserve], scales, rounds=2, ridge=ridge)
    assert [len(each.erase) for each in (first, second, third)] == [2, 4, 6]
    assert second.erase[:2].equal(erase) and third.erase[:4].equal(second.erase)
    assert third.guide.equal(guide.repeat(3, 1))
    for before, after in ((first, second), (second, third)):
        companions = after.erase[-2:].clone().requires_grad_()
        now = [w + w @ before.shift for w in weights]
        value = sum((companions @ n.T - erase @ w.T).square().sum() for n, w in zip(now, weights, strict=True))
        value = value + ridge * companions.square().sum()
        (gradient,) = torch.autograd.grad(value, companions)
        assert gradient.abs().max() < 1e-10
        new = closed_form(weights[0], after.erase, after.guide, preserve, lamb=0.1, preserve_scale=0.1)
        torch.testing.assert_close(weights[0] + weights[0] @ after.shift, new)


def test_too_little_of_lamb_is_told() -> None:
    rows = 1e10 * torch.ones(3, 4, dtype=torch.float64)
    with pytest.raises(ConfigurationError, match="lamb=1e-300 is too small beside rows of squared length 4e\\+20"):
        closed_form(normal(2, 4, seed=0), rows, -rows, rows[:0], lamb=1e-300)
