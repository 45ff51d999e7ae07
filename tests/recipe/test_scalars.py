"""What a recipe says is what is read; what the two versions of YAML read differently is refused with its line."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from unweave.errors import ConfigurationError
from unweave.modalities import read
from unweave.recipe.yaml_lines import Document, dump, load

Write = Callable[..., Path]
BASE = "data: {source: digits}\nforget: {class: 3}\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("1:30", "1:30"), ("190:20:30", "190:20:30"), ("1_000", "1_000"), ("1_0.5", "1_0.5"), ("0b11", "0b11")),
        *(("yes", "yes"), ("NO", "NO"), ("on", "on"), ("Off", "Off"), ("y", "y"), ("TRUE", True), ("false", False)),
        *(("2026-01-01", "2026-01-01"), ("2026-01-01 10:00:00", "2026-01-01 10:00:00"), ("=", "="), ("<<", "<<")),
        *(("0o17", 15), ("0x1F", 31), ("0", 0), ("-0", 0), ("+7", 7), ("9223372036854775807", 2**63 - 1)),
        *(("~", None), ("null", None), ("", None), ("'~'", "~"), ("1e3", 1000.0), ("-.INF", -math.inf)),
        *(("!!str 7", "7"), ("!!int '7'", 7), ("!!float 7", 7.0), ("!!bool 'true'", True)),
        *(("\u0663", "\u0663"), ("\uff17", "\uff17"), (".", "."), ("-", [None]), ("-.5", -0.5), ("1.5.2", "1.5.2")),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(tmp_path: Path, text: str, value: object) -> None:
    (tmp_path / "recipe.yaml").write_text(f"a: {text}" if text != "-" else "a:\n- ", encoding="utf-8")
    found = load(tmp_path / "recipe.yaml").content["a"]
    assert found == value and type(found) is type(value)
    if text != "-":
        assert Document({}, "recipe").override([f"a={text}"]).content["a"] == value, "a setting is read alike"


REFUSED = {
    "010": "octal or decimal", "-007": "octal or decimal", "00": "octal or decimal",
    "9223372036854775808": "below 2^63", "7" * 6000: "below 2^63", "-18446744073709551616": "below 2^63",
    "0x" + "F" * 5000: "below 2^63", "1e999": "below 1.8e308", "-1e4000": "below 1.8e308",
    "!!bool x": "expected true or false after !!bool, found 'x'", "!!bool yes": "found 'yes'", "!!int ''": "found ''",
    "!!int 010": "octal or decimal", "!!int 1_0": "a whole number", "!!float x": "expected a number",
    "!!timestamp 2026-01-01": "the tag", "!!binary aGk=": "the tag", "!!set {a, b}": "the tag", "!!omap [a: 1]": "tag",
    "!!pairs [a: 1]": "the tag", "!!map 7": "the tag", "!!seq {a: 1}": "the tag", "!!str [a]": "tag", "!own 7": "tag",
    "!!python/name:os.system ''": "the tag", "!!merge <<": "the tag", "!!int [1]": "the tag",
    '"a\\0b"': "a NUL character", '"\\ud83d"': "half of a surrogate pair", "{[a]: 1}": "expected a word as a key",
    "{? {a: 1} : 1}": "expected a word as a key", "{b: 1, b: 2}": "'b' is written twice",
    "[" * 1500 + "]" * 1500: "at most 32 sections", "{a: " * 1500 + "}" * 1500: "at most 32 sections",
    "&x [*x]": "aliases are not supported", "&x {a: *x}": "aliases are not", "{<<: &x {a: 1}, b: *x}": "aliases",
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:20])
def test_what_is_refused_has_its_line_in_a_recipe_and_in_a_setting(tmp_path: Path, text: str) -> None:
    (tmp_path / "recipe.yaml").write_text(f"b: 1\na: {text}\nc: 2\n", encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path / "recipe.yaml")
    assert caught.value.faults[0].startswith("recipe.yaml:2: ") and REFUSED[text] in caught.value.faults[0]
    assert len(caught.value.faults[0]) < 200
    with pytest.raises(ConfigurationError) as caught:
        Document({"b": 1}, "recipe").override([f"a={text}", "b=2"])
    assert caught.value.faults[0].startswith("-s a=") and REFUSED[text] in caught.value.faults[0]


def test_laughter_and_circles_end_before_they_are_built(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    (tmp_path / "recipe.yaml").write_text("\n".join(lines))
    with pytest.raises(ConfigurationError, match="aliases are not supported") as caught:
        load(tmp_path / "recipe.yaml")
    assert len(caught.value.faults) == 99
    with pytest.raises(ConfigurationError, match="at most 32 sections"):
        Document({}, "recipe").override([".".join("a" * 1500) + "=1"])


FILES = {
    "empty": (b"", "expected a mapping"),
    "comment": (b"# nothing\n", "expected a mapping"),
    "several": (b"a: 1\n---\nb: 2\n", "recipe.yaml:2: not valid YAML: .*another document"),
    "latin": (b"a: 1\nb: caf\xe9\n", "cannot be read as a recipe: line 2: the byte 0xe9 is not UTF-8"),
    "utf-16": ("a: 1\n".encode("utf-16"), "cannot be read as a recipe: line 1: this is UTF-16"),
    "bell": (b"a: 1\nb: \x07\n", "recipe.yaml: not valid YAML: line 2: the control character '.x07'"),
    "nul": (b"a: 1\n\nb: \0\n", "line 3: a NUL character"),
    "unclosed": (b"a: 1\nb: [1, 2\n", "recipe.yaml:3: not valid YAML"),
}


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_recipe_at_all(tmp_path: Path, name: str) -> None:
    content, says = FILES[name]
    (tmp_path / "recipe.yaml").write_bytes(content)
    with pytest.raises(ConfigurationError, match=says):
        load(tmp_path / "recipe.yaml")


def test_a_folder_is_no_recipe_and_a_mark_is_no_fault(tmp_path: Path, recipe: Write) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read as a recipe"):
        load(tmp_path)
    assert read(recipe("\ufeff" + BASE)).forget.class_ == 3  # type: ignore[union-attr]


def test_text_is_written_so_that_it_is_read_as_text(tmp_path: Path) -> None:
    """`1e3` was written bare and read back as a number, and the run could not be resumed."""
    texts = [
        "1e3",
        "0o17",
        "010",
        "1:30",
        "yes",
        "null",
        "",
        "~",
        "2026-01-01",
        "1_000",
        "0x1F",
        ".inf",
        "1.",
        "=",
        "true",
    ]
    (tmp_path / "recipe.yaml").write_text(dump({"a": [*texts, 1e-05, 1e300, -7, True, None]}))
    assert load(tmp_path / "recipe.yaml").content["a"] == [*texts, 1e-05, 1e300, -7, True, None]
    assert yaml.safe_load((tmp_path / "recipe.yaml").read_text())["a"] == [*texts, 1e-05, 1e300, -7, True, None]


def test_a_class_by_its_name_comes_back(recipe: Write) -> None:
    first = read(recipe(BASE), ["forget.class=['1e3', '010', 'no', '7', 7]"])
    assert read(recipe(first.to_yaml())) == first
    assert first.forget is not None and first.forget.class_ == ("1e3", "010", "no", "7", 7)


WRONG = {
    "run.seed": ["18446744073709551616", "9223372036854775808", "-1", "1.5", "010", "1e3", "true"],
    "forget.seed": ["18446744073709551616", "-3", "'5'"],
    "evaluation.seed": ["9223372036854775808", "-1"],
    "training.seed": ["18446744073709551616", "-1", "yes"],
    "training.epochs": ["1:30", "1_000", "'3'", "-2", "10000000000000000000000"],
    "run.steps": ["1:30", "1_000", "0b11", "0"],
    "evaluation.quote": ["yes", "off", "1", "no"],
    "output": ["~nobody-of-this-name/x"],
    "data.path": ["~nobody-of-this-name/x", "a" * 5000, '"a\\0b"'],
    "data.source": ["[]", "{1: 2}", "null", "7", "[digits]"],
    "model.network": ["[a]", "{a: 1}", "7", "nowhere.py:Net"],
    "method.name": ["[]", "{}", "null", "7"],
    "step.name": ["[]", "{}", "null"],
    "contract": ["[]", "7", "yes"],
}


@pytest.mark.parametrize("key", WRONG)
def test_wrong_values_are_refused_when_the_recipe_is_read(recipe: Write, key: str) -> None:
    path, refused = recipe(BASE), 0
    for value in WRONG[key]:
        with pytest.raises(ConfigurationError) as caught:
            read(path, [f"{key}={value}"])
        assert all(fault.startswith(("-s ", "recipe.yaml:")) for fault in caught.value.faults), caught.value.faults
        refused += 1
    assert refused == len(WRONG[key])


def test_a_setting_replaces_the_places_of_what_it_replaces(recipe: Write) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(recipe("data: {source: digits}\nforget:\n  class: -1\n"), ["forget={class: -2}"])
    assert caught.value.faults[0].startswith("-s forget={class: -2}: forget.class: ")
