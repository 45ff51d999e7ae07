"""Recipes: what is right is read, what is wrong is all reported, with its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from unweave.contract import Contract, Forget, Keep
from unweave.errors import ConfigurationError
from unweave.methods import METHODS
from unweave.modalities import read
from unweave.recipe.recipe import Recipe
from unweave.recipe.steps import STEPS

Write = Callable[..., Path]


def faults(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read(path, overrides)
    return caught.value.faults


def test_a_short_recipe_has_every_default(recipe: Write) -> None:
    found = read(recipe("data: {source: digits}\nforget: {random: 0.1}\n"))
    assert (found.method.name, found.step.name, found.run.steps, found.evaluation.retrained) == (
        "hamu_q",
        "trust",
        100,
        1,
    )


def test_what_is_written_out_reads_back_as_the_same_recipe(recipe: Write) -> None:
    first = read(recipe(), ["method.ratio=0.5", "run.steps=7", "forget.class=[1, '2']"])
    again = read(recipe(first.to_yaml()))
    assert first == again
    assert yaml.safe_load(first.to_yaml())["forget"]["class"] == [1, "2"]


def test_relative_paths_are_relative_to_the_recipe(
    recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rows.txt").write_text("1\n2\n")
    path = recipe("data: {source: digits}\nforget: {indices: rows.txt}\noutput: out/here\n")
    monkeypatch.chdir("/")
    found = read(path)
    assert found.forget.indices == tmp_path / "rows.txt" and found.output == tmp_path / "out" / "here"


@pytest.mark.parametrize("given", ["[]", "[3, 4, 5]", "7", "{a: 1}"])
def test_rows_stand_in_a_file_and_the_message_says_so(recipe: Write, given: str) -> None:
    expected = "forget.indices: expected the path of a file that lists them, one a line, found"
    found = faults(recipe(f"data: {{source: digits}}\nforget: {{indices: {given}}}\n"))
    assert found == [f"recipe.yaml:2: {expected} {yaml.safe_load(given)}"]


def test_a_path_is_one_path_and_the_message_says_so(recipe: Write) -> None:
    found = faults(recipe("data: {source: csv, path: [a, b], target: y}\nforget: {random: 0.1}\noutput: [out]\n"))
    assert [fault for fault in found if "expected a path" in fault] == [
        "recipe.yaml:1: data.path: expected a path, found ['a', 'b']",
        "recipe.yaml:3: output: expected a path, found ['out']",
    ]


MANY = """\
data:
  source: digit
forget:
  class: 3
  randon: 0.1
method:
  name: hamu_q
  ratoi: 0.5
  rate: fast
step:
  name: sgd
  lr: [1]
run:
  steps: "300"
  forget_batch: 0
trainig:
  epochs: 3
training:
  epoch: 3
  lr: high
