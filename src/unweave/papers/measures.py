"""What is read of a run's directory: its scores, its cost, and what its steps say."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from unweave.run.steps_log import read_steps

Json = Mapping[str, Any]
_FORM = re.compile(r"(?P<name>[a-zA-Z_]\w*)(?:\((?P<at>[0-9.]+)\))?\Z")


class Ran:
    """A finished run: its files, read once."""

    def __init__(self, folder: Path) -> None:
        self.summary, scores = (json.loads((folder / f"{n}.json").read_text("utf-8")) for n in ("summary", "scores"))
        self.models: Json = scores["models"]
        self.gaps: Json = scores["gaps"]
        self.steps = [each for each in read_steps(folder / "steps.jsonl") if each["accepted"]]
        self.recipe = yaml.safe_load((folder / "recipe.yaml").read_text("utf-8"))

    def score(self, name: str, model: str = "unlearned") -> float | None:
        """A score of one of its models; None where it is not defined."""
        found = self.models.get(model, {}).get(name, {}).get("value")
        return None if found is None else float(found)

    def rise(self, name: str, model: str) -> float | None:
        """How much more of a score a model has than the original."""
        after, before = self.score(name, model), self.score(name, "original")
        return None if after is None or before is None else after - before

    def gap(self, name: str, model: str) -> float | None:
        """How far one of its models is from the retrained one, in points."""
        found = self.gaps.get(model, {}).get(name, {}).get("value")
        return None if found is None else float(found)

    def path(self) -> tuple[list[float], list[float]] | None:
        """How far the forget loss rose and the retain loss fell, before every step, on that step's batches.

        None where the forget objective is no ascent: then it says nothing of the forget loss.
        """
        if not self.steps or self.recipe["method"]["name"] not in ASCENDING:
            return None
        forget, retain = zip(*(each["losses"] for each in self.steps), strict=True)
        return [forget[0] - f for f in forget], [retain[0] - r for r in retain]


ASCENDING = frozenset(
    {"hamu_q", "hamu_u", "unilateral_surgery", "eupmu", "ofmu", "gradient_ascent", "graddiff", "kl", "pcgrad", "gru"}
    | {"ngdiff", "munba", "mgda", "cagrad", "upgrad", "imtl_g", "aligned_mtl"}
)
"""Rows whose forget objective is minus the forget loss."""


def quota_missed(ran: Ran, _: float = 0.0) -> float | None:
    """The largest share of HAMU's quota that a step missed, to first order: 0 where every step improved it by Q.

    `Q / lr = ratio sum_i R_i |b_i|` with `R_i = |a_i|`, or the fixed `radius`, over the blocks of the step's Gramian.
    """
    method = ran.recipe["method"]
    side = {"hamu_q": 0, "hamu_u": 1}.get(method["name"])
    if side is None or not ran.steps or not method.get("ratio"):
        return None
    found = [0.0]
    for step in ran.steps:
        feasible = gain = 0.0
        for block, w in zip(step["gramian"], step["weights"], strict=True):
            radius = method.get("radius") or math.sqrt(block[1 - side][1 - side])
            feasible += radius * math.sqrt(block[side][side])
            gain += sum(block[side][k] * w[k] for k in (0, 1))
        if feasible:
            found.append(1 - gain / (float(method["ratio"]) * feasible))
    return max(found)


def retain_fall_at(ran: Ran, rise: float) -> float | None:
    """How far the retain loss has fallen when the forget loss has first risen so far, on a line between two steps."""
    path = ran.path()
    if path is None:
        return None
    forget, retain = path
    for k in range(1, len(forget)):
        if forget[k] >= rise:
            share = (rise - forget[k - 1]) / (forget[k] - forget[k - 1]) if forget[k] > forget[k - 1] else 1.0
            return retain[k - 1] + share * (retain[k] - retain[k - 1])
    return None


def largest_retain_rise(ran: Ran, _: float = 0.0) -> float | None:
    """The most that the retain loss lay above the lowest that it had been before: what EUPMU's tolerance bounds."""
    if not ran.steps:
        return None
    lowest, most = math.inf, 0.0
    for step in ran.steps:
        lowest = min(lowest, step["losses"][1])
        most = max(most, step["losses"][1] - lowest)
    return most


def _mean(key: str, first: bool = False) -> Callable[[Ran, float], float | None]:
    def mean(ran: Ran, _: float) -> float | None:
        values = [each[key] for each in ran.steps if each[key] is not None]
        return (values[0] if first else fmean(values)) if values else None

    return mean


def _per_step(ran: Ran, _: float) -> float | None:
    return float(ran.summary["seconds"]) / ran.summary["steps"] if ran.summary["steps"] else None


RISES = {"forget_rise": "forget_loss", "retain_rise": "retain_loss", "test_rise": "test_loss"}
MEASURES: dict[str, tuple[str, Callable[[Ran, float], float | None]]] = {
    "distance": ("distance to the retrained model, points", lambda ran, _: ran.gap("average_gap", "unlearned")),
    "forget_rise": ("rise of the forget loss, nats", lambda ran, _: ran.rise("forget_loss", "unlearned")),
    "retain_rise": ("rise of the retain loss, nats", lambda ran, _: ran.rise("retain_loss", "unlearned")),
    "test_rise": ("rise of the loss on unseen data, nats", lambda ran, _: ran.rise("test_loss", "unlearned")),
    "retain_fall_at": ("fall of the retain loss where the forget loss has risen by ( ) nats", retain_fall_at),
    "largest_retain_rise": ("most that the retain loss rose above its lowest, nats", largest_retain_rise),
    "quota_missed": ("largest share of its quota that a step missed, to first order", quota_missed),
    "kappa": ("hardness, mean over steps", _mean("kappa")),
    "first_kappa": ("hardness at the first step", _mean("kappa", first=True)),
    "cosine": ("cosine of the gradients, mean over steps", _mean("cosine")),
    "steps": ("steps", lambda ran, _: float(ran.summary["steps"])),
    "seconds": ("seconds", lambda ran, _: float(ran.summary["seconds"])),
    "seconds_a_step": ("seconds a step", _per_step),
}
"""By name: in words, and how it is read; every other name is a score's (`unweave metrics`)."""


def parsed(text: str) -> tuple[str, float]:
    """A measure's name and its argument, `retain_fall_at(1.0)`.

    Raises:
        ValueError: it is written otherwise.
    """
    match = _FORM.match(text)
    if match is None or (match["at"] is not None) != (match["name"] == "retain_fall_at"):
        raise ValueError(f"expected a measure such as UA, distance or retain_fall_at(1.0), found {text!r}")
    return match["name"], float(match["at"] or 0)


def measured(ran: Ran, text: str) -> float | None:
    """A measure of the unlearned model, or of its run; None where it is not defined."""
    name, at = parsed(text)
    return MEASURES[name][1](ran, at) if name in MEASURES else ran.score(name)


def beside(ran: Ran, text: str, model: str) -> float | None:
    """The same of another model than the unlearned one; None of what only a run has."""
    name = parsed(text)[0]
    if name == "distance":
        return ran.gap("average_gap", model)
    if name in RISES:
        return ran.rise(RISES[name], model)
    return None if name in MEASURES else ran.score(name, model)


def worded(text: str) -> str:
    """In words."""
    name, at = parsed(text)
    return MEASURES[name][0].replace("( )", f"{at:g}") if name in MEASURES else name
