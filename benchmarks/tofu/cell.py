"""What is kept of one run: a method with a setting on a split and seed. The only schema of these results."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import harmonic_mean
from typing import Any

from unweave.data.cache import atomically

SCHEMA = 1
RESULTS = Path(__file__).parents[1] / "results" / "tofu"
ENDS = ("original", "retrained", "retrained_again")
"""The ends of the scale, kept as cells like the methods."""


@dataclass(frozen=True)
class Place:
    """Which run it is; also where its file lies."""

    split: str
    seed: int
    method: str
    setting: str = "none"

    def path(self, root: Path) -> Path:
        name = f"{self.method}.{self.setting.replace(' ', '_')}.json"
        return root / f"{self.split}-{self.seed}" / name


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

    def write(self, root: Path) -> None:
        content = json.dumps(asdict(self), indent=1, allow_nan=False)
        atomically(self.place.path(root), (content + "\n").encode())


def merit(scores: dict[str, float | None]) -> float:
    """What settings are chosen by: the harmonic mean of 1 - D and model utility, D the distance of forget quality's
    Kolmogorov-Smirnov test. Graded where the p-value is 0 to all digits; 0 where either is undefined.
    """
    apart, utility = scores["ks_distance"], scores["model_utility"]
    if apart is None or utility is None or not math.isfinite(apart + utility):
        return 0.0
    return harmonic_mean([max(0.0, 1 - apart), max(0.0, utility)])


def read(path: Path) -> Cell:
    """A cell from its file; a file of another schema is an error, not a guess."""
    content = json.loads(path.read_text())
    if content.get("schema") != SCHEMA:
        raise SystemExit(f"{path} is of schema {content.get('schema')}, not {SCHEMA}: remove it and run again")
    return Cell(**{**content, "place": Place(**content["place"])})


def cells(root: Path, split: str, seed: int | None = None) -> Iterator[Cell]:
    """All that is there of a split, or of one seed."""
    return map(read, sorted(root.glob(f"{split}-{'*' if seed is None else seed}/*.json")))


def best(root: Path, split: str, seed: int, method: str) -> tuple[str, str] | None:
    """A method's setting and place with the highest merit among the runs of a split and seed."""
    found = [
        (merit(scores), cell.place.setting, place)
        for cell in cells(root, split, seed)
        if cell.place.method == method
        for place, scores in cell.scores.items()
    ]
    return max(found)[1:] if found else None