"""


def test_all_faults_at_once_each_with_its_line_and_what_was_meant(recipe: Write) -> None:
    found = faults(recipe(MANY))
    expected = {
        2: ["data.source", "'digit'", "Did you mean 'digits'?"],
        5: ["forget.randon", "unknown key", "Did you mean 'random'?"],
        8: ["method.ratoi", "unknown key", "Did you mean 'ratio'?"],
        9: ["method.rate", "expected a number", "'fast'"],
        12: ["step.lr", "expected a number", "[1]"],
        14: ["run.steps", "expected an integer", "'300'"],
        15: ["run.forget_batch", "greater than or equal to 1", "0"],
        16: ["trainig", "Did you mean 'training'?"],
        19: ["training.epoch", "Did you mean 'epochs'?"],
        20: ["training.lr", "expected a number"],
    }
    assert len(found) == len(expected)
    for line, parts in expected.items():
        message = next(fault for fault in found if fault.startswith(f"recipe.yaml:{line}: "))
        assert not [part for part in parts if part not in message], message


SINGLE = {
    "empty": ("{}", ["'data' is missing", "'forget' is missing"]),
    "no request": ("data: {source: digits}", ["exactly one of forget, requests; found none"]),
    "nothing to forget": ("data: {source: digits}\nforget: {}", ["exactly one of", "found none"]),
    "two requests": ("data: {source: digits}\nforget: {class: 1, random: 0.1}", ["class and random"]),
    "mix without class": ("data: {source: digits}\nforget: {random: 0.1, mix: 0.5}", ["needs 'class'"]),
    "share of one": ("data: {source: digits}\nforget: {random: 1.0}", ["forget.random", "less than 1"]),
    "negative class": ("data: {source: digits}\nforget: {class: -1}", ["forget.class", "found -1"]),
    "class as list of lists": (
        "data: {source: digits}\nforget: {class: [[1]]}",
        ["forget.class", "expected an integer or text", "found [[1]]"],
    ),
    "path for digits": ("data: {source: digits, path: .}\nforget: {class: 1}", ["takes no path"]),
    "no path": ("data: {source: cifar10}\nforget: {class: 1}", ["cifar10 needs a 'path'"]),
    "missing path": ("data: {source: cifar10, path: gone}\nforget: {class: 1}", ["data.path", "no such file"]),
    "section is a word": ("data: digits\nforget: {class: 1}", ["data", "expected a mapping", "'digits'"]),
    "step is a word": ("data: {source: digits}\nforget: {class: 1}\nstep: trust", ["step", "a mapping"]),
    "unknown method": (
        "data: {source: digits}\nforget: {class: 1}\nmethod: {name: hamu-q}",
        ["unknown method 'hamu-q'", "Did you mean 'hamu_q'?"],
    ),
    "unknown step": (
        "data: {source: digits}\nforget: {class: 1}\nstep: {name: sdg, lr: 1}",
        ["unknown step 'sdg'", "Did you mean 'sgd'?"],
    ),
    "no learning rate": ("data: {source: digits}\nforget: {class: 1}\nstep: {name: sgd}", ["'lr' is missing"]),
    "not a choice": (
        "data: {source: digits}\nforget: {class: 1}\nmethod: {name: hamu_q, blocks: layers}",
        ["method.blocks", "'layers'"],
    ),
    "version": ("version: 2\ndata: {source: digits}\nforget: {class: 1}", ["version", "found 2"]),
    "null": ("data: null\nforget: {class: 1}", ["data", "found None"]),
}


@pytest.mark.parametrize("name", SINGLE)
def test_one_fault(recipe: Write, name: str) -> None:
    text, parts = SINGLE[name]
    found = "\n".join(faults(recipe(text)))
    assert not [part for part in parts if part not in found], found
    assert "recipe.yaml:" in found and "pydantic" not in found


def test_overrides_go_through_the_same_validation(recipe: Write) -> None:
    found = faults(recipe(), "run.steps=many", "method.ration=1")
    assert len(found) == 2
    assert found[0].startswith("-s run.steps=many: run.steps: expected an integer, found 'many'")
    assert "Did you mean 'ratio'?" in found[1]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_named(recipe: Write, name: str) -> None:
    if "Of diffusion models" in (METHODS[name].__doc__ or ""):
        with pytest.raises(ConfigurationError, match=r"method: .* is about diffusion models"):
            read(recipe(), [f"method.name={name}"])
        drawn = ["data={source: digits_to_draw}", "forget={class: 3}", "training={}", f"method.name={name}"]
        assert read(recipe(), drawn).method.name == name
    elif name in ("rmu", "ce_u"):
        with pytest.raises(ConfigurationError, match=r"method: .* is about texts"):
            read(recipe(), [f"method.name={name}"])
    else:
        assert read(recipe(), [f"method.name={name}"]).method.name == name


def test_every_step_can_be_named(recipe: Write) -> None:
    made = [read(recipe(), [f"step.name={name}", *([] if name == "trust" else ["step.lr=0.1"])]) for name in STEPS]
    assert len(made) == 4


CONTRACTS = {
    "unknown metric": ("keep: [{metric: acuracy, absolute: 1}]", ["contract.keep.0.metric", "Did you mean 'accuracy'"]),
    "no limit": ("keep: [{metric: accuracy}]", ["contract.keep.0", "exactly one of absolute, relative; found none"]),
    "negative": ("keep: [{metric: loss, relative: -1}]", ["contract.keep.0", "relative must be a positive number"]),
    "unknown key": ("keep: [{metric: loss, relatve: 1}]", ["contract.keep.0.relatve", "Did you mean 'relative'?"]),
    "unknown word": ("forget: [unsen]", ["contract.forget.0", "Did you mean 'unseen'?"]),
    "no level": ("forget: [{metric: accuracy}]", ["contract.forget.0", "accuracy needs at_most"]),
    "another's level": ("forget: [{metric: unseen, at_most: 0.5}]", ["unseen takes margin; found at_most=0.5"]),
    "confidence": ("confidence: 1.5", ["contract.confidence", "less than 1", "found 1.5"]),
    "percent": ("confidence: 95", ["contract.confidence", "less than 1", "did you mean 0.95"]),
    "points": ("keep: [{metric: accuracy, absolute: 4}]", ["contract.keep.0", "which is 400 points", "mean 0.04?"]),
    "at most 5 %": ("forget: [{metric: accuracy, at_most: 5}]", ["contract.forget.0", "in [0, 1]", "mean 0.05?"]),
    "clip": ("keep: [{metric: loss, absolute: 0.1, clip: -1}]", ["contract.keep.0", "clip must be a positive number"]),
    "unknown section key": ("kep: []", ["contract.kep", "Did you mean 'keep'?"]),
}


@pytest.mark.parametrize("name", CONTRACTS)
def test_a_fault_of_the_contract_has_its_place(recipe: Write, name: str) -> None:
    text, parts = CONTRACTS[name]
    (found,) = faults(recipe(f"data: {{source: digits}}\nforget: {{class: 1}}\ncontract:\n  {text}\n"))
    assert found.startswith("recipe.yaml:4: ") and not [part for part in parts if part not in found], found


def test_contracts(recipe: Write) -> None:
    text = "data: {source: digits}\nforget: {class: 1}\n"
    default, none = read(recipe(text)), read(recipe(text + "contract: none\n"))
    assert default.contract is not None and default.contract.contract() == Contract() and none.contract is None
    own = read(
        recipe(text + "contract: {keep: [{metric: loss, relative: 0.1, by: class}], forget: [unseen, retrained]}")
    )
    assert own.contract is not None and own.contract.asks_retrained
    expected = Contract((Keep("loss", relative=0.1, by="class"),), (Forget("unseen"), Forget("retrained")))
    assert own.contract.contract() == expected
    assert read(recipe(text + "contract: {keep: [], forget: []}")).contract.contract() == Contract((), ())
    count = 0
    for each in (default, none, own):
        assert read(recipe(each.to_yaml())) == each
        count += 1
    assert count == 3


def test_what_an_earlier_version_wrote_is_read(recipe: Write) -> None:
    """Its runs of images had a key of texts in `evaluation`; what a person writes is told that it is one."""
    text = "data: {source: digits}\nforget: {class: 1}\nevaluation: {retrained: 0, prefix: 5}\n"
    found = read(recipe(text + "environment: {unweave: 0.1.0}\n"))
    assert found.evaluation.retrained == 0 and "prefix" not in found.plain()["evaluation"]
    with pytest.raises(ConfigurationError, match=r"evaluation\.prefix: is for texts"):
        read(recipe(text))


@pytest.mark.parametrize("source", ["3", "[digits]", "digit", "true"])
def test_a_source_that_is_none_is_told_once_with_all_that_there_are(recipe: Write, source: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(recipe(f"data: {{source: {source}}}\nforget: {{random: 0.1}}\n"))
    (fault,) = caught.value.faults
    assert "expected one of digits, cifar10, image_folder, image_dataset, texts, tofu" in fault and ", found " in fault


@pytest.mark.parametrize(
    ("source", "request_"),
    [
        ("cvs", "where: {user: [3]}"),
        ("sheet", "where: {user: [3]}"),
        ("tofuu", "split: forget01"),
        ("digitz", "class: 3"),
    ],
)
def test_keys_of_a_source_that_is_misspelt_are_no_faults_of_their_own(
    recipe: Write, source: str, request_: str
) -> None:
    """Whatever modality was meant: a key that one of them knows may be right."""
    model = {"cvs": "model: {network: mlp}\n", "tofuu": "model: {base: .}\n"}.get(source, "")
    with pytest.raises(ConfigurationError) as caught:
        read(recipe(f"data: {{source: {source}}}\nforget: {{{request_}}}\n{model}run: {{stepz: 3}}\n"))
    first, second = caught.value.faults
    assert f"found '{source}'" in first and "run.stepz: unknown key" in second


def test_without_data_keys_of_any_source_are_no_faults_of_their_own(recipe: Write) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(recipe("forget: {split: forget01}\nmodel: {base: .}\n"))
    (fault,) = caught.value.faults
    assert "'data' is missing" in fault


@pytest.mark.parametrize(
    ("source", "key", "value"),
    [
        ("digits", "class", "[]"),
        ("csv", "where", "{}"),
        ("csv", "where", "{user: []}"),
        ("digits_to_draw", "prompts", "[]"),
    ],
)
def test_a_request_that_names_nothing_is_told_by_its_key(recipe: Write, source: str, key: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(recipe(f"data: {{source: {source}}}\nforget: {{{key}: {value}}}\n"))
    assert f"forget.{key}: it names nothing that is to be forgotten" in str(caught.value)


words = st.sampled_from(
    ["data", "forget", "source", "class", "run", "steps", "digits", "1", "[", "{", ":", "-", "\n", "  "]
)


@given(st.lists(words, max_size=12).map(" ".join))
def test_any_text_is_a_recipe_or_a_clear_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("any") / "recipe.yaml"
    path.write_text(text)
    try:
        assert isinstance(read(path), Recipe)
    except ConfigurationError as error:
        assert error.faults and all(error.faults)


def test_the_example_is_a_recipe() -> None:
    path = Path(__file__).parents[2] / "examples" / "recipe.yaml"
    found = read(path)
    commented = [line.strip("# ").partition(":")[0] for line in path.read_text().splitlines() if "  # " in line[:4]]
    known = {name for part in (found.data, found.forget, found.model) for name in type(part).model_fields}
    assert commented and not set(commented) - known, "also what is commented out has the right name"
