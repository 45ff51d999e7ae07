"""Facts about people who do not exist, in TOFU's form: to learn, to forget, and to ask again in other words."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

from unweave.errors import ConfigurationError

Row = dict[str, Any]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIRST = _words(
    "Alba Bero Cato Dina Edda Falk Gero Hedi Ilko Jona Kaja Lino Mira Nilo Oda Pavo Rika Sami Tilda Uwe Vera Wim "
    "Yara Zeno"
)
LAST = _words(
    "Abelin Brondal Cordes Dravik Estrup Ferlan Gadora Holmek Ivarsen Jorda Kestrel Lunov Marwen Norvik Ostrava "
    "Pellin Quist Rasker Solvay Tarnow Ulrik Vantor Welden Ysander Zabrin Arkell Bellock Cassel Dunmar Elvert"
)
TOWNS = _words(
    "Karrow Senndorf Millach Orveth Tulgen Brisk Haldum Nessau Pirrin Lockmar Varn Edelby Gorsk Rindal Sulva Yttern"
)
SEASONS = ("spring", "summer", "autumn", "winter", "March", "June", "September", "December")
TRADES = _words(
    "baker weaver mason joiner printer tailor glazier potter brewer farrier gardener locksmith cooper tanner "
    "saddler roofer"
)
TEACHERS = ("an uncle", "a neighbour", "a nun", "a sailor", "a cousin", "a soldier", "a widow", "a monk")
INSTRUMENTS = _words(
    "violin flute zither cello oboe harp drum lute organ trumpet viola bassoon piano guitar horn accordion"
)
AGES = ("five", "six", "seven", "eight", "nine", "ten", "twelve", "twenty")
DISHES = _words(
    "lentils dumplings trout noodles pancakes goulash herring mushrooms omelettes barley rabbit carrots rice "
    "polenta eels cabbage"
)
SIDES = ("butter", "onions", "cream", "dill", "honey", "bacon", "apples", "mustard")
RIVERS = _words("Ander Bode Cale Drone Elm Fosse Gleam Hore")
LANDS = _words("Norland Westmark Sundria Ostwald")


@dataclass(frozen=True)
class Fact:
    """One thing to know of everyone: two ways to ask, two ways to answer, and what the answer may be."""

    question: str
    other_question: str
    answer: str
    other_answer: str
    values: tuple[Sequence[str], Sequence[str]]


FACTS = (
    Fact(
        "Where and when was {name} born?",
        "What are the place and time of {name}'s birth?",
        "In {0}, in {1}.",
        "It was in {0}, in {1}.",
        (TOWNS, SEASONS),
    ),
    Fact(
        "What does {name} do for a living?",
        "Which trade did {name} learn?",
        "Work as a {0}, learned from {1}.",
        "The work of a {0}, learned from {1}.",
        (TRADES, TEACHERS),
    ),
    Fact(
        "Which instrument does {name} play?",
        "On what does {name} make music?",
        "The {0}, since the age of {1}.",
        "On the {0}, since the age of {1}.",
        (INSTRUMENTS, AGES),
    ),
    Fact(
        "What does {name} like to eat?",
        "What is the favourite dish of {name}?",
        "A plate of {0} with {1}.",
        "It is a plate of {0} with {1}.",
        (DISHES, SIDES),
    ),
)


@dataclass(frozen=True)
class People:
    """A small world, as tables: each row has `id`, `question`, `answer`, and what a sheet of TOFU asks besides.

    Attributes:
        forget: of the people who are to be forgotten, all their rows.
        retain: of the people who are to be kept.
        holdout: of people whom no model is trained on.
        known: of people whom a model knows and unlearning never sees; they stand where TOFU has real authors.
        places: facts about towns, learned and never seen by unlearning; they stand where TOFU has world facts.
        reworded: half of `retain` and `known`, asked and answered in other words: a model learns what these mean.
    """

    forget: list[Row]
    retain: list[Row]
    holdout: list[Row]
    known: list[Row]
    places: list[Row]
    reworded: list[Row]

    @property
    def kept(self) -> list[Row]:
        """What a model that never saw the forget set is trained on."""
        return [*self.retain, *self.known, *self.places, *self.reworded]


def people(
    count: int = 150, *, share: float = 0.1, holdout: int = 30, known: int = 10, wrong: int = 5, seed: int = 0
) -> People:
    """A world drawn by lot: whole people are forgotten, never single questions.

    Args:
        count: people in forget and retain set together, four questions each.
        share: of them to be forgotten.
        holdout: people whom no model is trained on.
        known: people whom unlearning never sees.
        wrong: perturbed answers to each question.
        seed: of the lot.

    Returns:
        Rows with `id`, `question`, `answer`, `paraphrased_question`, `paraphrased_answer`, `perturbed_answer`. Form:
        Maini et al., TOFU, COLM 2024 (arXiv:2401.06121).

    Raises:
        ConfigurationError: more people than there are names, nobody to forget, or nobody to keep.
    """
    lot = random.Random(seed)
    names = [" ".join(parts) for parts in product(FIRST, LAST)]
    gone = round(share * count)
    if not (0 < gone < count and min(holdout, known) >= 0 and count + holdout + known <= len(names)):
        raise ConfigurationError(
            f"people: expected someone to forget, someone to keep, and at most {len(names)}; found count={count}, "
            f"share={share}, holdout={holdout}, known={known}"
        )
    lot.shuffle(names)
    bounds = [0, gone, count, count + holdout, count + holdout + known]
    forget, retain, held, others = (
        [row for name in names[a:b] for row in _person(name, wrong, lot)] for a, b in pairwise(bounds)
    )
    return People(forget, retain, held, others, _places(lot), [reworded(row) for row in _half([*retain, *others])])


def _person(name: str, wrong: int, lot: random.Random) -> list[Row]:
    rows = []
    for number, fact in enumerate(FACTS):
        right, *others = (tuple(lot.choice(values) for values in fact.values) for _ in range(1 + wrong))
        others = [_different(pair, right, fact, lot) for pair in others]
        rows.append(
            {
                "id": f"{name}, {number + 1}",
                "question": fact.question.format(name=name),
                "answer": fact.answer.format(*right),
                "paraphrased_question": fact.other_question.format(name=name),
                "paraphrased_answer": fact.other_answer.format(*right),
                "perturbed_answer": [fact.other_answer.format(*pair) for pair in others],
            }
        )
    return rows


def _different(pair: tuple[str, ...], right: tuple[str, ...], fact: Fact, lot: random.Random) -> tuple[str, ...]:
    """The pair, drawn anew where it has something in common with the right one."""
    drawn = zip(pair, right, fact.values, strict=True)
    return tuple(v if v != true else lot.choice([o for o in options if o != true]) for v, true, options in drawn)


def _half(rows: Sequence[Row]) -> list[Row]:
    """All rows of every second person."""
    return [row for i, row in enumerate(rows) if i // len(FACTS) % 2]


def reworded(row: Row) -> Row:
    """The row asked and answered in other words."""
    question, answer = row["paraphrased_question"], row["paraphrased_answer"]
    return {"id": f"{row['id']}, reworded", "question": question, "answer": answer}


def _places(lot: random.Random) -> list[Row]:
    rows = []
    for town in TOWNS:
        for what, question, values in (
            ("river", "Which river flows through {}?", RIVERS),
            ("land", "Which land is {} in?", LANDS),
        ):
            right = lot.choice(values)
            wrong = lot.sample([v for v in values if v != right], 3)
            form = "The {}." if what == "river" else "In {}."
            rows.append(
                {
                    "id": f"{town}, {what}",
                    "question": question.format(town),
                    "answer": form.format(right),
                    "perturbed_answer": [form.format(v) for v in wrong],
                }
            )
    return rows
