"""YAML with marks: plain data, a line for every key, all faults at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from unweave.errors import ConfigurationError
from unweave.recipe.yaml_lines import Document, load

TEXT = """\
# a comment
data:
  source: digits
run:
  steps: 20
  lr: 1e-3
  rates: [1, 2.5, -3e4]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def test_content_and_places(tmp_path: Path) -> None:
    document = load(written(tmp_path, TEXT))
    assert document.content == {
        "data": {"source": "digits"},
        "run": {"steps": 20, "lr": 0.001, "rates": [1, 2.5, -30000.0]},
    }
    assert document.place(("data",)) == "recipe.yaml:2"
    assert document.place(("data", "source")) == "recipe.yaml:3"
    assert document.place(("run", "rates", 1)) == "recipe.yaml:7"
    assert document.place(("run", "missing")) == "recipe.yaml:4"  # the nearest section that is there
    assert document.place(("nowhere",)) == "recipe.yaml:1"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("5", 5),
        ("-2", -2),
        ("1.", 1.0),
        ("true", True),
        ("x1", "x1"),
        ("'7'", "7"),
    ],
)
def test_scalars(tmp_path: Path, text: str, value: object) -> None:
    found = load(written(tmp_path, f"a: {text}")).content["a"]
    assert found == value and type(found) is type(value)


BAD = {
    "not a mapping": ("- 1\n- 2\n", ["recipe.yaml:1", "mapping"]),
    "empty": ("", ["mapping"]),
    "broken": ("a: 1\n b: 2\n", ["recipe.yaml:2", "not valid YAML"]),
    "tab": ("a:\n\tb: 1\n", ["recipe.yaml:2", "not valid YAML"]),
    "written twice": ("a: 1\nb: 2\na: 3\n", ["recipe.yaml:3", "'a' is written twice", "recipe.yaml:1"]),
    "alias": ("a: &x [1]\nb: *x\n", ["aliases are not supported"]),
    "recursive": ("a: &x [*x]\n", ["aliases are not supported"]),
    "object": ("a: !!python/object/apply:os.system ['true']\nb: !local 1\n", ["recipe.yaml:2"]),
    "not a number": ("a: !!int x\n", ["recipe.yaml:1"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_yaml_is_one_clear_error(tmp_path: Path, name: str) -> None:
    text, expected = BAD[name]
    with pytest.raises(ConfigurationError) as caught:
        load(written(tmp_path, text))
    assert not [part for part in expected if part not in str(caught.value)], str(caught.value)


def test_tags_never_execute(tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    with pytest.raises(ConfigurationError):
        load(written(tmp_path, f"a: !!python/object/apply:os.mkdir\n- {marker}\nb: !!python/name:os.system x\n"))
    assert not marker.exists()


def test_missing_file_and_binary(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ConfigurationError, match=r"binary\.yaml.*cannot be read as a recipe"):
        load(tmp_path / "binary.yaml")
    with pytest.raises(ConfigurationError, match=r"missing\.yaml: there is no such file"):
        load(tmp_path / "missing.yaml")


def test_override() -> None:
    document = Document(
        {"run": {"steps": 20}}, "recipe.yaml", {("run",): "recipe.yaml:1", ("run", "steps"): "recipe.yaml:2"}
    )
    changed = document.override(["run.steps=5", "method.name=hamu_q", "method.rates=[1, 2e-3]"])
    assert changed.content == {"run": {"steps": 5}, "method": {"name": "hamu_q", "rates": [1, 0.002]}}
    assert changed.place(("run", "steps")) == "-s run.steps=5"
    assert changed.place(("run", "other")) == "recipe.yaml:1"
    assert changed.place(("method", "other")) == "-s method.name=hamu_q"
    assert document.content == {"run": {"steps": 20}}, "the document itself does not change"


def test_bad_overrides_are_reported_together() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Document({"a": 1}, "r").override(["steps", "=3", "a.b=2", "c=[1"])
    assert len(caught.value.faults) == 4
    assert "'a' is not a section" in caught.value.faults[2]


def test_a_place_in_a_list_is_overridden(tmp_path: Path) -> None:
    document = load(written(tmp_path, "keep:\n- {metric: loss, by: 1}\n- metric: accuracy\nnone: []\n"))
    changed = document.override(["keep.1.metric=perplexity", "keep.0={metric: own}", "keep.0.by=2"])
    assert changed.content["keep"] == [{"metric": "own", "by": 2}, {"metric": "perplexity"}]
    assert document.content["keep"] == [{"metric": "loss", "by": 1}, {"metric": "accuracy"}]
    assert changed.place(("keep", 1, "metric")) == "-s keep.1.metric=perplexity"
    assert changed.place(("keep", 0, "metric")) == "-s keep.0={metric: own}"
    with pytest.raises(ConfigurationError) as caught:
        document.override(["keep.2.metric=loss", "keep.-1=3", "keep.metric=loss", "none.0=1"])
    assert caught.value.faults == [
        "-s keep.2.metric=loss: 'keep' is a list: expected a place in it, 0 to 1, found '2'",
        "-s keep.-1=3: 'keep' is a list: expected a place in it, 0 to 1, found '-1'",
        "-s keep.metric=loss: 'keep' is a list: expected a place in it, 0 to 1, found 'metric'",
        "-s none.0=1: 'none' is a list: expected the whole of it, found '0'",
    ]
