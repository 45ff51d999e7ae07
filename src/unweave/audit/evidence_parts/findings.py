"""From numbers to a claim: what each piece of evidence says, and the strongest claim that all of it supports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from unweave.audit.attacks import Blind, Bound, PerExample
from unweave.audit.attacks.ulira import ULira
from unweave.audit.claims import ITEMS, Claim, Finding
from unweave.audit.evidence_parts.attacks import Attacks
from unweave.audit.runs import GapTable
from unweave.evaluation.evidence import Evidence
from unweave.evaluation.value import UndefinedScore

LEVEL = 0.05
FAMILY = 7
"""Items of the claim that rest on a test. Each refutes at `LEVEL / FAMILY`, so that any of them refutes an exact method
in at most 5 % of cases. It supports above `LEVEL`; between the two it is undecided. The bound of epsilon has its own
confidence, 95 % on halves of the models."""


def tested(p_values: Iterable[float | None]) -> Finding:
    """Of one item that rests on several tests of "this method is exact", by the smallest p, after Bonferroni."""
    known = list(p_values)
    if not known or any(p is None for p in known):
        return "undecided"
    smallest = len(known) * min(p for p in known if p is not None)
    return "refutes" if smallest <= LEVEL / FAMILY else "undecided" if smallest <= LEVEL else "supports"


def of_gaps(table: GapTable) -> Finding:
    """All gaps with a margin are equivalent, and no other is different: supports. One of them is different, surely
    enough: refutes."""
    gaps = [gap for gap in table.gaps.values() if gap.margin is not None]
    beside = [gap for gap in table.gaps.values() if gap.margin is None]
    if gaps and all(gap.verdict == "equivalent" for gap in gaps):
        return "undecided" if any(gap.verdict == "different" for gap in beside) else "supports"
    beyond = tested(gap.evidence.p if gap.verdict == "different" else 1.0 for gap in gaps)
    return "refutes" if beyond == "refutes" else "undecided"


def of_examples(found: PerExample | UndefinedScore) -> Finding:
    """The three global statistics; undecided where no arrangement could reach 5 % after Bonferroni."""
    if isinstance(found, UndefinedScore) or len(found.overall) * found.smallest_p > LEVEL:
        return "undecided"
    return tested(evidence.p for evidence in found.overall.values())


def of_bound(bound: Bound) -> Finding:
    """A bound above 0 refutes; a bound of 0 supports where the experiment could have shown more than 0."""
    if bound.evidence.value is None or not bound.ceiling > 0:
        return "undecided"
    return "refutes" if bound.evidence.value > 0 else "supports"


def of_blind(blind: Blind) -> Finding:
    """What the blind baseline says of the holdout."""
    return "undecided" if blind.exchangeable is None else "supports" if blind.exchangeable else "refutes"


def of_attacks(found: Attacks, names: Iterable[str]) -> Finding:
    """The first model's AUC where the holdout is exchangeable; otherwise the distance to retrained ones, over runs."""
    p_values = []
    for name in names:
        triple = found.triples[name]
        if isinstance(triple, UndefinedScore):
            return "undecided"
        own = triple.attacks["unlearned"].auc if found.blind.exchangeable else found.above[name]
        p_values.append(own.p)
    return tested(p_values)


def of_ulira(found: ULira) -> Finding:
    """The AUC and the worst decile."""
    return tested((found.auc.p, found.worst.p))


def of_recovered(found: Iterable[Evidence]) -> Finding:
    """Attacks on the triple; those that saw nothing to recover do not count.

    It supports only if every attack that could see anything has an interval that holds 0 and rules out half of what
    the original had: a wide interval is no evidence.
    """
    seen = [each for each in found if each.value is not None]
    if tested(each.p if (each.value or 0.0) > 0 else 1.0 for each in seen) == "refutes":
        return "refutes"
    inside = all(e.low is not None and e.high is not None and e.low <= 0 and e.high < 0.5 for e in seen)
    return "supports" if seen and inside else "undecided"


def kept(verdicts: Iterable[Mapping[str, Any]], side: str | None = None) -> Finding:
    """The clauses of all runs' contracts, of one side ("keep") or of both; undecided without any, or if one is."""
    states = [
        each.get("state") or ("met" if each["met"] else "missed")
        for each in verdicts
        if side is None or each["side"] == side
    ]
    if "missed" in states:
        return "refutes"
    return "supports" if states and set(states) == {"met"} else "undecided"


def claim_part(claim: Claim, found: Mapping[str, Finding]) -> dict[str, Any]:
    """`claim` of `evidence.json`: the claim, and every item with what was found of it."""
    items = [{"name": name, **asdict(item), "finding": found.get(name)} for name, item in ITEMS.items()]
    return {**asdict(claim), "refuted": claim.refuted, "items": items}
