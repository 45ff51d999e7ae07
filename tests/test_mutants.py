"""The errors that `make mutants` makes are those that it says, in the place that it says."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = '''\
"""A text of 3 words."""
from typing import Protocol

LIMIT: "list[1]" = 2


class Asked(Protocol):
    def size(self) -> int:
        return 1


def of(x: int, y=False) -> float:
    """At most 7."""
    if x < LIMIT and not y:
        raise ValueError(f"expected {x + 1}")
    values = [min(x, 1.5)]
    values.append(x)
    return -x if y else values[0] * x
'''


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutants_script", ROOT / "scripts" / "mutants.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutants_script"] = module
    spec.loader.exec_module(module)
    return module


def test_every_operator_and_nothing_that_is_no_code(script: ModuleType) -> None:
    found = [(m.line, m.old, m.new) for m in script.mutants("of.py", SOURCE)]
    assert found == [
        (4, "2", "3"),
        (12, "False", "True"),
        (14, "x < LIMIT and not y", "(x < LIMIT or not y)"),
        (14, "x < LIMIT and not y", "(not y)"),
        (14, "x < LIMIT and not y", "(x < LIMIT)"),
        (14, "x < LIMIT", "(x <= LIMIT)"),
        (14, "x < LIMIT", "(x >= LIMIT)"),
        (14, "not y", "(y)"),
        (15, 'raise ValueError(f"expected {x + 1}")', "pass"),
        (16, "min(x, 1.5)", "(x)"),
        (16, "min(x, 1.5)", "(1.5)"),
        (16, "min", "max"),
        (16, "1.5", "3.0"),
        (17, "values.append(x)", "pass"),
        (18, "return -x if y else values[0] * x", "return None"),
        (18, "-x if y else values[0] * x", "(-x)"),
        (18, "-x if y else values[0] * x", "(values[0] * x)"),
        (18, "-x", "(x)"),
        (18, "values[0] * x", "(values[0] / x)"),
        (18, "values[0] * x", "(values[0])"),
        (18, "values[0] * x", "(x)"),
        (18, "0", "1"),
    ]
    assert [m.late for m in script.mutants("of.py", SOURCE)] == [False, False] + [True] * 20


def test_a_mutant_is_the_file_with_one_thing_changed(script: ModuleType) -> None:
    mutants = list(script.mutants("of.py", SOURCE))
    for mutant in mutants:
        lines, changed = SOURCE.splitlines(), mutant.of(SOURCE).splitlines()
        assert [n for n, (a, b) in enumerate(zip(lines, changed, strict=True), 1) if a != b] == [mutant.line]
        ast.parse(mutant.of(SOURCE))
    assert len({m.key for m in mutants}) == len(mutants) > 3
    assert {m.key for m in script.mutants("of.py", SOURCE)}.isdisjoint(
        m.key for m in script.mutants("of.py", SOURCE + "\n")
    )


def test_every_mutant_of_the_core_is_python(script: ModuleType) -> None:
    count = 0
    for name in script.GUARDS:
        for path in sorted((ROOT / "src/unweave" / name).glob("*.py")) or [ROOT / "src/unweave" / name]:
            source = path.read_text()
            for mutant in script.mutants(path.name, source):
                assert mutant.of(source) != source
                if count % 20 == 0:
                    ast.parse(mutant.of(source))
                count += 1
    assert count > 2000


def test_what_guards_the_core_is_there(script: ModuleType) -> None:
    for guards in script.GUARDS.values():
        assert all((ROOT / test).exists() for test in guards.split())
