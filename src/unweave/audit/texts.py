"""What evidence reads of language models: answers one by one, the sheet of each model, and what attacks bring back."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unweave.audit.evidence_parts.attacks import BLIND, OF_MARGINS, Ask
from unweave.audit.evidence_parts.robustness import BITS, precision_part, relearning_part
from unweave.audit.experiment import KINDS, Experiment, kept_at
from unweave.audit.models import Made, make
from unweave.audit.robustness import Curve, quantised, unchanged
from unweave.audit.seen import Seen, Signal
from unweave.data.batches import moved
from unweave.diagnosis.examples import log_odds
from unweave.errors import ConfigurationError
from unweave.evaluation.metric import Array, Score, UndefinedScore
from unweave.execution import device_of
from unweave.modalities.texts import build
from unweave.modalities.texts.data import TextRows
from unweave.modalities.texts.evaluation import Example, Relearning, Tokenised, relearning_curve
from unweave.modalities.texts.evaluation.collect import Run
from unweave.modalities.texts.evaluation.forward import greedy
from unweave.modalities.texts.evaluation.metrics import DISTANCE
from unweave.modalities.texts.evaluation.stored import data_fingerprint
from unweave.modalities.texts.job import TextJob
from unweave.modules import copied, evaluating
from unweave.objectives import Loss
from unweave.pretrained import merged
from unweave.store import keep_tensors, kept_json, kept_tensors, write_json

VALUES = (
    "log p / (1 - p), p the geometric mean of the probabilities of an answer's tokens: the higher, the better known"
)
LIKELY = "mean exp(-token loss) of the scored answers to forget"
POINTS = (1, 2, 5, 10, 20, 50, 100, 200, 500)  # steps of relearning after which a model is looked at
SIGNALS = ("zlib", "min_k", "min_k_plus_plus")
PRECISION = ("forget_probability", "retain_probability")
TIMED = 4  # tokens that are generated to see how long it takes
_TOW = ("forget_probability", "retain_probability", "model_utility")
Json = dict[str, Any]


@dataclass(frozen=True, eq=False)
class TextSeen:
    """What one model says of its answers; of the retain set, those that enter (`Experiment.retain_rows`).

    Attributes:
        signals: of each attack of the sheet, what it reads of forget and of unseen texts; higher says "was trained on".
        scores: the sheet.
    """

    forget: Signal
    retain: Signal
    holdout: Signal
    signals: Mapping[str, tuple[Array, Array]]
    scores: Mapping[str, Score]

    @property
    def test(self) -> Signal:
        """The unseen texts are what is read of them one by one."""
        return self.holdout

    @property
    def finite(self) -> bool:
        """Whether all losses are."""
        return all(bool(np.isfinite(each.margin).all()) for each in (self.forget, self.retain, self.holdout))

    def sheet(self, seed: int = 0) -> Mapping[str, Score]:
        """Every score; they have no seed."""
        return self.scores


def job_of(world: Experiment) -> TextJob:
    """The request."""
    assert isinstance(world.request, TextJob)
    return world.request


def check(world: Experiment) -> None:
    """Refuses what cannot be, before anything is trained.

    Raises:
        ConfigurationError: nobody says how models learn the texts, or which texts no model has seen.
    """
    job, faults = job_of(world), []
    if not (job.retrains or world.references):
        faults.append(
            "evidence: models are fine-tuned for it, and nobody says how model.weights learned the texts: give "
            "model.base and 'training', or models retrained without the texts to forget, with --reference, twice at "
            "least"
        )
    if not len(job.test):
        faults.append(
            "evidence: attacks compare with texts that no model has seen and no clause of the contract looks at: give "
            "data.holdout, half of which is for the contract"
        )
    if faults:
        raise ConfigurationError(faults)


def see(world: Experiment, made: Made) -> TextSeen:
    """The model's sheet, and how well it knows each answer: asked once, ever; what was begun goes on."""
    job = job_of(world)
    asked = {name: data_fingerprint(part.examples) for name, part in job.parts.items()}
    about = {"how": job.recipe.evaluation.model_dump(mode="json"), "parts": asked, "retain": len(world.retain_rows)}
    place = kept_at({"said by": made.about["sha256"], **about, **world.prints})
    rows = {"forget": job.forget, "retain": job.retain.subset(world.retain_rows), "holdout": job.test}
    if (kept := kept_tensors(place)) is None:
        kept = {name: _odds(job, made.model, part) for name, part in rows.items()}
        keep_tensors(place, kept, {})
    scored = job.score(made.model, "model", place.with_suffix(""))
    margins = {
        name: Signal(kept[name].numpy(), torch.zeros(len(part), dtype=torch.int64)) for name, part in rows.items()
    }
    signals = {}
    for name in SIGNALS:
        column, sides = f"mia_{name}", ("forget", "holdout")
        with suppress(UndefinedScore):  # of sets that the sheet does not have
            forget, unseen = (-scored.values.read(side, column)[0] for side in sides)
            signals[name] = forget, unseen
    return TextSeen(margins["forget"], margins["retain"], margins["holdout"], signals, scored.scores)


