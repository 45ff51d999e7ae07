"""The words of a report, for a reader who meets them for the first time, and the limits of what it says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unweave.report.page import LIMITS

WORDS = (
    ("forget set", "the training examples whose influence is to be bounded: the request"),
    ("retain set", "the training examples that stay"),
    ("original", "the model before: it was trained on both"),
    ("unlearned", "the model after: the original, with its weights changed by this run"),
    ("retrained", "a model trained from scratch without the forget set: what exact forgetting would give"),
    ("holdout, unseen", "examples like the forget set's that no model was ever trained on"),
    (
        "UA, FA, RA, TA",
        "share got wrong of the forget set, and got right of it; share got right of the retain and of the test set",
    ),
    ("gap", "difference between the unlearned and the retrained model, in points; 0 is exact"),
    ("interval", "the values that are compatible with what was measured, at 95 % confidence"),
    ("null band", "what an exact method, retraining, would show at the same sizes: chance alone"),
    ("margin", "the difference that counts as none, set before anything was measured"),
    (
        "contract, clause",
        "limits set before the run, by the recipe or, where it names none, by default: what may suffer by how much, "
        "and what is forgotten enough",
    ),
    (
        "guard set, final set",
        "retain examples that no step trained on: the first steered the run, the second was read once",
    ),
    ("AUC", "how well an attack tells two kinds of examples apart: 50 % is a coin, 100 % is always"),
    ("MIA", "membership attack: it guesses from what a model says whether an example was trained on"),
    ("p", "how often an exact method would look at least as bad by chance; below 0.05 it is said to be no chance"),
    ("log-odds, nats", "how sure a model is: 0 is even, 2.3 is ten to one, 4.6 a hundred to one"),
)


def limits(card: Mapping[str, Any] | None) -> list[str]:
    """What the page does not say; with evidence over several trainings some of it is said."""
    if card is None:
        return list(LIMITS)
    runs = card["runs"]
    counted = ", ".join(f"{runs[kind]} {kind}" for kind in ("original", "retrained", "unlearned"))
    return [
        *LIMITS[:2],
        f"Intervals over training runs come from {counted} models; all others are over examples, for one model.",
        "An attack that finds nothing is evidence against the attacks that were tried, not against all that exist.",
        *card["notes"],
        LIMITS[-1],
    ]
