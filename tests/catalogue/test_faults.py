"""No row of the catalogue takes a misspelt option or a number that is none: it is refused when the row is made."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from torch import nn

from tests._toys import TEXT_ONLY
from unweave import METHODS, Language, Vision
from unweave.errors import ConfigurationError

HYPERPARAMETERS = [
    (name, parameter, hint)
    for name, row in METHODS.items()
    for parameter, hint in get_type_hints(row).items()
    if parameter not in ("task", "original", "return")
]


def literals(hint: Any) -> list[str]:
    parts = get_args(hint)
    return list(parts) if get_origin(hint) is Literal else [o for part in parts for o in literals(part)]


@pytest.mark.parametrize(("name", "parameter", "hint"), HYPERPARAMETERS)
def test_what_it_cannot_be(name: str, parameter: str, hint: Any) -> None:
    task = Language() if name in TEXT_ONLY else Vision()
    wrong = [math.nan, *(option[:-1] for option in literals(hint))]
    for value in wrong:
        with pytest.raises(ConfigurationError, match=rf"^{parameter} must be .*; found {value!r}"):
            METHODS[name](task, nn.Linear(2, 2), **{parameter: value})


def test_the_table_is_complete() -> None:
    assert len(HYPERPARAMETERS) == 97 and len([1 for *_, hint in HYPERPARAMETERS if literals(hint)]) == 28