def _odds(job: TextJob, model: nn.Module, rows: TextRows) -> Tensor:
    """`VALUES` of each row."""
    return -_read(job, log_odds(job.task), model, rows)


def _read(job: TextJob, value: Loss, model: nn.Module, rows: TextRows) -> Tensor:
    """What `(model, batch) -> [b]` says of each row, `[n]` in float64."""
    device = device_of(model)
    with torch.no_grad(), evaluating(model):
        found = [
            value(model, moved(rows.batch(chosen), device)).cpu().double()
            for chosen in torch.arange(len(rows)).split(job.recipe.run.retain_batch)
        ]
    return torch.cat(found)


def metrics(world: Experiment) -> list[str]:
    """The scores whose gaps to retraining are formed: those of `DISTANCE` that a sheet has, as all models have."""
    scores = see(world, make(world, "retrained", 0)).scores
    return [name for name in DISTANCE if name in scores]


def tow(world: Experiment) -> list[str]:
    """Those of which the product is formed: what is forgotten, what is kept, and TOFU's utility."""
    there = metrics(world)
    return [name for name in _TOW if name in there] or there


def records(world: Experiment, model: nn.Module) -> list[float]:
    """How well a model knows each answer to forget."""
    job = job_of(world)
    return [float(each) for each in _odds(job, model, job.forget)]


def features(world: Experiment, seed: int) -> tuple[Array, Array]:
    """What the blind baseline sees of the forget set and of the unseen texts: words and letters."""
    job, rng = job_of(world), np.random.default_rng(seed)

    def words(rows: TextRows) -> Array:
        return build.features([rows.texts[row] for row in np.sort(rng.permutation(len(rows))[:BLIND])])

    return words(job.forget), words(job.test)


def asks(world: Experiment) -> Mapping[str, Ask]:
    """Loss and LiRA of every answer, and what else the sheet's attacks read, of the texts that it asks for."""
    return {**OF_MARGINS, **{name: partial(_signal, name) for name in SIGNALS}}


def _signal(name: str, target: TextSeen, references: Sequence[Seen], seed: int) -> tuple[Array, Array]:
    if name not in target.signals:
        raise UndefinedScore("The sheet does not score both forget and unseen texts so.")
    return target.signals[name]


def attack(world: Experiment, kind: str, number: int) -> Json:
    """Curves of relearning, and how likely answers are in low precision, of one model; from the cache or now.

    Who learns again is as the sheet has it: AdamW on the weights that may move. Adapters are merged before rounding.
    """
    made, job = make(world, kind, number), job_of(world)
    before = make(world, "original", number if world.count("original") > 1 else 0) if kind == "unlearned" else None
    how = _relearning(job)
    about = {"attacks on": made.about["sha256"], "how": how and vars(how), "against": before and before.about["sha256"]}
    place = kept_at({**about, "retain": len(world.retain_rows), **world.prints}).with_suffix(".json")
    if (kept := kept_json(place)) is not None:
        return kept
    curves = {}
    for name, (_, learned, scored) in sources(world).items():
        assert how is not None, "there are no sources without"
        look = partial(likely, job, scored)
        curves[name] = {"confidence": relearning_curve(made.model, _examples(learned), how, points(how), look)}
    whole = _served(made.model)
    precision = {"fp32": _scores(world, whole)}
    for name, bits in BITS.items():
        precision[name] = _scores(world, quantised(whole, bits))
        if before is not None:
            precision[name]["unchanged"] = unchanged(_served(before.model), whole, bits)
    content = {"relearning": curves, "precision": precision}
    write_json(place, content)
    return content


def points(how: Relearning) -> tuple[int, ...]:
    """The numbers of steps after which a model is looked at, the last one among them."""
    return (*(each for each in POINTS if each < how.steps), how.steps)


