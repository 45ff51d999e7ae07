"""What evidence asks of models of one kind of data; all else is the same for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from unweave import modalities
from unweave.audit import drawn, records, texts
from unweave.audit.evidence_parts import attacks as images
from unweave.audit.evidence_parts import robustness
from unweave.audit.evidence_parts.attacks import Ask
from unweave.audit.experiment import Experiment
from unweave.audit.models import Made
from unweave.audit.runs import TOW_METRICS
from unweave.audit.seen import Seen, Told, see
from unweave.errors import UnsupportedError
from unweave.evaluation.gap import GAP_METRICS
from unweave.evaluation.metric import Array
from unweave.evaluation.outputs import predict
from unweave.modalities.images.job import ImageJob
from unweave.recipe.recipe import Recipe

Json = dict[str, Any]


@dataclass(frozen=True)
class Kit:
    """What is read of models of one kind of data.

    Attributes:
        check: refuses what cannot be, before anything is trained.
        classes: how many there are.
        see: all that one model says, asked once.
        retain: of that, the retain examples that enter.
        records: one number for each record of the forget set, for U-LiRA.
        values: what these numbers are, where they are no log-odds.
        metrics, tow: scores whose gaps to retraining are formed, and of which their product is.
        features: what the blind baseline sees of forget set and holdout.
        asks: the membership attacks.
        attack: what other attacks bring back of one model.
        attack_seconds: how long that will take of one model, where a training step takes so long for one example.
        robustness: what `attack` says of all models.
    """

    check: Callable[[Experiment], object]
    classes: Callable[[Any], int]
    see: Callable[[Experiment, Made], Seen]
    retain: Callable[[Experiment, Seen], Told]
    records: Callable[[Experiment, nn.Module], list[float]]
    metrics: Callable[[Experiment], Sequence[str]]
    tow: Callable[[Experiment], Sequence[str]]
    features: Callable[[Experiment, int], tuple[Array, Array]]
    asks: Callable[[Experiment], Mapping[str, Ask]]
    attack: Callable[[Experiment, str, int], Json]
    attack_seconds: Callable[[Experiment, float], float]
    robustness: Callable[[Experiment, Mapping[str, Sequence[Json]]], Json]
    values: str = ""


def kit(world: Experiment) -> Kit:
    """That of the world's data."""
    return kit_of(world.recipe)


def kit_of(recipe: Recipe) -> Kit:
    """That of a recipe's data.

    Raises:
        UnsupportedError: nobody has made one for these data.
    """
    name = modalities.of(recipe).name
    if name not in KITS:
        raise UnsupportedError(
            f"evidence over several trainings is for {' and '.join(KITS)}; the data of this recipe are "
            f"{recipe.data.source}. For {name}: unweave run, with a retrained model to compare with, and "
            "unweave audit."
        )
    return KITS[name]


def _records(world: Experiment, model: nn.Module) -> list[float]:
    request = _image_job(world)
    found: list[float] = predict(model, request.task, request.forget, name="records").margin.tolist()
    return found


def _image_job(world: Experiment) -> ImageJob:
    assert isinstance(world.request, ImageJob)
    return world.request


def _seconds(world: Experiment, step: float) -> float:
    request, how = world.request, world.relearning
    points = len(how.steps) * len(request.forget) / 3  # a forward pass is a third of a step
    rounds = (len(request.forget) + len(world.retain_rows) + len(request.test)) * 3 / 3
    return step * (3 * (how.steps[-1] * how.batch + points) + rounds)


def _classes(request: ImageJob) -> int:
    return request.network.classes


KITS = {
    "images": Kit(
        check=lambda world: world.relearning,  # which says what is wrong with it
        classes=_classes,
        see=see,
        retain=lambda world, seen: seen.retain.where(world.retain_rows),
        records=_records,
        metrics=lambda world: GAP_METRICS,
        tow=lambda world: TOW_METRICS,
        features=lambda world, seed: images.features(_image_job(world), seed),
        asks=lambda world: images.ATTACKS,
        attack=robustness.attack,
        attack_seconds=_seconds,
        robustness=robustness.robustness_part,
    ),
    "diffusion": Kit(
        check=drawn.check,
        classes=lambda job: len(job.source.classes),
        see=drawn.see,
        retain=lambda world, seen: seen.retain,
        records=drawn.records,
        metrics=drawn.metrics,
        tow=lambda world: [name for name in drawn.metrics(world) if name.endswith("_drawn")],
        features=drawn.features,
        asks=lambda world: images.OF_MARGINS,
        attack=drawn.attack,
        attack_seconds=drawn.attack_seconds,
        robustness=drawn.robustness,
        values=drawn.VALUES,
    ),
    "records": Kit(
        check=records.check,
        classes=lambda job: len(job.source.classes),
        see=records.see,
        retain=lambda world, seen: seen.retain.where(world.retain_rows),
        records=records.records,
        metrics=records.metrics,
        tow=records.tow,
        features=records.features,
        asks=records.asks,
        attack=records.attack,
        attack_seconds=records.attack_seconds,
        robustness=records.robustness,
        values=records.VALUES,
    ),
    "texts": Kit(
        check=texts.check,
        classes=lambda job: 0,
        see=texts.see,
        retain=lambda world, seen: seen.retain,
        records=texts.records,
        metrics=texts.metrics,
        tow=texts.tow,
        features=texts.features,
        asks=texts.asks,
        attack=texts.attack,
        attack_seconds=texts.attack_seconds,
        robustness=texts.robustness,
        values=texts.VALUES,
    ),
}
"""A kind of data whose models can be trained several times is added here."""
