"""Recipes: damaged as text and as trees, and with damaged `-s` settings, read as `unweave run` reads them."""

from __future__ import annotations

import copy
import random
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fuzz._cases import cases
from unweave.errors import UnweaveError
from unweave.modalities import read
from unweave.recipe.recipe import Recipe

_ALL = sorted((Path(__file__).parents[2] / "examples").rglob("*.yaml"))
EXAMPLES = [path for path in _ALL if "papers" not in path.parts]  # grids, and recipes for data that are not here
PIECES = [
    *("!!bool x", "!!int 3", "!!int ''", "!!float 1", "!!timestamp 2026-13-45", "!!binary x=", "!!set {a, b}", "!"),
    *("!!omap [a: 1]", "!!python/name:os.system ''", "!!python/object/apply:os.getcwd []", "!!str 7", "!own {a: 1}"),
    *("!<tag:x,1:y> z", "&a", "*a", "&a [*a]", "<<: *a", "010", "1:30", "0o17", "0b11", "0x1F", "1_000", "yes", "off"),
    *("2026-01-01", "~", "1e999", "-1e-999", ".inf", "-.Inf", ".NaN", "-1", "0", str(2**63), str(2**64)),
    *("9" * 6000, "-" + "8" * 400, "[" * 40, "[" * 1500, "]" * 3, "{" * 40, "[[[[1]]]]", "{1: 2}", "? [a]\n: b"),
    *("---\n", "...\n", "- ", ": ", "\n  ", "\t", "#", "'", '"', "|\n", ">-\n", "%YAML 1.1\n", '"\\0"', '"\\ud800"'),
    *('"\\x07"', "\x07", "\u2028", "\ufeff", "😀", "é", "\x85", "@", "`", "a\\0b", "~nobody-of-this-name/x", "x" * 300),
    *("../" * 40, "none", "auto", "chat", "class", "indices"),
]
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 7, 2**31, 2**63 - 1, 2**63, 2**64, -(2**70), 10**400),
    *(0.0, -0.5, 0.3, 1.0, 1e-300, 1e300, float("inf"), float("-inf"), float("nan")),
    *("", " ", "x", "none", "auto", "chat", "{question}", "{question", "{0.__class__}", "3", "1e3", "yes", "~x/y"),
    *("a" * 5000, "a\nb", "é", "\u200b", "digits", "texts", "tofu", "hamu_q", "trust", "ssd", "over", "*", "["),
    *("owner/name", "/", ".", "..", "random_label", "resnet18", "nowhere.py:Net", "sgd", "unseen", "rows.txt"),
    *([], [[]], [None], [1, "a", {}], ["*"], [[[[[]]]]], {}, {"": 1}, {"name": "npo"}, {"name": []}, {"a": {"b": {}}}),
    *({"class": 1}, {"metric": "loss", "absolute": 1}, [{"metric": "accuracy"}], [{"class": 3}, {"random": 0.1}]),
]
NAMES = [
    "name",
    "seed",
    "class",
    "random",
    "indices",
    "over",
    "lr",
    "steps",
    "path",
    "source",
    "lora",
    "metric",
    "",
    "é",
]
TEXTS = """\
data: {source: texts, path: facts.jsonl, holdout: facts.jsonl, refusals: rows.txt, columns: [q, a], max_length: 64}
requests: [{id: a, ids: rows.txt}, {id: b, indices: rows.txt, seed: 3}]
model: {weights: owner/name, lora: {rank: 4, targets: [q]}, dtype: bfloat16}
"""
IMAGES = """\
data: {source: digits}
forget: {class: [3, 5], mix: 0.5}
model: {network: digits_cnn, parameters: ["*"]}
training: {epochs: 2, lr: 0.05, seed: 1}
method: {name: hamu_q, over: {name: random_label}}
contract: {keep: [{metric: accuracy, absolute: 0.04}], forget: [unseen]}
"""