def sources(world: Experiment) -> dict[str, tuple[str, TextRows, TextRows]]:
    """What the attacker learns: its title, what is learned, what is scored; nothing where nobody is to learn again."""
    job = job_of(world)
    if (how := _relearning(job)) is None or len(job.forget) < 2:
        return {}

    def drawn(rows: TextRows, most: int) -> tuple[TextRows, TextRows]:
        order = np.random.default_rng(how.seed).permutation(len(rows))
        return rows.subset(np.sort(order[:most])), rows.subset(np.sort(order[most:]))

    part, rest = drawn(job.forget, min(how.rows, len(job.forget) // 2))
    unseen = drawn(job.test, how.rows)[0]
    return {
        "forget": (f"{len(part)} of the {len(job.forget)} texts to forget", part, rest),
        "related": ("unseen texts like those to forget", unseen, job.forget),
    }


def likely(job: TextJob, rows: TextRows, model: nn.Module) -> float:
    """`LIKELY`, of these rows."""
    return float(_read(job, job.task.nll, model, rows).neg().exp().mean())


def robustness(world: Experiment, attacked: Mapping[str, Sequence[Json]]) -> Json:
    """`robustness` of `evidence.json`, from what `attack` found of every model, by kind."""
    how, parts = _relearning(job_of(world)), []
    for source, (title, learned, scored) in sources(world).items():
        assert how is not None, "there are no sources without"
        steps, curves = (0, *points(how)), {}
        for kind in KINDS:
            values = [tuple(each["relearning"][source]["confidence"]) for each in attacked[kind]]
            curves[kind] = [Curve(steps, each, each) for each in values]
        parts.append(relearning_part(source, title, len(learned), len(scored), curves, LIKELY))
    scores = {
        name: {kind: [each["precision"][name] for each in attacked[kind]] for kind in KINDS} for name in ("fp32", *BITS)
    }
    return {"relearning": parts, "precision": [precision_part(n, each, PRECISION) for n, each in scores.items()]}


def attack_seconds(world: Experiment, step: float) -> float:
    """Of all that is asked of one model, where a training step takes so long for one text; an upper bound.

    Texts are written as long as they may be, at the speed of a few tokens that are written now.
    """
    job, how = job_of(world), _relearning(job_of(world))
    passes = sum(1 + len(example.others) for part in job.parts.values() for example in part.examples)
    passes += 4 * (len(job.forget) + len(world.retain_rows)) + len(job.test)  # margins, and three precisions
    written = {name: len(part.examples) * part.generate for name, part in job.parts.items()}
    again, learned = written.get("forget", 0), 0  # their first tokens given
    if how is not None:
        again *= 2
        passes += len(job.forget) * (1 + 2 * (len(points(how)) + 1))
        learned = 3 * how.steps * min(how.batch, len(job.forget))
    tokens = sum(written.values()) + again
    return step * (learned + passes / 3) + (tokens * _token_seconds(job) if tokens else 0.0)


def _token_seconds(job: TextJob) -> float:
    """How long one token of one of many answers takes to be written, prompts included."""
    part = next(part for part in job.parts.values() if part.generate)
    model = job.base()
    run = Run.of(model, job.tokenizer, share=False, compat=None)
    prompts = [e.answer.prompt for e in part.examples[:64]]
    with torch.no_grad():
        begin = time.perf_counter()
        made = greedy(model, prompts, min(TIMED, part.generate), run.ends)
        spent = time.perf_counter() - begin
    return spent / max(1, sum(map(len, made)))


def _relearning(job: TextJob) -> Relearning | None:
    how = job.recipe.evaluation.relearning
    return None if isinstance(how, str) else Relearning(**how.model_dump())


def _examples(rows: TextRows) -> list[Example]:
    bounds = rows.bounds.tolist()
    ids = (rows.tokens[begin:end].tolist() for begin, end in pairwise(bounds))
    parts = zip(ids, rows.starts.tolist(), rows.texts, strict=True)
    return [Example(n, Tokenised.of(each, start), text.answer) for n, (each, start, text) in enumerate(parts)]


def _served(model: nn.Module) -> nn.Module:
    """The weights as one would serve them: adapters are merged, in a copy."""
    return merged(copied(model)) if hasattr(model, "merge_and_unload") else model


def _scores(world: Experiment, model: nn.Module) -> Json:
    job = job_of(world)
    forget = likely(job, job.forget, model)
    kept = likely(job, job.retain.subset(world.retain_rows), model)
    return {"forget_probability": forget, "retain_probability": kept, "confidence": forget}
