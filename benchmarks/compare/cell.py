"""What is kept of one run: one method with one setting on one request and seed. The only schema of the results."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from unweave.evaluation.gap import GAP_METRICS

SCHEMA = 1
RESULTS = Path(__file__).parents[1] / "results"
SCORES = ("UA", "FA", "RA", "TA", "MIA_AUC", "forget_loss", "retain_loss", "test_loss")
CAP = 100.0
ENDS = ("original", "retrained", "retrained_again")
"""The ends of the scale, kept as cells like the methods."""


def folder(text: str) -> Path:
    """That of the results, as an argument of a command."""
    if (path := Path(text)).exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(
            f"{text}: expected a folder, found a file; results of one data set are a file in it"
        )
    return path


@dataclass(frozen=True)
class Place:
    """Which run it is. `order` draws its batches; None is the seed's own."""

    data: str
    request: str
    seed: int
    method: str
    setting: str = "none"
    order: int | None = None


@dataclass(frozen=True)
class Cell:
    """One run and how it ended.

    Attributes:
        arguments, step: the method's hyperparameters other than its defaults, and the step length.
        rule: all hyperparameters of the method's rule, defaults among them.
        scores: of the model, shares in [0, 1] and losses in nats; None where undefined.
        gaps: to the retrained model, in points; `average_gap` is the mean of their sizes.
        target: forget accuracy or membership AUC at which to stop, whichever the request is stopped by.
        reached: the model that was left meets the target.
        diverged: a loss, direction or score was not finite, or less than half of the retain set is right at the end.
        steps, attempts: steps that moved the weights, and all.
        repairs, restorations: of all, those that repaired, and those of a push that only descended the retain loss.
        seconds: of the clock, looks at the target included; of the training, for retrained models.
        cpu_seconds: the same in processor time, which other processes on the machine do not change.
        forward, backward: images that went forward and backward through a model while unlearning.
        forget, retain: sizes of the sets.
    """

    place: Place
    scores: dict[str, float | None]
    gaps: dict[str, float | None]
    arguments: dict[str, Any] = field(default_factory=dict)
    step: dict[str, Any] = field(default_factory=dict)
    rule: dict[str, Any] = field(default_factory=dict)
    target: float | None = None
    reached: bool = False
    diverged: bool = False
    reason: str = ""
    steps: int = 0
    attempts: int = 0
    repairs: int = 0
    restorations: int = 0
    seconds: float | None = None
    cpu_seconds: float | None = None
    forward: int = 0
    backward: int = 0
    forget: int = 0
    retain: int = 0
    versions: dict[str, Any] = field(default_factory=dict)
    commit: str = ""
    created: str = ""
    schema: int = SCHEMA

    @property
    def gap(self) -> float:
        """Mean distance to the retrained model in points; infinite where a score is undefined."""
        value = self.gaps["average_gap"]
        return math.inf if value is None else value

    @property
    def passes(self) -> float:
        """Cost in plain gradients of single images: a backward pass counts as two forward ones."""
        return (self.forward + 2 * self.backward) / 3

    def write(self, root: Path) -> None:
        """Appends it to the suite of its data set, as several processes may at once; of one place the last counts."""
        root.mkdir(parents=True, exist_ok=True)
        with (root / f"{self.place.data}.jsonl").open("a") as file:
            file.write(json.dumps(asdict(self), allow_nan=False) + "\n")


def cells(root: Path, data: str) -> dict[Place, Cell]:
    """All that is there of a data set; a cell of another schema is an error, not a guess."""
    path, found = root / f"{data}.jsonl", {}
    for number, line in enumerate(path.read_text().splitlines() if path.exists() else (), 1):
        content = json.loads(line)
        if content["schema"] != SCHEMA or set(content["gaps"]) != {*GAP_METRICS, "average_gap"}:
            raise SystemExit(
                f"{path}, line {number}: schema {content['schema']}, not {SCHEMA}: remove it and run again"
            )
        place = Place(**content["place"])
        found[place] = Cell(**{**content, "place": place})
    return dict(sorted(found.items(), key=lambda item: tuple(map(str, astuple(item[0])))))


def best_settings(
    found: Iterable[Cell], settings: Mapping[str, Sequence[str]], requests: Collection[str], seed: int = 0
) -> dict[str, str]:
    """Each method's setting with the least mean gap over these requests of one seed.

    A method is left out while some of its settings have fewer runs than others.
    """
    by: dict[tuple[str, str], list[float]] = {}
    for cell in found:
        if cell.place.seed == seed and cell.place.order is None and cell.place.request in requests:
            by.setdefault((cell.place.method, cell.place.setting), []).append(cell.gap)
    best = {}
    for method, names in settings.items():
        counts = {len(by.get((method, name), ())) for name in names}
        if len(counts) == 1 and counts != {0}:
            best[method] = min(names, key=lambda name: mean_gap(by[method, name]))
    return best


def mean_gap(gaps: Iterable[float]) -> float:
    """Their mean, where one counts 100 points at most: so does a run whose scores are undefined."""
    return fmean(min(gap, CAP) for gap in gaps)
