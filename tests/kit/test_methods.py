"""A method that breaks one promise is told by the name of that promise; and the kit asks for nothing but torch."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from unweave import METHODS, Method
from unweave.errors import ConfigurationError
from unweave.losses import Ascent
from unweave.rules import Fixed
from unweave.testing import PROPERTIES, Violation, check_method
from unweave.testing.method import blobs


def own(task: Any, original: nn.Module) -> Method:
    return Method(Ascent(task.nll), task.nll, Fixed(0.5, 1.0), "ours")


def descends(task: Any, original: nn.Module) -> Method:
    return replace(own(task, original), forget=task.nll)


def stands(task: Any, original: nn.Module) -> Method:
    return replace(own(task, original), rule=Fixed(0.0, 0.0))


def nan(task: Any, original: nn.Module) -> Method:
    return replace(own(task, original), forget=lambda model, batch: task.nll(model, batch) * torch.nan)


def raises(task: Any, original: nn.Module) -> Method:
    return replace(own(task, original), forget=lambda model, batch: task.nll(model))


def touches(task: Any, original: nn.Module) -> Method:
    original.eval()
    return own(task, original)


def draws(task: Any, original: nn.Module) -> Method:
    torch.rand(1)
    return own(task, original)


def unnamed(task: Any, original: nn.Module) -> Method:
    return replace(own(task, original), paper=" ")


def remembers(task: Any, original: nn.Module) -> Method:
    """A loss with a memory of its own, which a resume begins anew."""
    calls = itertools.count()
    return replace(own(task, original), forget=lambda model, batch: -task.nll(model, batch) * (1 + 0.01 * next(calls)))


def by_the_back_door(task: Any, original: nn.Module) -> Method:
    """No forget loss, and a retain loss that is about the class to forget."""

    def blob(model: nn.Module, batch: Any) -> Any:
        return task.nll(model, (2.5 * torch.eye(1, 5).expand(len(batch[1]), -1), torch.ones_like(batch[1])))

    return replace(own(task, original), forget=None, retain=blob)


BROKEN = [
    ("forgets", descends),
    ("forgets", by_the_back_door),
    ("steps", stands),
    ("steps", nan),
    ("steps", raises),
    ("resumes", remembers),
    ("no trace", touches),
    ("no trace", draws),
    ("paper", unnamed),
]


@pytest.mark.parametrize(("name", "make"), BROKEN, ids=lambda v: getattr(v, "__name__", v))
def test_a_broken_method_is_told_by_name(name: str, make: Any) -> None:
    original = blobs()[0]
    try:
        with pytest.raises(Violation) as caught:
            check_method(make)
    finally:
        original.train()
    assert caught.value.property == name and str(caught.value).startswith(f"{name}: {PROPERTIES[name]}")


def test_every_property_of_methods_has_a_broken_twin() -> None:
    names = list(PROPERTIES)
    assert {name for name, _ in BROKEN} == {"no trace", *names[names.index("paper") :]}


def test_its_rule_and_its_losses_are_checked_as_well() -> None:
    found = check_method(own)
    assert found["paper"] == found["forgets"] == found["resumes"] == 1
    assert found["per example"] == 2 * 9 and found["resume"] == 1

    def coupled(task: Any, original: nn.Module) -> Method:
        centred = lambda model, batch: (v := task.nll(model, batch)).mean() - 2 * v  # noqa: E731
        return replace(own(task, original), forget=centred)

    with pytest.raises(Violation, match=r"^uncoupled"):
        check_method(coupled)


def test_a_row_by_name_and_what_is_neither() -> None:
    assert check_method("gru") == check_method(METHODS["gru"])
    for given in ("grus", 3, lambda: None):
        with pytest.raises(ConfigurationError, match=r"make must be a function \(task, original\) -> Method"):
            check_method(given)  # type: ignore[arg-type]


def test_the_kit_asks_for_no_test_library() -> None:
    code = "import sys, unweave.testing; print([n for n in ('pytest', 'hypothesis', 'sklearn') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", "beyond what the library itself imports"


def test_every_property_is_in_the_reference() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "testing.md").read_text()
    assert not [name for name, text in PROPERTIES.items() if f"| `{name}` | {text} |" not in page]
