"""What evidence reads of models of records: the signal of their task, whatever that is, and what attacks bring back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from unweave.audit.evidence_parts.attacks import ATTACKS, BLIND, OF_MARGINS, Ask
from unweave.audit.evidence_parts.robustness import BITS, SCORE, precision_part, relearning_part
from unweave.audit.experiment import KINDS, Experiment, holdout_of, kept_at
from unweave.audit.models import Made, make
from unweave.audit.robustness import Curve, quantised, relearned, unchanged
from unweave.audit.runs import TOW_METRICS
from unweave.audit.seen import ImageSeen, Seen, Signal
from unweave.errors import ConfigurationError
from unweave.evaluation.gap import GAP_METRICS
from unweave.evaluation.metric import Array, Score
from unweave.evaluation.outputs import Classifier, predict
from unweave.modalities.records.data import Records
from unweave.modalities.records.job import RecordsJob, inputs_of, read
from unweave.store import kept_json, write_json
from unweave.tasks import NATS, Known

LIKELY = "mean exp(-loss) of the scored forget examples"
VALUES = "the task's membership signal: the higher, the better the model knows it"
Json = dict[str, Any]


@dataclass(frozen=True, eq=False)
class RecordsSeen:
    """What one model of a task without logits says of every example, and all of its scores."""

    forget: Signal
    retain: Signal
    test: Signal
    holdout: Signal
    scores: Mapping[str, Score]

    @property
    def finite(self) -> bool:
        """Whether all signals are."""
        return all(bool(np.isfinite(each.margin).all()) for each in (self.forget, self.retain, self.test))

    def sheet(self, seed: int = 0) -> Mapping[str, Score]:
        """Every score; its seed is that of the recipe's evaluation."""
        return self.scores


def job_of(world: Experiment) -> RecordsJob:
    """The request."""
    assert isinstance(world.request, RecordsJob)
    return world.request


def check(world: Experiment) -> None:
    """Refuses what cannot be, before anything is trained.

    Raises:
        ConfigurationError: nobody says how models are trained, or the numbers of the attacker do not fit.
    """
    if not job_of(world).retrains:
        raise ConfigurationError(
            "evidence: models are trained for it, and model.weights come from elsewhere: say in 'training' how"
        )
    world.relearning  # noqa: B018


def classifier(world: Experiment) -> Classifier | None:
    """The task, where it has logits."""
    task = job_of(world).task
    return task if isinstance(task, Classifier) else None


def asks(world: Experiment) -> Mapping[str, Ask]:
    """Every attack that the task's outputs are enough for."""
    return ATTACKS if classifier(world) is not None else OF_MARGINS


def metrics(world: Experiment) -> Sequence[str]:
    """The scores whose gaps to retraining are formed: shares."""
    if classifier(world) is not None:
        return GAP_METRICS
    values = Known(job_of(world).task).values
    shares = [name for name, value in values.items() if value.unit == "share"]
    return ["MIA_AUC", *(f"{side}_{name}" for name in shares for side in ("forget", "retain", "test"))]


def tow(world: Experiment) -> Sequence[str]:
    """Those of which the product is formed."""
    return TOW_METRICS if classifier(world) is not None else metrics(world)


def see(world: Experiment, made: Made) -> Seen:
    """What the model says of all sets."""
    job, task = job_of(world), classifier(world)
    sets = [job.forget, job.retain, job.test, holdout_of(job)]
    if task is not None:
        return ImageSeen(*(predict(made.model, task, data) for data in sets))
    forget, retain, test, holdout = (_signal(job, made.model, data) for data in sets)
    return RecordsSeen(forget, retain, test, holdout, job.score(made.model).scores)


def _signal(job: RecordsJob, model: nn.Module, data: Records) -> Signal:
    classes = torch.zeros(len(data), dtype=torch.int64) if data.labels is None else data.labels
    return Signal(read(Known(job.task).score, model, data), classes)


def records(world: Experiment, model: nn.Module) -> list[float]:
    """How well a model knows each record of the forget set."""
    job = job_of(world)
    return [float(each) for each in read(Known(job.task).score, model, job.forget)]