def by_text(lot: random.Random, text: str) -> str:
    """A few signs, pieces or lines of it changed."""
    for _ in range(lot.randint(1, 4)):
        text = lot.choice([_signs, _lines])(lot, text) or "x"
    return text


def _signs(lot: random.Random, text: str) -> str:
    at, end = sorted(lot.randrange(len(text) + 1) for _ in range(2))
    new = ["", lot.choice(PIECES), chr(lot.randrange(128)), chr(lot.randrange(0x2100))]
    return text[:at] + lot.choice(new) + text[lot.choice([at, min(end, at + 12)]) :]


def _lines(lot: random.Random, text: str) -> str:
    lines = text.split("\n")
    n = lot.randrange(len(lines))
    new = [[], [lines[n]] * 2, ["  " + lines[n]], [lines[n].split(":")[0] + ": " + lot.choice(PIECES)]]
    return "\n".join([*lines[:n], *lot.choice(new), *lines[n + 1 :]])


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [*([path] if path else []), *(place for key, each in inner for place in places(each, (*path, key)))]


def by_tree(lot: random.Random, content: Any) -> Any:
    """A few of its values changed, taken away or put elsewhere."""
    content = copy.deepcopy(content)
    for _ in range(lot.randint(1, 3)):
        if not (every := places(content)):
            break
        *path, key = lot.choice(every)
        parent = content
        for step in path:
            parent = parent[step]
        match lot.randrange(5):
            case 0 | 1:
                parent[key] = copy.deepcopy(lot.choice(VALUES))
            case 2:
                del parent[key]
            case 3 if isinstance(parent, dict):
                parent[lot.choice(NAMES)] = copy.deepcopy(lot.choice(VALUES))
            case _:
                parent[key] = [parent[key]] if lot.random() < 0.5 else {lot.choice(NAMES): parent[key]}
    return content


def setting(lot: random.Random, content: Any) -> str:
    path = list(lot.choice(places(content))) + [lot.choice(NAMES)] * (lot.random() < 0.3)
    value = lot.choice(PIECES) if lot.random() < 0.6 else yaml.safe_dump(lot.choice(VALUES), default_flow_style=True)
    return ".".join(map(str, path)) * lot.choice([1] * 8 + [0, 40]) + "=" * (lot.random() < 0.95) + value


@pytest.mark.parametrize("how", ["text", "tree", "settings"])
def test_a_damaged_recipe_is_a_recipe_or_a_clear_error(how: str, tmp_path: Path) -> None:
    """What is read is read as the same again after it was written out."""
    lot, path, again = random.Random(f"recipes by {how}"), tmp_path / "recipe.yaml", tmp_path / "again.yaml"
    (tmp_path / "rows.txt").write_text("1\n")
    (tmp_path / "facts.jsonl").write_text('{"q": "a", "a": "b"}')
    texts = [*(each.read_text(encoding="utf-8") for each in EXAMPLES), TEXTS, IMAGES]
    for text in texts[-2:]:  # and with all that they leave out
        path.write_text(text)
        texts.append(read(path).to_yaml())
    trees = [yaml.safe_load(text) for text in texts]
    count, right, wanted = 0, 0, cases(150) // 3
    for _ in range(wanted):
        settings: list[str] = []
        which = lot.randrange(len(texts))
        if how == "text":
            path.write_text(by_text(lot, texts[which]), encoding="utf-8", newline="")
        elif how == "tree":
            path.write_text(
                yaml.safe_dump(by_tree(lot, trees[which]), allow_unicode=lot.random() < 0.5), encoding="utf-8"
            )
        else:
            path.write_text(texts[which], encoding="utf-8")
            settings = [setting(lot, trees[which]) for _ in range(lot.randint(1, 3))]
        try:
            found = read(path, settings)
        except UnweaveError as error:
            assert str(error).strip()
        else:
            again.write_text(found.to_yaml(), encoding="utf-8")
            assert isinstance(found, Recipe)
            assert read(again).to_yaml() == found.to_yaml()
            right += 1
        count += 1
    assert EXAMPLES and count == wanted >= 30 and 0 < right < count
