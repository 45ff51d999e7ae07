"""The claim ladder: the strongest claim that the evidence at hand supports, and what would lift it one step.

    E0  it ran: weights changed, all outputs finite, the forget set is in no other set
    E1  one original model, no reference: a membership attack against a holdout that the blind baseline found
        exchangeable; the utility kept; the budget met
    E2  at least 3 originals, 3 unlearned and 3 retrained models: gaps equivalent to retraining, with null rows
    E3  at least 8 unlearned and 8 retrained models: no example is told apart; a per-example attack finds nothing; what
        was forgotten does not come back under attack
    E4  the randomised-inclusion audit, and an attack made for this method

A rung needs all of its items and all rungs below. What speaks against the method is said, at whatever rung: a claim is
what survives, not what was looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from unweave.errors import ConfigurationError, suggest
from unweave.evaluation.metric import Score

Finding = Literal["supports", "refutes", "undecided"]
FINDINGS = ("supports", "refutes", "undecided")
RUNGS = ("E0", "E1", "E2", "E3", "E4")
CLAIMS = {
    None: "No claim: it is not even known that the run did what it should.",
    "E0": "The method ran, and its model still answers. Nothing is known of what it forgot.",
    "E1": "On this one model, the attacks that were tried cannot tell the data to forget from unseen data, and the "
    "model works as was agreed.",
    "E2": "Over several trainings, results are those of models retrained without the data, within margins set before.",
    "E3": "Over many trainings, the attacks that were tried cannot tell a single example from retraining, and what was "
    "forgotten does not come back under attack.",
    "E4": "In a test with coins drawn before training, and against attacks made for this method, no trace was found.",
}


@dataclass(frozen=True)
class Item:
    """One piece of evidence: the rung that needs it, what it says if it supports and if it refutes, how to get it.

    What it says is for whoever signs, in plain words; how to get it is for whoever collects it.
    """

    rung: str
    says: str
    denies: str
    get: str


ITEMS = {
    "ran": Item(
        "E0",
        "the weights changed, and the model still gives answers",
        "The model did not change, or does not answer any more.",
        "run the method to its end, on a request that its original does not meet",
    ),
    "disjoint": Item(
        "E0",
        "no example to forget is also among those to keep or to test with",
        "Some examples to forget are also among those to keep or to test with.",
        "scan retain, test and holdout set for forget records",
    ),
    "holdout_attack": Item(
        "E1",
        "an attack does not tell the data to forget from unseen data",
        "An attack tells the data to forget from unseen data.",
        "`unweave evidence`; in Python `forget_against_holdout` with a holdout set",
    ),
    "blind_baseline": Item(
        "E1",
        "the unseen data that attacks compare with are like the data to forget",
        "The unseen data that attacks compare with differ from the data to forget, also without the model.",
        "`unweave evidence`; in Python `blind_baseline` on the same two sets",
    ),
    "utility": Item(
        "E1",
        "the model works as well as was agreed, on data set aside",
        "The model does not work as well as was agreed.",
        "the scores on retain and test set, or a contract",
    ),
    "budget": Item(
        "E1",
        "every limit that was agreed is kept",
        "A limit that was agreed was not kept.",
        "a run under a contract that is met",
    ),
    "gaps": Item(
        "E2",
        "results are those of retrained models, within margins set before",
        "Results differ from those of retrained models, by more than chance.",
        "`unweave evidence`; in Python `retrain_gap` with `Margins`",
    ),
    "per_example": Item(
        "E3",
        "no single example to forget differs from what it is in retrained models",
        "Single examples to forget differ from what they are in retrained models.",
        "`unweave evidence`; in Python `per_example` on the margins of all models",
    ),
    "epsilon": Item(
        "E3",
        "no difference from retraining is measured, by a test that would see one",
        "A difference from retraining is measured that chance does not explain.",
        "`unweave evidence`; in Python `epsilon_bound`",
    ),
    "per_example_attack": Item(
        "E3",
        "an attack on single records does no better than chance",
        "An attack on single records tells which were forgotten.",
        "`unweave evidence`; in Python `u_lira` with 16 models or more",
    ),
    "retain_exposure": Item(
        "E3",
        "no single example to keep differs from what it is in retrained models",
        "Examples to keep are not what they are in retrained models: exposed, or damaged.",
        "`unweave evidence`; in Python `per_example` on retain records",
    ),
    "robustness": Item(
        "E3",
        "a little training or rounding brings back no more than in models that never saw it",
        "What was forgotten comes back with a little training or rounding, as it does not in models that never saw it: "
        "it was in part hidden.",
        "`unweave evidence`; in Python `recovered_share` after relearning",
    ),
    "audit": Item(
        "E4",
        "in a test with coins drawn before training, nothing tells which records were trained on",
        "In a test with coins drawn before training, the model tells which records were trained on and forgotten.",
        "`unweave audit plan` before the next training",
    ),
    "adaptive_attack": Item(
        "E4",
        "an attack made for this method finds nothing",
        "An attack made for this method finds what was forgotten.",
        "an attack that knows the method",
    ),
}
UNDECIDED = "undecided so far"
BLIND = "blind_baseline"
"""It speaks about the holdout, not about the method."""
RUNS = {
    "E2": {"originals": 3, "unlearned": 3, "retrained": 3},
    "E3": {"originals": 3, "unlearned": 8, "retrained": 8},
}


@dataclass(frozen=True)
class Claim:
    """The strongest claim that is supported.

    Args:
        level: "E0" to "E4"; None where not even E0 is.
        text: the claim in words, with its limits.
        against: what refutes the method, in words, at whatever rung.
        missing: what would lift the claim one step: every item of the next rung that is not supported.
    """

    level: str | None
    text: str
    against: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def refuted(self) -> bool:
        """Some evidence speaks against the method: exit code 3."""
        return bool(self.against)


def claim(found: Mapping[str, Finding], *, originals: int = 1, unlearned: int = 1, retrained: int = 0) -> Claim:
    """The strongest claim for what was found.

    Args:
        found: for each of `ITEMS` that was looked at, whether it supports, refutes, or leaves open.
        originals: original models, each of a training of its own, that were unlearned.
        unlearned: unlearned models.
        retrained: models retrained without the forget set.

    Raises:
        ConfigurationError: an unknown item or finding, or a negative number.
    """
    faults = [f"Unknown evidence {name!r}.{suggest(name, ITEMS)}" for name in found if name not in ITEMS]
    faults += [
        f"{name} must be one of {', '.join(FINDINGS)}; found {finding!r}."
        for name, finding in found.items()
        if finding not in FINDINGS
    ]
    runs = {"originals": originals, "unlearned": unlearned, "retrained": retrained}
    faults += [f"{name} must be 0 or more; found {n}." for name, n in runs.items() if n < 0]
    if faults:
        raise ConfigurationError(faults)
    level: str | None = None
    missing: tuple[str, ...] = ()
    for rung in RUNGS:
        missing = tuple(f"{text} ({state}{get})" if state else text for text, state, get in _lacking(rung, found, runs))
        if missing:
            break
        level = rung
    refuting = [name for name, finding in found.items() if finding == "refutes" and name != BLIND]
    against = tuple(_refutation(name, found) for name in refuting)
    text = CLAIMS[level]
    if against:
        text += " But there is evidence against the method: see there first."
    return Claim(level, text, against, missing)


def finding(evidence: Score, level: float = 0.05) -> Finding:
    """What a test says of the method: it refutes at a p-value of at most the level, and supports above it.

    Not to find is to support only as far as the attack could have found: the null level says how far. Where there is no
    value or no p-value, it is undecided.
    """
    if evidence.value is None or evidence.p is None:
        return "undecided"
    return "refutes" if evidence.p <= level else "supports"


def asks(
    level: str | None, found: Mapping[str, Finding], *, originals: int = 1, unlearned: int = 1, retrained: int = 0
) -> tuple[str, ...]:
    """What would make a claim stronger, in plain words, for whoever has to ask for it.

    What would lift it one step, and what was looked at for later ones and is undecided; what is refuted lacks no
    evidence.
    """
    place = -1 if level is None else RUNGS.index(level)
    runs = {"originals": originals, "unlearned": unlearned, "retrained": retrained}
    lacking = _lacking(RUNGS[place + 1], found, runs) if place + 1 < len(RUNGS) else []
    later = [item for rung in RUNGS[place + 2 :] for item in _lacking(rung, found, {}) if item[1] == "is undecided"]
    words = {"was not looked at": "not tested so far", "is undecided": UNDECIDED}
    said = ((text, words.get(state)) for text, state, _ in (*lacking, *later) if state != "is refuted")
    return tuple(f"evidence {text} ({state})" if state else text for text, state in said)


def _lacking(rung: str, found: Mapping[str, Finding], runs: Mapping[str, int]) -> list[tuple[str, str, str]]:
    """What a rung lacks, what became of it so far, and how to get it."""
    lacking = [
        (f"{needed} {name.removesuffix('s')} models instead of {runs[name]}", "", "")
        for name, needed in RUNS.get(rung, {}).items()
        if runs.get(name, needed) < needed
    ]
    for name, item in ITEMS.items():
        if item.rung == rung and (finding := found.get(name)) != "supports":
            state = {None: "was not looked at", "refutes": "is refuted", "undecided": "is undecided"}[finding]
            lacking.append((f"that {item.says}", state, f": {item.get}"))
    return lacking


def _refutation(name: str, found: Mapping[str, Finding]) -> str:
    text = ITEMS[name].denies
    if name == "holdout_attack" and found.get(BLIND) == "refutes":
        text += " But the two sets differ without the model, too: only a comparison with a retrained model can be read."
    return text
