"""From the numbers of `evidence.json` to the items of the claim ladder: what each of them says of the method."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from unweave.audit.claims import ITEMS, Claim, Finding
from unweave.contract.keeper import NOTHING

LEVEL = 0.05
FAMILY = 7
"""Items of the claim that rest on a test. Each refutes at `LEVEL / FAMILY`, so that any of them refutes an exact method
in at most 5 % of cases. It supports above `LEVEL`; between the two it is undecided. The bound of epsilon has its own
confidence, 95 % on halves of the models."""
Json = Mapping[str, Any]


def findings(evidence: Json, finite: bool) -> dict[str, Finding]:
    """What is found of every item that `unweave evidence` looks at.

    Args:
        evidence: what `evidence.json` holds, all parts but the claim.
        finite: all outputs of the unlearned models are.
    """
    unlearned = [made for made in evidence["runs"]["models"] if made["kind"] == "unlearned"]
    clauses = [clause for made in unlearned for clause in made["contract"]]
    attacks, over, brought = evidence["attacks"], evidence["over_runs"], evidence["robustness"]
    tried = [*brought["relearning"], *(each for each in brought["precision"] if each["precision"] != "fp32")]
    shadows, alone = over["u_lira"], [name for name in ("rmia",) if name in attacks["triple"]]
    return {
        "ran": of_ends(unlearned, finite),
        "disjoint": "supports",  # checked when the request was made; neither set shares an image with the test set
        "utility": kept(clauses, "keep"),
        "budget": kept(clauses),
        "gaps": of_gaps(evidence["gaps"]["unlearned"]["metrics"]),
        "per_example": of_examples(evidence["per_example"]["forget"]),
        "retain_exposure": of_examples(evidence["per_example"]["retain"]),
        "blind_baseline": of_blind(attacks["blind"]),
        "holdout_attack": of_attacks(attacks, [name for name in ("loss", "joined") if name in attacks["triple"]]),
        "per_example_attack": of_attacks(attacks, alone) if "reason" in shadows else of_ulira(shadows),
        "epsilon": of_bound(over["epsilon"]),
        "robustness": of_recovered(each["recovered"] for each in tried),
    }


def tested(p_values: Iterable[float | None]) -> Finding:
    """Of one item that rests on several tests of "this method is exact", by the smallest p, after Bonferroni."""
    known = list(p_values)
    if not known or any(p is None for p in known):
        return "undecided"
    smallest = len(known) * min(p for p in known if p is not None)
    return "refutes" if smallest <= LEVEL / FAMILY else "undecided" if smallest <= LEVEL else "supports"


def of_ends(unlearned: Iterable[Json], finite: bool) -> Finding:
    """That a model stayed as it was speaks against the method, unless nothing was asked of it."""
    still = [made["ended"] for made in unlearned if not made["changed"]]
    if not finite or any(ended != NOTHING for ended in still):
        return "refutes"
    return "undecided" if still else "supports"


def kept(clauses: Iterable[Json], side: str | None = None) -> Finding:
    """The clauses of all runs' contracts, of one side ("keep") or of both; undecided without any, or if one is."""
    states = [
        each.get("state") or ("met" if each["met"] else "missed")
        for each in clauses
        if side is None or each["side"] == side
    ]
    if "missed" in states:
        return "refutes"
    return "supports" if states and set(states) == {"met"} else "undecided"


def of_gaps(metrics: Mapping[str, Json]) -> Finding:
    """All gaps with a margin are equivalent, and no other is different: supports. One of them is different, surely
    enough: refutes."""
    gaps = [gap for gap in metrics.values() if gap["margin"] is not None]
    beside = [gap for gap in metrics.values() if gap["margin"] is None]
    if gaps and all(gap["verdict"] == "equivalent" for gap in gaps):
        return "undecided" if any(gap["verdict"] == "different" for gap in beside) else "supports"
    beyond = tested(gap["p"] if gap["verdict"] == "different" else 1.0 for gap in gaps)
    return "refutes" if beyond == "refutes" else "undecided"


def of_examples(part: Json) -> Finding:
    """The three global statistics; undecided where no arrangement could reach 5 % after Bonferroni."""
    if "reason" in part or len(part["overall"]) * part["smallest_p"] > LEVEL:
        return "undecided"
    return tested(each["p"] for each in part["overall"].values())


def of_blind(blind: Json) -> Finding:
    """What the blind baseline says of the holdout."""
    return "undecided" if blind["exchangeable"] is None else "supports" if blind["exchangeable"] else "refutes"


def of_attacks(part: Json, names: Iterable[str]) -> Finding:
    """The first model's AUC where the holdout is exchangeable; otherwise the distance to retrained ones, over runs."""
    triples = [part["triple"][name] for name in names]
    if any("reason" in triple for triple in triples):
        return "undecided"
    near = part["blind"]["exchangeable"]
    return tested((t["models"]["unlearned"]["auc"] if near else t["above_retrained"])["p"] for t in triples)


def of_ulira(part: Json) -> Finding:
    """The AUC and the worst decile."""
    return tested((part["auc"]["p"], part["worst"]["p"]))


def of_bound(bound: Json) -> Finding:
    """A bound above 0 refutes; a bound of 0 supports where the experiment could have shown more than 0."""
    if bound["value"] is None or not bound["ceiling"] > 0:
        return "undecided"
    return "refutes" if bound["value"] > 0 else "supports"


def of_recovered(shares: Iterable[Json]) -> Finding:
    """Attacks on the triple; those that saw nothing to recover do not count.

    It supports only if every attack that could see anything has an interval that holds 0 and rules out half of what
    the original had: a wide interval is no evidence.
    """
    seen = [each for each in shares if each["value"] is not None]
    if tested(each["p"] if each["value"] > 0 else 1.0 for each in seen) == "refutes":
        return "refutes"
    inside = all(e["low"] is not None and e["high"] is not None and e["low"] <= 0 and e["high"] < 0.5 for e in seen)
    return "supports" if seen and inside else "undecided"


def claim_part(claim: Claim, found: Mapping[str, Finding]) -> dict[str, Any]:
    """`claim` of `evidence.json`: the claim, and every item with what was found of it."""
    items = [{"name": name, **asdict(item), "finding": found.get(name)} for name, item in ITEMS.items()]
    return {**asdict(claim), "refuted": claim.refuted, "items": items}
