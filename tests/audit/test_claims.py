from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from unweave.audit.attacks import forget_against_holdout
from unweave.audit.claims import CLAIMS, ITEMS, RUNGS, Finding, claim, finding
from unweave.audit.evidence_parts.over_runs import table_part
from unweave.audit.findings import of_gaps
from unweave.audit.runs import retrain_gap
from unweave.errors import ConfigurationError
from unweave.evaluation import Score
from unweave.evaluation.scores import SHEET

RUNS = {"originals": 8, "unlearned": 8, "retrained": 8}


def up_to(rung: str) -> dict[str, Finding]:
    return {name: "supports" for name, item in ITEMS.items() if item.rung <= rung}


@pytest.mark.parametrize("rung", RUNGS)
def test_all_of_a_rung_and_below_gives_it(rung: str) -> None:
    found = claim(up_to(rung), **RUNS)
    assert found.level == rung and found.text == CLAIMS[rung] and not found.refuted
    assert bool(found.missing) == (rung != "E4")


def test_each_item_holds_its_rung_up() -> None:
    """Without any one item, or with it undecided or refuted, the claim falls below its rung, and says which."""
    cases = 0
    for name, state in itertools.product(ITEMS, (None, "undecided", "refutes")):
        given = up_to("E4")
        if state is None:
            del given[name]
        else:
            given[name] = state  # type: ignore[assignment]
        found = claim(given, **RUNS)
        below = RUNGS.index(ITEMS[name].rung) - 1
        assert found.level == (RUNGS[below] if below >= 0 else None)
        assert len(found.missing) == 1 and ITEMS[name].says in found.missing[0]
        assert found.refuted == (state == "refutes" and name != "blind_baseline"), "that is about the holdout"
        cases += 1
    assert cases == 3 * len(ITEMS)


def test_runs_hold_rungs_up() -> None:
    cases = 0
    for runs, level in (
        ({"originals": 1, "unlearned": 8, "retrained": 8}, "E1"),
        ({"originals": 3, "unlearned": 2, "retrained": 8}, "E1"),
        ({"originals": 3, "unlearned": 3, "retrained": 3}, "E2"),
        ({"originals": 8, "unlearned": 8, "retrained": 7}, "E2"),
        ({"originals": 3, "unlearned": 8, "retrained": 8}, "E4"),
        ({}, "E1"),
    ):
        assert claim(up_to("E4"), **runs).level == level
        cases += 1
    assert cases == 6
    assert "3 retrained models instead of 0" in claim(up_to("E4"), originals=3, unlearned=3).missing
    assert "3 original models instead of 1" in claim(up_to("E4"), originals=1, unlearned=3).missing


def test_nothing_is_no_claim() -> None:
    found = claim({})
    assert found.level is None and len(found.missing) == 2 and "was not looked at" in found.missing[0]


def test_an_audit_that_refutes_is_said_above_all() -> None:
    """A clean sheet below and a failed audit: the claim stays where it is, and the refutation is not hidden."""
    found = claim({**up_to("E2"), "audit": "refutes"}, **RUNS)
    assert found.level == "E2" and found.refuted and "evidence against the method" in found.text
    assert found.against == (ITEMS["audit"].denies,)


def test_a_holdout_that_is_not_exchangeable_is_explained() -> None:
    found = claim({**up_to("E1"), "holdout_attack": "refutes", "blind_baseline": "refutes"})
    assert found.level == "E0" and any("only a comparison with a retrained model" in text for text in found.against)


def test_evidence_becomes_a_finding() -> None:
    rng = np.random.default_rng(0)
    same, off = rng.normal(size=100), rng.normal(2, 1, 100)
    assert finding(forget_against_holdout(same[:50], same[50:]).auc) == "supports"
    assert finding(forget_against_holdout(off, same).auc) == "refutes"
    assert finding(forget_against_holdout(same[:5], same[5:]).auc) == "undecided"


def test_gaps_become_a_finding() -> None:
    def sheets(ua: float, spread: float) -> list[dict[str, Score]]:
        values = {"UA": ua, "RA": 0.99, "TA": 0.9, "MIA_AUC": 0.5}
        steps = (-spread, 0.0, spread)
        return [{q: Score(SHEET[q], {"examples": 100}, v + d) for q, v in values.items()} for d in steps]

    def found(unlearned: list[dict[str, Score]], retrained: list[dict[str, Score]]) -> Finding:
        return of_gaps(table_part(retrain_gap(unlearned, retrained))["metrics"])

    base = sheets(0.1, 0.0005)
    assert found(sheets(0.101, 0.0005), base) == "supports"
    assert found(sheets(0.2, 0.0005), base) == "refutes"
    assert found(sheets(0.1, 0.004), base) == "undecided"
    assert found(base[:1], base) == "undecided"


def test_more_evidence_never_lowers_a_claim() -> None:
    levels = [-1]
    given: dict[str, Finding] = {}
    for name in ITEMS:
        given[name] = "supports"
        level = claim(given, **RUNS).level
        levels.append(-1 if level is None else RUNGS.index(level))
    assert levels == sorted(levels) and levels[-1] == 4


def test_the_words_promise_nothing() -> None:
    texts = [*CLAIMS.values(), *(item.says for item in ITEMS.values())]
    assert not [text for text in texts if re.search(r"\b(erased|deleted|guarantee|proof|proven|complian)", text)]


def test_bad_input_names_every_fault() -> None:
    with pytest.raises(ConfigurationError) as caught:
        claim({"audti": "supports", "ran": "yes"}, retrained=-1)  # type: ignore[dict-item]
    assert len(caught.value.faults) == 3 and "Did you mean 'audit'?" in caught.value.faults[0]
