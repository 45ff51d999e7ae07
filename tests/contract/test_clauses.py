"""What can be written, and what is said of what cannot."""

from __future__ import annotations

import math
from typing import Any

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
