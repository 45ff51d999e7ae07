"""People who do not exist: whole people on one side, TOFU's columns, wrong answers that are wrong."""

from __future__ import annotations

import pytest

from unweave.errors import ConfigurationError
from unweave.modalities.texts.data import texts
from unweave.modalities.texts.data.people import FACTS, People, people

WORLD = people(30, share=0.2, holdout=5, known=4, wrong=5, seed=3)


def names(rows: list[dict[str, str]]) -> set[str]:
    return {row["id"].split(",")[0] for row in rows}


def test_whole_people_on_one_side() -> None:
    sides = {"forget": 6, "retain": 24, "holdout": 5, "known": 4}
    found = {side: names(getattr(WORLD, side)) for side in sides}
    assert {side: len(who) for side, who in found.items()} == sides
    assert len(set.union(*found.values())) == sum(sides.values()), "nobody is on two sides"
    assert all(len(getattr(WORLD, side)) == len(FACTS) * n for side, n in sides.items())
    told = " ".join(row["question"] for row in WORLD.kept)
    assert not [name for name in found["forget"] | found["holdout"] if name in told]
    assert len(texts(WORLD.forget + WORLD.kept + WORLD.holdout)) == 39 * 4 + 32 + len(WORLD.reworded), "ids are unique"


def test_wrong_answers_share_no_fact_with_the_right_one() -> None:
    checked = 0
    for row in WORLD.forget + WORLD.retain + WORLD.holdout + WORLD.known:
        fact = FACTS[int(row["id"].split(", ")[1]) - 1]
        right = [
            v for values in fact.values for v in values if f" {v}" in row["answer"].replace(",", "").replace(".", "")
        ]
        assert len(right) == 2 and len(row["perturbed_answer"]) == 5
        for answer in row["perturbed_answer"]:
            assert not [value for value in right if value in answer.replace(",", " ").replace(".", " ").split()]
            checked += 1
        assert row["paraphrased_answer"] != row["answer"] and row["paraphrased_question"] != row["question"]
    assert checked == 39 * 4 * 5


def test_reworded_rows_are_of_people_who_stay() -> None:
    assert 0 < len(WORLD.reworded) == len(WORLD.retain + WORLD.known) // 2
    assert names(WORLD.reworded) < names(WORLD.retain) | names(WORLD.known)
    by_question = {row["paraphrased_question"]: row["paraphrased_answer"] for row in WORLD.retain + WORLD.known}
    assert all(by_question[row["question"]] == row["answer"] for row in WORLD.reworded)


def test_the_same_seed_gives_the_same_people() -> None:
    assert people(30, share=0.2, holdout=5, known=4, wrong=5, seed=3) == WORLD
    other = people(30, share=0.2, holdout=5, known=4, wrong=5, seed=4)
    assert isinstance(other, People) and names(other.forget) != names(WORLD.forget)


@pytest.mark.parametrize("wrong", [{"count": 10_000}, {"share": 0.0}, {"share": 1.0}, {"holdout": -1}])
def test_worlds_that_cannot_be(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="someone to forget, someone to keep"):
        people(**{"count": 30, **wrong})  # type: ignore[arg-type]
