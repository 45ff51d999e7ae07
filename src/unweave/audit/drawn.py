"""What evidence reads of models that draw: scores of images and examples, and what attacks bring back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unweave.audit.evidence_parts.attacks import BLIND
from unweave.audit.evidence_parts.robustness import BITS, precision_part, relearning_part
from unweave.audit.experiment import KINDS, Experiment, kept_at
from unweave.audit.models import Made, make
from unweave.audit.robustness import Curve, quantised, unchanged
from unweave.audit.seen import Signal
from unweave.errors import ConfigurationError, UnsupportedError
from unweave.evaluation.metric import Array, Score, formed
from unweave.modalities.diffusion.evaluation import cost, search
from unweave.modalities.diffusion.evaluation.distances import Sample
from unweave.modalities.diffusion.evaluation.exam import Answers, Exam
from unweave.modalities.diffusion.evaluation.scores import GAP_METRICS, ROWS
from unweave.modalities.diffusion.evaluation.search import Attack, attacks
from unweave.modalities.diffusion.evaluation.values import missed, recognised
from unweave.modalities.diffusion.job import DiffusionJob
from unweave.store import keep_tensors, kept_json, kept_tensors, write_json

SHOWN = "share of images asked for as a class to forget that the judge calls that"
VALUES = "minus the mean denoising loss at 8 timesteps below T / 2: the higher, the better the model knows it"
_OF_A_CLASS = ("UA_drawn", search.FOUND.name)
_PRECISION = ("shown", "RA_drawn")
Json = dict[str, Any]


@dataclass(frozen=True, eq=False)
class DrawnSeen:
    """What one model draws and denoises (`VALUES`); of the retain set, what enters (`Experiment.retain_rows`)."""

    answers: Answers
    forget: Signal
    retain: Signal
    holdout: Signal

    @property
    def test(self) -> Signal:
        """The holdout is what is read of them one by one."""
        return self.holdout

    @property
    def finite(self) -> bool:
        """Whether images and losses are."""
        of = self.answers
        found = (of.forgotten, of.kept, *of.losses.values(), self.forget.margin, self.retain.margin)
        return all(bool(np.isfinite(each).all()) for each in found)

    def sheet(self, seed: int = 0) -> Mapping[str, Score]:
        """Every score."""
        return formed(ROWS, replace(self.answers, seed=seed))


def job_of(world: Experiment) -> DiffusionJob:
    """The request."""
    assert isinstance(world.request, DiffusionJob)
    return world.request


def check(world: Experiment) -> None:
    """Refuses what cannot be, before anything is trained.

    Raises:
        ConfigurationError: nobody knows how models are trained, or judges what they draw.
        UnsupportedError: references are given.
    """
    job = job_of(world)
    job.how_trained  # noqa: B018
    if job.how.judge == "none":
        raise ConfigurationError(
            "evaluation.judge: evidence is about what is drawn, and none looks at it: leave it out"
        )
    if world.references:
        raise UnsupportedError("references: models that draw are retrained for evidence; give none")


def metrics(world: Experiment) -> tuple[str, ...]:
    """The scores whose gaps to retraining are formed: those of a class where one is forgotten whole."""
    return tuple(name for name in GAP_METRICS if job_of(world).gone or name not in _OF_A_CLASS)


def exam_of(world: Experiment) -> Exam:
    """What every model is asked: all of the forget set and of the holdout, and so many retain examples."""
    job = job_of(world)
    sets = {**job.exam.sets, "retain": job.retain.subset(world.retain_rows)}
    sets |= {"unseen": job.holdout} if len(job.holdout) else {}
    return replace(job.exam, sets=sets, most=max(map(len, sets.values())))


def attack_of(world: Experiment) -> Attack:
    """Every attack, by whom the recipe describes; prompts are of models of texts alone."""
    how = job_of(world).how
    which = tuple(kind for kind in search.KINDS if kind != "prompt")
    return replace(how.attack or Attack(seed=how.seed), which=which)


def see(world: Experiment, made: Made) -> DrawnSeen:
    """What the model draws and denoises, attacked and not: asked once, ever."""
    job, exam, how = job_of(world), exam_of(world), attack_of(world)
    asked = {"how": job.how.model_dump(mode="json"), "attack": asdict(how), "judge": job.judge.digest}
    place = kept_at({"drawn of": made.about["sha256"], "retain": len(exam.sets["retain"]), **asked, **world.prints})
    if (kept := kept_tensors(place)) is None:
        kept = _tensors(made.model, exam, how)
        keep_tensors(place, kept, {})
    values = {name: each.numpy() for name, each in kept.items()}

    def named(prefix: str) -> dict[str, Array]:
        return {name.removeprefix(prefix): each for name, each in values.items() if name.startswith(prefix)}

    scores = values["score forget"], values["score other"]
    wanted = np.repeat(exam.kept, exam.kept_images)
    answers = Answers(
        forgotten=values["forgotten"],
        asked=np.repeat(exam.forgotten, exam.images).astype(np.int64),
        kept=values["kept"],
        wanted=wanted,
        leaked=exam.forgotten,
        drawn=Sample(values["features"], wanted),
        real=exam.true,
        losses=named("loss "),
        scores=scores,
        seed=exam.seed,
        attacked=named("hit "),
    )
    labels = (exam.sets[name].labels for name in ("forget", "retain", exam.others))
    parts = zip((scores[0], values["score retain"], scores[1]), labels, strict=True)
    sides = [Signal(score, label) for score, label in parts if label is not None]
    return DrawnSeen(answers, *sides)


def _tensors(model: nn.Module, exam: Exam, how: Attack) -> dict[str, Tensor]:
    of, hits = exam.taken(model), attacks(model, exam, how)
    found = {"forgotten": of.forgotten, "kept": of.kept, "features": np.asarray(of.drawn.features)}
    found |= {"score forget": of.scores[0], "score other": of.scores[1]}
    found |= {"score retain": exam.read(model, "retain", exam.task.score)}
    found |= {f"loss {name}": each for name, each in of.losses.items()}
    found |= {f"hit {name}": each for name, each in hits.items()}
    return {name: torch.from_numpy(np.ascontiguousarray(each)) for name, each in found.items()}


def records(world: Experiment, model: nn.Module) -> list[float]:
    """How well a model knows each record of the forget set."""
    exam = exam_of(world)
    return [float(each) for each in exam.read(model, "forget", exam.task.score)]


def features(world: Experiment, seed: int) -> tuple[Array, Array]:
    """What the blind baseline sees of the forget set and of the holdout: pixels, and a column per class."""
    job, rng, made = job_of(world), np.random.default_rng(seed), []
    for data in (job.forget, job.holdout):
        rows = np.sort(rng.permutation(len(data))[:BLIND])
        one_hot = np.eye(len(job.source.classes))[data.labels[rows].numpy()]
        made.append(np.concatenate([data.x0[rows].flatten(1).double().numpy(), one_hot], axis=1))
    return made[0], made[1]


def attack(world: Experiment, kind: str, number: int) -> Json:
    """What attacks bring back in one model, and what it draws in low precision; plain data, from the cache or now."""
    made, exam = make(world, kind, number), exam_of(world)
    of = see(world, made).answers
    if not exam.forgotten:
        return {"relearning": {}, "precision": {}}
    before = make(world, "original", number if world.count("original") > 1 else 0) if kind == "unlearned" else None
    hits = {name: float(each.mean()) for name, each in of.attacked.items()}
    shown = 1 - float(missed(of).mean())
    curves = {
        name: {"confidence": [shown, *(hits[each] for each in found)]}
        for name, (_, _, found) in _sources(world).items()
    }
    about = {"precision of": made.about["sha256"], "against": before and before.about["sha256"]}
    how = job_of(world).how.model_dump(mode="json")
    place = kept_at({**about, "how": how, "judge": exam.beholder.digest, **world.prints}).with_suffix(".json")
    if (precision := kept_json(place)) is None:
        precision = {"fp32": _precision(shown, float(recognised(of).mean()))}
        for name, bits in BITS.items():
            precision[name] = _drawn(quantised(made.model, bits), exam)
            if before is not None:
                precision[name]["unchanged"] = unchanged(before.model, made.model, bits)
        write_json(place, precision)
    return {"relearning": curves, "precision": precision}


def _precision(shown: float, kept: float) -> Json:
    return {"confidence": shown, "shown": shown, "RA_drawn": kept}


def _drawn(model: nn.Module, exam: Exam) -> Json:
    shares = []
    for classes, count in ((exam.forgotten, exam.images), (exam.kept, exam.kept_images)):
        found = exam.beholder.logits(exam.drawn(model, classes, count)).argmax(1).numpy()
        shares.append(float((found == np.repeat(classes, count)).mean()))
    return _precision(*shares)


def _sources(world: Experiment) -> dict[str, tuple[str, tuple[int, ...], tuple[str, ...]]]:
    """What an attacker does: in words, after which steps the class is drawn again, and the scores of that."""
    how, steps = attack_of(world), search.STEPS
    own = f"{how.images} images of each class to forget"
    return {
        "search": (f"{own}, a condition alone", (0, how.search), (search.FOUND.name,)),
        "forget": (own, (0, *steps), tuple(f"relearned_{k}" for k in steps)),
        "unrelated": ("images to keep alone", (0, *steps), tuple(f"benign_{k}" for k in steps)),
    }


def robustness(world: Experiment, attacked: Mapping[str, Sequence[Json]]) -> Json:
    """`robustness` of `evidence.json`, from what `attack` found of every model, by kind; empty without a class."""
    if not job_of(world).gone:
        return {"relearning": [], "precision": []}
    how, parts = attack_of(world), []
    for source, (title, steps, _) in _sources(world).items():
        values = {kind: [each["relearning"][source]["confidence"] for each in attacked[kind]] for kind in KINDS}
        curves = {kind: [Curve(steps, tuple(v), tuple(v)) for v in each] for kind, each in values.items()}
        parts.append(relearning_part(source, title, how.images, how.drawn, curves, SHOWN))
    scores = {
        name: {kind: [each["precision"][name] for each in attacked[kind]] for kind in KINDS} for name in ("fp32", *BITS)
    }
    return {"relearning": parts, "precision": [precision_part(n, each, _PRECISION) for n, each in scores.items()]}


def attack_seconds(world: Experiment, step: float) -> float:
    """Of all that is asked of one model, from a few passes of an untrained one now; an upper bound."""
    model, exam = job_of(world).network.build(), exam_of(world)
    return cost.seconds(model, exam, attack_of(world)) + len(BITS) * cost.seconds(model, exam, None)
