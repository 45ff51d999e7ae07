"""What can be written, and what is said of what cannot."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from unweave.contract import Contract, Forget, Keep
from unweave.errors import ConfigurationError

BAD_KEEP: list[tuple[dict[str, Any], str]] = [
    ({"metric": "acuracy", "absolute": 0.1}, "Did you mean 'accuracy'"),
    ({"metric": "accuracy"}, "exactly one of absolute, relative; found none"),
    ({"metric": "loss", "absolute": 0.1, "relative": 0.1}, "found absolute and relative"),
    ({"metric": "loss", "absolute": 0.0}, "absolute must be a positive number; found 0.0"),
    ({"metric": "loss", "relative": math.nan}, "relative must be a positive number; found nan"),
    ({"metric": "loss", "absolute": 1.0, "better": "lower"}, "better is for functions"),
    ({"metric": len, "absolute": 1.0}, "needs better='higher' or 'lower'; found None"),
    ({"metric": 3, "absolute": 1.0}, "a name or a function; found 3"),
    ({"metric": "loss", "absolute": 1.0, "by": "label"}, "by must be 'class' or one group per"),
    ({"metric": "loss", "absolute": 1.0, "by": 3}, "by must be 'class' or one group per"),
    ({"metric": "accuracy", "absolute": 4}, "absolute is a share, below 1; found 4, which is 400 points. .* 0.04?"),
    ({"metric": "accuracy", "absolute": 1.0}, "which is 100 points"),
    ({"metric": "accuracy", "relative": 5}, "relative is a share, below 1; found 5, which is 500 %. .* 0.05?"),
    ({"metric": "loss", "relative": 10.0}, "relative is a share, at most 2; found 10.0, which is 1000 %. .* 0.1?"),
    ({"metric": "perplexity", "relative": 2.5}, "which is 250 %. Did you mean 0.025?"),
    ({"metric": "accuracy", "absolute": "0.04"}, "absolute must be a positive number; found '0.04'"),
    ({"metric": "accuracy", "absolute": True}, "absolute must be a positive number; found True"),
    ({"metric": "accuracy", "absolute": 0.1, "clip": 1.0}, "needs no clip"),
    ({"metric": "loss", "absolute": 0.1, "clip": 0.0}, "clip must be a positive number; found 0.0"),
    ({"metric": "loss", "absolute": 0.1, "clip": math.nan}, "clip must be a positive number; found nan"),
]
BAD_FORGET: list[tuple[dict[str, Any], str]] = [
    ({"metric": "unsen"}, "Did you mean 'unseen'"),
    ({"metric": ["unseen"]}, "metric must be one of"),
    ({"at_most": "unseen"}, "metric must be one of"),
    ({"metric": "accuracy", "at_most": 5}, r"at_most must be in \[0, 1\]; found 5. Did you mean 0.05"),
    ({"metric": "accuracy", "at_most": -0.1}, r"at_most must be in \[0, 1\]; found -0.1."),
    ({"metric": "accuracy", "at_most": math.nan}, "found nan"),
    ({"metric": "accuracy", "at_most": "none"}, "found 'none'"),
    ({"metric": "retrained", "margin": 2}, "Did you mean 0.02"),
    ({"metric": "accuracy"}, "accuracy needs at_most"),
    ({"metric": "accuracy", "at_most": 1.5}, r"at_most must be in \[0, 1\]; found 1.5"),
    ({"metric": "loss", "at_most": 0.5}, "loss takes at_least; found at_most=0.5"),
    ({"metric": "loss", "at_least": math.inf}, "at_least must be at least 0; found inf"),
    ({"metric": "unseen", "margin": 0.6}, r"margin must be in \[0, 0.5\]; found 0.6"),
]
BAD_CONTRACT: list[tuple[dict[str, Any], str]] = [
    ({"confidence": 1.0}, r"confidence must be in \[0.5, 1\); found 1.0"),
    ({"confidence": 95}, r"confidence must be in \[0.5, 1\); found 95. Did you mean 0.95"),
    ({"confidence": math.nan}, "found nan"),
    ({"confidence": "high"}, "found 'high'"),
    ({"shrinks": -1}, "shrinks must be at least 0"),
    ({"shrinks": 1.5}, "shrinks must be at least 0, and whole; found 1.5"),
    ({"every": 2.0}, "every must be at least 1, and whole; found 2.0"),
    ({"every": 0}, "every must be at least 1"),
    ({"keep": Keep("loss", absolute=1.0)}, "keep must be a sequence of Keep"),
    ({"forget": ["unseen"]}, "forget must be a sequence of Forget"),
]


@pytest.mark.parametrize(("given", "message"), BAD_KEEP)
def test_keep(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Keep(**given)


@pytest.mark.parametrize(("given", "message"), BAD_FORGET)
def test_forget(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Forget(**given)


@pytest.mark.parametrize(("given", "message"), BAD_CONTRACT)
def test_contract(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Contract(**given)


def test_all_faults_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Keep("acuracy", absolute=-1.0, relative=0.1, by="label", better="higher")
    assert len(caught.value.faults) == 5
    with pytest.raises(ConfigurationError) as caught:
        Contract(confidence=2.0, shrinks=-1, every=0)
    assert len(caught.value.faults) == 3


def test_words() -> None:
    assert Keep("accuracy", absolute=0.005).text() == "accuracy falls by at most 0.5 points"
    assert Keep("perplexity", relative=0.02).text() == "perplexity rises by at most 2 % of the original's"
    assert Keep(len, absolute=3.0, better="higher", name="speed").text() == "speed falls by at most 3"
    assert Forget("accuracy", at_most=0.02).text() == "forget accuracy at most 2 %"
    assert Forget("unseen").text() == "unseen: membership AUC at most 0.55"


def test_defaults() -> None:
    contract = Contract()
    assert contract.keeps("accuracy") == (Keep("accuracy", relative=0.01),)
    assert contract.keeps("perplexity") == (Keep("perplexity", relative=0.01),)
    assert contract.forgets() == (Forget("unseen"),) and Contract(forget=()).forgets() == ()
    assert contract.forgets(whole_class=True)[1] == Forget("accuracy", at_most=0.0)


def test_the_ends_of_every_range_are_in_it() -> None:
    """What can just be written, beside what cannot (`BAD_KEEP`, `BAD_FORGET`, `BAD_CONTRACT`)."""
    by: tuple[Any, ...] = (None, "class", [0, 1], (0, 1), np.array([0, 1]))
    made = [
        *(Keep("accuracy", **{key: 0.999}) for key in ("absolute", "relative")),
        *(Keep(metric, relative=2.0) for metric in ("loss", "perplexity")),
        Keep("loss", absolute=50),
        Keep("perplexity", absolute=50, clip=0.1),
        *(Keep(len, absolute=5.0, better=better) for better in ("higher", "lower")),  # type: ignore[arg-type]
        *(Keep("loss", absolute=1e-9, by=groups) for groups in by),
        *(Forget("accuracy", at_most=level) for level in (0, 1)),
        *(Forget("loss", at_least=level) for level in (0, 1e9)),
        *(Forget(metric, margin=margin) for metric in ("unseen", "retrained") for margin in (0, 0.5)),
        *(Contract(confidence=value) for value in (0.5, 0.9999)),
        Contract(keep=(), forget=[], shrinks=0, every=1),
    ]
    assert all(made)


def test_groups_have_an_order_and_a_number() -> None:
    class Endless:
        def __getitem__(self, place: int) -> int:
            return 0

    for groups in ({0, 1}, Endless(), iter([0, 1]), "classes"):
        with pytest.raises(ConfigurationError, match="by must be 'class' or one group per"):
            Keep("loss", absolute=1.0, by=groups)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["shrinks", "every"])
def test_a_truth_is_no_number(name: str) -> None:
    for make in (lambda: Contract(**{name: True}), lambda: Contract(confidence=True), lambda: Keep("loss", True)):
        with pytest.raises(ConfigurationError):
            make()


def test_what_is_not_given_is_not_faulted() -> None:
    """One fault, and nothing of the limits that are right."""
    for make in (
        lambda: Keep("loss", absolute=5.0, by="label"),
        lambda: Keep("perplexity", relative=2.0, by="label"),
        lambda: Keep("accuracy", absolute=0.5, clip=0.0),
        lambda: Forget("accuracy", at_most=0.5, margin=0.1),
        lambda: Contract(keep=[Keep("loss", 1.0)], forget=[Forget("unseen")], every=0),
    ):
        with pytest.raises(ConfigurationError) as caught:
            make()
        assert len(caught.value.faults) <= 2


@pytest.mark.parametrize(
    ("value", "meant"), [(1.0, "0.01"), (5, "0.05"), (99.5, "0.995"), (100, None), (-5, None), (math.inf, None)]
)
def test_a_percentage_is_recognised_where_a_share_is_meant(value: float, meant: str | None) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Keep("accuracy", absolute=value)
    assert (f"Did you mean {meant}?" in str(caught.value)) == (meant is not None)


def test_less_than_one_percent_is_no_percentage() -> None:
    """A margin of 0.6 is too large, and not 0.6 %."""
    with pytest.raises(ConfigurationError) as caught:
        Forget("unseen", margin=0.6)
    assert "Did you mean" not in str(caught.value)


def test_a_confidence_of_a_few_percent_is_not_a_confidence() -> None:
    for value, meant in ((49, False), (50, True), (95, True), (100, False)):
        with pytest.raises(ConfigurationError) as caught:
            Contract(confidence=value)
        assert ("Did you mean" in str(caught.value)) == meant, value


def test_which_way_is_worse_and_what_is_averaged() -> None:
    """Perplexity is judged through the loss: `log(1 + relative)`, or `log(1 + absolute / base)`."""
    assert [Keep(m, relative=0.1).higher for m in ("accuracy", "loss", "perplexity")] == [True, False, False]
    assert [Keep(len, 1.0, better=b).higher for b in ("higher", "lower")] == [True, False]  # type: ignore[arg-type]
    assert Keep("loss", absolute=0.3).averaged() == Keep("loss", absolute=0.3).averaged(9.0) == 0.3
    assert Keep("loss", relative=0.5).averaged() is None and Keep("loss", relative=0.5).averaged(-4.0) == 2.0
    assert Keep("perplexity", relative=0.5).averaged() == pytest.approx(math.log(1.5))
    assert Keep("perplexity", absolute=2.0).averaged() is None
    assert Keep("perplexity", absolute=2.0).averaged(8.0) == pytest.approx(math.log(1.25))
    assert Keep("loss", absolute=0.3).limit == Keep("accuracy", relative=0.3).limit == 0.3


def test_what_one_example_counts() -> None:
    """As asked; else 3 nats of loss, 1 of perplexity, what is usual of a function; 1.2 times the limit at least."""
    assert Keep("loss", absolute=0.3, clip=0.7).counted(0.3, 9.0) == 0.7
    assert Keep("loss", absolute=0.3).counted(0.3, 9.0) == 3.0
    assert Keep("loss", absolute=5.0).counted(5.0, 9.0) == pytest.approx(6.0)
    assert Keep("perplexity", relative=0.1).counted(0.1, 9.0) == 1.0
    assert Keep(len, 1.0, better="lower").counted(1.0, 9.0) == 9.0


def test_more_words() -> None:
    assert Keep("loss", absolute=0.25).text() == "loss rises by at most 0.25 nats"
    assert Keep("perplexity", absolute=0.25).text() == "perplexity rises by at most 0.25"
    assert Keep("accuracy", relative=0.5).text() == "accuracy falls by at most 50 % of the original's"
    assert Keep(len, absolute=2.0, better="lower").text() == "len rises by at most 2"
    assert Keep("loss", absolute=1.0, name="the answer's loss").title == "the answer's loss"

    class Nameless:
        def __call__(self, model: Any, batch: Any) -> Any:
            return batch

    assert Keep(Nameless(), absolute=2.0, better="lower").title == "function"
    assert Forget("loss", at_least=2.5).text() == "forget loss at least 2.5 nats"
    assert Forget("retrained").text() == "forget accuracy within 2 points of the retrained model's"
    assert Forget("unseen", margin=0.1).text() == "unseen: membership AUC at most 0.6"


def test_the_level_of_a_goal() -> None:
    assert [Forget("unseen").level, Forget("retrained").level] == [0.05, 0.02]
    assert [Forget(m, margin=0.0).level for m in ("unseen", "retrained")] == [0.0, 0.0]
    assert (Forget("accuracy", at_most=0.3).level, Forget("loss", at_least=7.0).level) == (0.3, 7.0)


def test_no_clause_is_no_default() -> None:
    assert Contract(keep=()).keeps(True) == () and Contract(forget=()).forgets(whole_class=True) == ()
    own = (Forget("loss", at_least=1.0),)
    assert Contract(forget=own).forgets(whole_class=True) == own
