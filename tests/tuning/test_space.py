"""What may be tried comes from the classes' own intervals, and leaves alone what a recipe says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from unweave.errors import ConfigurationError, UnsupportedError
from unweave.modalities import read
from unweave.recipe.auto import BASELINES, HEADLINE
from unweave.tasks import Classification, Language
from unweave.tuning.run import begun
from unweave.tuning.space import Knob, knob_of, space_of

Write = Callable[..., Path]
DIGITS = "data: {source: digits}\nforget: {class: 3}\n"


@pytest.mark.parametrize(
    ("default", "interval", "found"),
    [
        (0.1, "[0, 1)", Knob(0.0, 0.99, log=False)),
        (0.5, "(0.5, 1)", Knob(0.505, 0.995, log=False)),
        (2, "[1, 9]", Knob(1, 9, log=False, whole=True)),
        (0.1, "[0, inf)", Knob(0.01, 1.0, log=True)),
        (0.001, "(0, 0.005]", Knob(1e-4, 0.005, log=True)),
        (1.0, "(-inf, inf)", Knob(0.1, 10.0, log=True)),
        (2, "[0, inf)", Knob(1, 8, log=True, whole=True)),
        (0.0, "(-inf, inf)", None),
        (None, "(0, inf)", None),
        (True, "(-inf, inf)", None),
        ("trust", "(-inf, inf)", None),
    ],
)
def test_a_number_is_searched_where_interval_and_default_give_it_a_scale(
    default: object, interval: str, found: Knob | None
) -> None:
    knob = knob_of(default, interval)
    assert (knob is None) == (found is None)
    if knob is not None and found is not None:
        assert (knob.low, knob.high) == pytest.approx((found.low, found.high))
        assert (knob.log, knob.whole) == (found.log, found.whole)


def test_ranges_are_those_of_the_classes(recipe: Write) -> None:
    space = space_of(read(recipe(DIGITS)), Classification())
    assert space.methods == [*HEADLINE, *BASELINES]
    assert space.knobs["method"]["hamu_q"] == {"ratio": Knob(0.0, 0.99, log=False)}
    assert space.knobs["method"]["eupmu"] == {}, "its tolerance is 0: that gives no scale"
    assert set(space.knobs["step"]) == {"trust", "adam"} and set(space.knobs["step"]["trust"]) == {"start"}
    assert any(line.startswith("method ofmu:") and "inner_steps 1 to 8 (log), whole" in line for line in space.lines())


def test_what_the_recipe_says_stays_unless_it_is_free(recipe: Write) -> None:
    said = DIGITS + "method: {name: ofmu, penalty: 0.02}\nstep: {name: adam, lr: 1.0e-3}\n"
    space = space_of(read(recipe(said)), Classification())
    assert space.methods == ["ofmu"] and "penalty" not in space.knobs["method"]["ofmu"]
    assert {key: dict(value) for key, value in space.knobs["step"].items()} == {"adam": {}}
    (own,) = [space.ask(Fixed()) for _ in range(1)]
    assert own["method"]["penalty"] == 0.02 and own["step"] == {"name": "adam", "lr": 1e-3}
    free = space_of(read(recipe(said)), Classification(), free=True)
    assert "penalty" in free.knobs["method"]["ofmu"] and set(free.knobs["step"]) == {"trust", "adam"}
    named = space_of(read(recipe(said)), Classification(), ["ofmu", "npo"])
    assert named.methods == ["ofmu", "npo"] and "penalty" not in named.knobs["method"]["ofmu"]


class Fixed:
    """Suggests the first and the least."""

    def suggest_categorical(self, name: str, options: list[str]) -> str:
        return options[0]

    def suggest_float(self, name: str, low: float, high: float, log: bool) -> float:
        return low

    suggest_int = suggest_float


def test_what_was_asked_for_is_found_again_in_optuna_s_words(recipe: Write) -> None:
    pytest.importorskip("optuna")
    space = space_of(read(recipe(DIGITS)), Classification())
    found = [space.params(setting) for setting in [*space.usual(), space.ask(Fixed())]]
    assert len(found) == 10 and all(each is not None for each in found)
    assert all(params.keys() == of.keys() for params, of in found if (params, of) is not None)
    assert found[0] is not None and found[0][0]["method.hamu_q.ratio"] == 0.1
    assert space.params({"method": {"name": "kl"}, "step": {"name": "trust", "start": 1e-3}}) is None
    assert (
        space.params({"method": {"name": "hamu_q", "ratio": 0.999}, "step": {"name": "trust", "start": 1e-3}}) is None
    )


def test_a_race_s_candidates_are_what_is_tried(recipe: Write) -> None:
    asked = read(recipe(DIGITS + "method: {name: auto, among: [npo, eupmu]}\n"))
    space = space_of(asked, Classification())
    assert space.methods == ["npo", "eupmu"]
    assert begun(asked, space)[0]["method"] == {"name": "hamu_q"}, "trial 0 is the default method"
    assert space_of(read(recipe(DIGITS + "method: auto\n")), Classification()).methods == [*HEADLINE, *BASELINES]


@pytest.mark.parametrize(
    ("said", "methods", "what"),
    [
        ("", ["hamu_w"], "no method with steps is called 'hamu_w'.*hamu_u"),
        ("", ["ssd"], "ssd takes no steps"),
        ("method: {name: ssd}\n", [], "ssd takes no steps"),
        ("method: {name: eupmu}\nstep: {name: adam, lr: 1.0e-3}\n", [], "nothing to search"),
    ],
)
def test_nothing_to_search_is_said(recipe: Write, said: str, methods: list[str], what: str) -> None:
    with pytest.raises(ConfigurationError, match=what):
        space_of(read(recipe(DIGITS + said)), Classification(), methods)


def test_a_method_that_does_not_fit_is_refused_if_it_was_asked_for(recipe: Write) -> None:
    with pytest.raises(UnsupportedError, match="RMU is about texts"):
        space_of(read(recipe(DIGITS)), Classification(), ["hamu_q", "rmu"])
    assert "rmu" in space_of(read(recipe(DIGITS)), Language(), ["rmu"]).methods