def features(world: Experiment, seed: int) -> tuple[Array, Array]:
    """What the blind baseline sees of the forget set and of the holdout: inputs, and a column per class."""
    job, rng, made = job_of(world), np.random.default_rng(seed), []
    known = job.source.records.known
    most = 0 if known is None else int(known.max()) + 1
    for data in (job.forget, holdout_of(job)):
        part = data.subset(np.sort(rng.permutation(len(data))[:BLIND]))
        classes = [] if part.labels is None else [np.eye(most)[part.labels.numpy()]]
        made.append(np.concatenate([inputs_of(part), *classes], axis=1))
    return made[0], made[1]


def attack(world: Experiment, kind: str, number: int) -> Json:
    """Curves of relearning and scores in low precision of one model, from the cache or now; plain data."""
    made, how, job = make(world, kind, number), world.relearning, job_of(world)
    before = make(world, "original", number if world.count("original") > 1 else 0) if kind == "unlearned" else None
    about = {"attacks on": made.about["sha256"], "how": vars(how), "against": before and before.about["sha256"]}
    place = kept_at({**about, "task": repr(job.task), "code": dict(job.trainer.code), **world.prints}).with_suffix(
        ".json"
    )
    if (kept := kept_json(place)) is not None:
        return kept
    curves = {}
    for name, (_, learned, scored) in sources(world).items():

        def look(model: nn.Module, scored: Records = scored) -> tuple[float, float]:
            return (likely(job, model, scored),) * 2

        curve = relearned(made.model, learned, how, lambda model, batch: job.task.nll(model, batch).mean(), look)
        curves[name] = {"confidence": curve.confidence, "accuracy": curve.accuracy}
    precision = {"fp32": _scores(job, made.model)}
    for name, bits in BITS.items():
        precision[name] = _scores(job, quantised(made.model, bits))
        if before is not None:
            precision[name]["unchanged"] = unchanged(before.model, made.model, bits)
    content = {"relearning": curves, "precision": precision}
    write_json(place, content)
    return content


def sources(world: Experiment) -> dict[str, tuple[str, Records, Records]]:
    """What the attacker learns from: its title, what is learned, what is scored."""
    job, how = job_of(world), world.relearning
    order = np.random.default_rng(how.seed).permutation(len(job.forget))
    given = max(1, int(how.share * len(job.forget)))
    part, rest = job.forget.subset(order[:given]), job.forget.subset(order[given:])
    unseen = holdout_of(job)
    found = {
        "forget": (f"{100 * how.share:g} % of the forget set", part, rest),
        "related": ("unseen examples like those of the forget set", unseen, job.forget),
    }
    return {name: each for name, each in found.items() if len(each[1]) and len(each[2])}


def likely(job: RecordsJob, model: nn.Module, data: Records) -> float:
    """The mean likelihood, or where the loss is none minus the mean loss."""
    loss = read(job.task.nll, model, data)
    return float(np.exp(-loss).mean()) if Known(job.task).unit == NATS else float(-loss.mean())


def robustness(world: Experiment, attacked: Mapping[str, Sequence[Json]]) -> Json:
    """`robustness` of `evidence.json`, from what `attack` found of every model, by kind."""
    job, steps, parts = job_of(world), world.relearning.steps, []
    likelihood = SCORE if classifier(world) is not None else LIKELY
    score = likelihood if Known(job.task).unit == NATS else "minus the mean loss"
    for source, (title, learned, scored) in sources(world).items():
        values = {kind: [tuple(each["relearning"][source]["confidence"]) for each in attacked[kind]] for kind in KINDS}
        curves = {kind: [Curve(steps, v, v) for v in each] for kind, each in values.items()}
        parts.append(relearning_part(source, title, len(learned), len(scored), curves, score))
    scores = {
        name: {kind: [each["precision"][name] for each in attacked[kind]] for kind in KINDS} for name in ("fp32", *BITS)
    }
    shown = tuple(metrics(world))
    return {"relearning": parts, "precision": [precision_part(n, each, shown) for n, each in scores.items()]}


def attack_seconds(world: Experiment, step: float) -> float:
    """Of all that is asked of one model, where a training step takes so long for one example."""
    job, how = job_of(world), world.relearning
    looks = (2 * len(how.steps) + 3) * len(job.forget) + 3 * (len(job.retain) + len(job.test))
    return step * (2 * how.steps[-1] * how.batch + looks / 3)


def _scores(job: RecordsJob, model: nn.Module) -> dict[str, Any]:
    values = {name: each.value for name, each in job.score(model).scores.items()}
    return {**values, "confidence": likely(job, model, job.forget)}
