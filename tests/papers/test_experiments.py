"""The papers' experiments: each is read, every recipe of it too, and says what it costs before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from unweave.errors import ConfigurationError
from unweave.papers import known, open_
from unweave.papers.cost import estimate
from unweave.papers.experiment import ENDS, METHOD, Cell

NAMES = sorted(known())
OF = {name.split("/")[0] for name in NAMES}
GPU, OFMU = 141e9, 180e9  # of bytes; OFMU holds six sizes of the model


def here(name: str, scale: str, tmp_path: Path) -> tuple[str, ...]:
    """Overrides with which a recipe is read where its data are not."""
    needs = "CIFAR-10" in open_(name).at(scale).needs
    return (f"data.path={tmp_path}",) if needs else ()


def few(cells: list[Cell]) -> list[Cell]:
    """So many of them that every label of every axis comes."""
    found, seen = [], set[tuple[str, str]]()
    for cell in cells:
        if not set(cell.where.items()) <= seen:
            seen |= set(cell.where.items())
            found.append(cell)
    return found


def test_every_paper_has_some() -> None:
    assert {"hamu", "eupmu", "ofmu"} == OF


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_is_read_and_has_a_cost_before_anything_is_loaded(name: str, tmp_path: Path) -> None:
    experiment = open_(name)
    for scale, at in experiment.scales.items():
        cells = experiment.cells(scale)
        assert len({cell.name for cell in cells}) == len(cells) >= 6 and len(at.seeds) == 3
        first = few([cell for cell in cells if cell.seed == at.seeds[0]])
        recipes = [cell.recipe(here(name, scale, tmp_path)) for cell in first]
        assert len({recipe.to_yaml() for recipe in recipes}) == len(first), "no two cells are the same run"
        if scale == "paper":
            found = estimate(at, first, here(name, scale, tmp_path))
            assert found is not None and found.runs == len(first)
            assert at.sizes is not None and 4 * at.sizes.parameters * at.sizes.width / 4 < found.memory < (
                OFMU if name.startswith("ofmu") else GPU
            )
            assert found.steps > 1 and (found.training > 1) == bool(at.sizes.trained)


@pytest.mark.parametrize("name", NAMES)
def test_claims_and_numbers_speak_of_the_table(name: str) -> None:
    """And a number of the paper has a column to stand in."""
    experiment = open_(name)
    assert all(number.measure in experiment.columns for number in experiment.reported)
    for number in experiment.reported:
        labels = number.of.get(METHOD, "")
        assert labels in experiment.axes[METHOD] or labels in ENDS
    for claim in experiment.claims:
        if claim.along is not None:
            assert [float(label) for label in experiment.axes[claim.along]], claim.text
        if claim.than is not None:
            assert claim.of.keys() == claim.than.keys() and claim.of != claim.than, claim.text


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("columns: [UA]", "columns: [UA, retain_fall_at]"), r"expected a measure such as UA.*found 'retain_fall_at'"),
        (("columns: [UA]", "columns: [UA_draw]"), "no score is called 'UA_draw'. Did you mean 'UA_drawn'"),
        (("of: {method: one}", "of: {method: on}"), r"method has no 'on'. Did you mean 'one'\? It has: one, two"),
        (("of: {method: one}", "of: {rule: one}"), "expected one of the axes method, found 'rule'"),
        (("at_most: 0", "at_most: 0, at_least: 0"), "expected exactly one of at_least, at_most"),
        (("title: t", "titel: t"), "titel: unknown key. Did you mean 'title'"),
    ],
)
def test_faults_of_a_file_are_told(change: tuple[str, str], told: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("data: {source: digits}\nforget: {class: 3}\n")
    text = (
        "title: t\npaper: p\nabout: a\ncolumns: [UA]\nscales: {small: {recipe: r.yaml, seeds: [0], needs: n}}\n"
        "axes: {method: {one: {method: {name: hamu_q}}, two: {method: {name: eupmu}}}}\n"
        "claims: [{text: c, measure: UA, of: {method: one}, at_most: 0}]\n"
    )
    path = tmp_path / "e.yaml"
    path.write_text(text)
    assert len(open_(path).cells("small")) == 2
    path.write_text(text.replace(*change))
    with pytest.raises(ConfigurationError, match=told):
        open_(path)


def test_unknown_names_are_told() -> None:
    with pytest.raises(ConfigurationError, match=r"no experiment 'hamu/cifar10-ro'. Did you mean 'hamu/cifar10-rho'\?"):
        open_("hamu/cifar10-ro")
    with pytest.raises(ConfigurationError, match="there is no scale 'medium', only paper, small"):
        open_("eupmu/stable-diffusion").cells("medium")  # type: ignore[arg-type]


def test_texts_have_a_small_scale_whose_people_are_of_the_seed() -> None:
    """And their settings were chosen on none of these seeds."""
    for name in ("hamu/waterdrum", "ofmu/tofu"):
        experiment = open_(name)
        assert experiment.grid("small")[METHOD].keys() == experiment.axes[METHOD].keys()
        found = {cell.seed: cell.recipe().data for cell in experiment.cells("small")}
        assert {seed: data.seed for seed, data in found.items()} == {0: 0, 1: 1, 2: 2}  # type: ignore[attr-defined]
        assert "seed 9" in experiment.about
