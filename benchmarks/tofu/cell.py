"""What is kept of one run: a method with a setting on a split and seed. The only schema of these results."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean, harmonic_mean
from typing import Any

SCHEMA = 1
RESULTS = Path(__file__).parents[1] / "results" / "tofu.jsonl"
ENDS = ("original", "retrained", "retrained_again")
"""The ends of the scale, kept as cells like the methods."""


@dataclass(frozen=True)
class Place:
    """Which run it is; cells are read by these in turn. `order` draws its batches; None is the seed's own."""

    split: str
    seed: int
    method: str
    setting: str = "none"
    order: int | None = None


@dataclass(frozen=True)
class Cell:
    """One run, scored at one or several places on its way.

    Attributes:
        scores: of the model at each share of the budget, by the names of the sheet; None where undefined.
        settings: everything that the run was given.
        budget: gradients of single sequences that it could spend; a backward pass counts as two forward ones.
        spent: of them, at each place.
        steps: steps at each place.
        reason: why the run ended.
        seconds: processor time of the run, without the scores.
        world: sizes of everything.
        fingerprint: of the world: cells of different worlds are not compared.
    """

    place: Place
    scores: dict[str, dict[str, float | None]]
    settings: dict[str, Any] = field(default_factory=dict)
    budget: float = 0.0
    spent: dict[str, float] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    reason: str = ""
    seconds: float = 0.0
    world: dict[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    versions: dict[str, Any] = field(default_factory=dict)
    created: str = ""
    schema: int = SCHEMA

    def write(self, suite: Path) -> None:
        """Appends it to a suite, as several processes may at once; of one place the last counts."""
        suite.parent.mkdir(parents=True, exist_ok=True)
        with suite.open("a") as file:
            file.write(json.dumps(asdict(self), allow_nan=False) + "\n")


def merit(scores: dict[str, float | None]) -> float:
    """What settings are chosen by: the harmonic mean of 1 - D and model utility, D the distance of forget quality's
    Kolmogorov-Smirnov test. Graded where the p-value is 0 to all digits; 0 where either is undefined.
    """
    apart, utility = scores["ks_distance"], scores["model_utility"]
    if apart is None or utility is None or not math.isfinite(apart + utility):
        return 0.0
    return harmonic_mean([max(0.0, 1 - apart), max(0.0, utility)])


COMPARED = (
    "ks_distance",
    "model_utility",
    "forget_probability",
    "forget_rouge",
    "mia_loss",
    "mia_min_k",
    "relearned_probability",
    "retain_probability",
    "retain_rouge",
)
"""What a model is compared in with the retrained one of its seed, all in [0, 1]; forget quality is the p-value of the
first of them."""


def distance(scores: dict[str, float | None], retrained: dict[str, float | None]) -> float | None:
    """What methods are judged by: the mean of |score - the retrained model's| over `COMPARED`; 0 is the retrained
    model. Its null is the distance of a second retrained model. None where a score is undefined.
    """
    pairs = [(scores[name], retrained[name]) for name in COMPARED]
    apart = [abs(one - other) for one, other in pairs if one is not None and other is not None]
    return fmean(apart) if len(apart) == len(COMPARED) else None


def cells(suite: Path, split: str, seed: int | None = None) -> dict[Place, Cell]:
    """All that is there of a split, or of one seed; a cell of another schema is an error, not a guess."""
    found = {}
    for number, line in enumerate(suite.read_text().splitlines() if suite.exists() else (), 1):
        content = json.loads(line)
        if content.get("schema") != SCHEMA:
            raise SystemExit(
                f"{suite}, line {number}: schema {content.get('schema')}, not {SCHEMA}: remove it and run again"
            )
        place = Place(**content["place"])
        if place.split == split and seed in (None, place.seed):
            found[place] = Cell(**{**content, "place": place})
    return dict(sorted(found.items(), key=lambda item: tuple(str(part) for part in asdict(item[0]).values())))


def best(suite: Path, split: str, seed: int, method: str) -> tuple[str, str] | None:
    """A method's setting and place with the highest merit among the runs of a split and seed, in its own order."""
    found = [
        (merit(scores), cell.place.setting, place)
        for cell in cells(suite, split, seed).values()
        if cell.place.method == method and cell.place.order is None
        for place, scores in cell.scores.items()
    ]
    return max(found)[1:] if found else None
