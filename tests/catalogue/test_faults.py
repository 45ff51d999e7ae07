"""No row of the catalogue takes a misspelt option or a number that is none: it is refused when the row is made."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from torch import nn

from tests._denoising import linear
from tests._toys import DIFFUSION_ONLY, TEXT_ONLY
from unweave import METHODS, Diffusion, Language, Task, Vision
from unweave.errors import ConfigurationError, UnsupportedError

HYPERPARAMETERS = [
    (name, parameter, hint)
    for name, row in METHODS.items()
    for parameter, hint in get_type_hints(row).items()
    if parameter not in ("task", "original", "return")
]


def fitting(name: str) -> Task:
    """A task that the row is about."""
    if name in DIFFUSION_ONLY:
        return Diffusion(linear(10), null=3)
    return Language() if name in TEXT_ONLY else Vision()


def literals(hint: Any) -> list[str]:
    parts = get_args(hint)
    return list(parts) if get_origin(hint) is Literal else [o for part in parts for o in literals(part)]


@pytest.mark.parametrize(("name", "parameter", "hint"), HYPERPARAMETERS)
def test_what_it_cannot_be(name: str, parameter: str, hint: Any) -> None:
    task = fitting(name)
    wrong = [math.nan, *(option[:-1] for option in literals(hint))]
    for value in wrong:
        with pytest.raises(ConfigurationError, match=rf"^{parameter} must be .*; found {value!r}"):
            METHODS[name](task, nn.Linear(2, 2), **{parameter: value})


SEVERAL = [name for name in METHODS if sum(name == row for row, *_ in HYPERPARAMETERS) > 1]


@pytest.mark.parametrize("name", SEVERAL)
def test_all_faults_at_once(name: str) -> None:
    """Of the losses, of the rule, and of the row itself, whichever is made first."""
    task = fitting(name)
    wrong = [parameter for row, parameter, _ in HYPERPARAMETERS if row == name]
    with pytest.raises(ConfigurationError) as caught:
        METHODS[name](task, nn.Linear(2, 2), **dict.fromkeys(wrong, math.nan))
    assert sorted(text.split()[0] for text in caught.value.faults) == sorted(wrong)


def test_what_follows_from_a_fault_is_not_told() -> None:
    model = nn.Linear(2, 2)
    for row, arguments, told in (
        ("eupmu", {"budget": 1, "steps": 0}, ["steps must be"]),
        ("eupmu", {"budget": 1, "tolerance": "lots"}, ["tolerance must be", "budget is spread"]),
        ("ce_u", {"skip": -1}, ["skip must be", "CE-U is about texts"]),
    ):
        with pytest.raises(ConfigurationError) as caught:
            METHODS[row](Vision(), model, **arguments)
        assert [text[: len(start)] for text, start in zip(caught.value.faults, told, strict=True)] == told
    with pytest.raises(UnsupportedError, match="CE-U is about texts"):
        METHODS["ce_u"](Vision(), model)


def test_words_to_choose_from_are_among_what_is_tried() -> None:
    assert any(literals(hint) for *_, hint in HYPERPARAMETERS)
