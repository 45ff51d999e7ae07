"""`robustness` of `evidence.json`: attacks that try to bring back what was forgotten, on every model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean, median
from typing import Any

import torch

from unweave.audit.experiment import KINDS, Experiment, holdout_of, kept_at
from unweave.audit.models import make
from unweave.audit.robustness import Curve, Relearning, half_life, quantised, relearn, unchanged
from unweave.audit.runs import recovered_share
from unweave.audit.seen import ImageSeen, see, seen
from unweave.evaluation.metric import UndefinedScore
from unweave.evaluation.outputs import predict
from unweave.evaluation.ranking import auc
from unweave.evaluation.scores import accuracy
from unweave.modalities.images.job import ImageJob
from unweave.modalities.images.tensors import TensorImages
from unweave.store import kept_json, write_json

BITS = {"int8": 8, "int4": 4}
METRICS = ("FA", "RA", "TA", "MIA_AUC")
SCORE = "mean p_y of the scored forget examples"
Json = dict[str, Any]


def sources(request: ImageJob, how: Relearning) -> dict[str, tuple[str, TensorImages, TensorImages]]:
    """What the attacker learns from: its title, what is learned, what is scored.

    * forget: a random share of the forget set; the rest is scored. * related: unseen examples that are exchangeable
    with it. * unrelated: unseen examples of other classes, where a class is forgotten whole; otherwise unseen images
    with their pixels in one random order: the same task, no content.
    """
    forget = request.forget
    order = torch.randperm(len(forget), generator=torch.Generator().manual_seed(how.seed))
    given = max(1, int(how.share * len(forget)))
    part, rest = forget.subset(order[:given]), forget.subset(order[given:])
    here = forget.labels.unique()
    gone = here[~torch.isin(here, request.retain.labels)]
    if len(gone):
        other = request.test.subset((~torch.isin(request.test.labels, gone)).nonzero().flatten())
        title = "unseen examples of the other classes"
    else:
        other, title = _scrambled(request.test, how.seed), "unseen images, their pixels in one random order"
    return {
        "forget": (f"{100 * how.share:g} % of the forget set", part, rest),
        "related": ("unseen examples like those of the forget set", holdout_of(request), forget),
        "unrelated": (title, other, forget),
    }


def attack(world: Experiment, kind: str, number: int) -> Json:
    """Curves of relearning and scores in low precision of one model, from the cache or now; plain data.

    Half of a precision's evidence is how many weights of an unlearned model did not leave the original's buckets.
    """
    made, how, request = make(world, kind, number), world.relearning, world.request
    assert isinstance(request, ImageJob), "of models that draw: audit.drawn"
    before = make(world, "original", number if world.count("original") > 1 else 0) if kind == "unlearned" else None
    about = {"attacks on": made.about["sha256"], "how": vars(how), "against": before and before.about["sha256"]}
    place = kept_at({**about, **world.prints}).with_suffix(".json")
    if (kept := kept_json(place)) is not None:
        return kept
    relearned = {}
    for name, (_, learned, scored) in sources(request, how).items():
        if len(learned) and len(scored):
            curve = relearn(made.model, request.task, learned, scored, how)
            relearned[name] = {"confidence": curve.confidence, "accuracy": curve.accuracy}
    own, retain = see(world, made), request.retain.subset(world.retain_rows)
    precision = {"fp32": _scores(replace(own, retain=own.retain.where(world.retain_rows)))}
    for name, bits in BITS.items():
        rounded = quantised(made.model, bits)
        asked = (predict(rounded, request.task, data) for data in (request.forget, retain, request.test))
        precision[name] = _scores(seen(world, *asked))
        if before is not None:
            precision[name]["unchanged"] = unchanged(before.model, made.model, bits)
    content = {"relearning": relearned, "precision": precision}
    write_json(place, content)
    return content


def robustness_part(world: Experiment, attacks: Mapping[str, Sequence[Json]]) -> Json:
    """The whole part, from what `attack` found of every model, by kind."""
    how, relearned = world.relearning, []
    assert isinstance(world.request, ImageJob), "of models that draw: audit.drawn"
    for source, (title, learned, scored) in sources(world.request, how).items():
        found = {kind: [each["relearning"].get(source) for each in attacks[kind]] for kind in KINDS}
        if all(None not in each for each in found.values()):
            curves = {
                kind: [Curve(how.steps, tuple(f["confidence"]), tuple(f["accuracy"])) for f in each]
                for kind, each in found.items()
            }
            relearned.append(relearning_part(source, title, len(learned), len(scored), curves))
    precisions = ("fp32", *BITS)
    scores = {
        name: {kind: [each["precision"][name] for each in attacks[kind]] for kind in KINDS} for name in precisions
    }
    return {"relearning": relearned, "precision": [precision_part(name, scores[name]) for name in precisions]}


def relearning_part(
    source: str, title: str, learned: int, scored: int, curves: Mapping[str, Sequence[Curve]], score: str = SCORE
) -> Json:
    """One entry of `robustness.relearning`.

    A curve is half way where it reaches the middle between what control and original score before the attack.

    Args:
        source: "forget", "related" or "unrelated".
        title: what the attacker is given, in words.
        learned: how many examples that is.
        scored: forget examples that are scored.
        curves: of every model, by kind.
        score: what they are curves of.
    """
    steps = curves["original"][0].steps
    start = {kind: fmean(curve.confidence[0] for curve in curves[kind]) for kind in KINDS}
    halfway = (start["original"] + start["retrained"]) / 2
    lives = {kind: [half_life(steps, curve.confidence, halfway) for curve in curves[kind]] for kind in KINDS}
    return {
        "source": source,
        "title": title,
        "learned": learned,
        "scored": scored,
        "steps": list(steps),
        "score": score,
        "curves": {kind: [list(curve.confidence) for curve in curves[kind]] for kind in KINDS},
        "accuracy": {kind: [list(curve.accuracy) for curve in curves[kind]] for kind in KINDS},
        "halfway": halfway,
        "half_life": {
            kind: {"runs": runs, "median": _median(runs, steps[-1]), "beyond": steps[-1]}
            for kind, runs in lives.items()
        },
        "recovered": recovered_share(*([curve.level for curve in curves[kind]] for kind in KINDS)).as_dict(),
    }


def precision_part(
    name: str, scores: Mapping[str, Sequence[Mapping[str, Any]]], metrics: Sequence[str] = METRICS
) -> Json:
    """One entry of `robustness.precision`: scores of every model, by kind, and the weights that did not move."""
    same = [each["unchanged"] for each in scores["unlearned"] if "unchanged" in each]
    return {
        "precision": name,
        "unchanged": fmean(same) if same else None,
        "scores": {kind: {q: _mean([each[q] for each in scores[kind]]) for q in metrics} for kind in KINDS},
        "recovered": recovered_share(*([each["confidence"] for each in scores[kind]] for kind in KINDS)).as_dict(),
    }


def _scores(seen: ImageSeen) -> dict[str, float | None]:
    """FA, RA, TA, the AUC of the loss attack and the mean p_y of the forget set; None where it is undefined."""

    def known(measure: Callable[[], float]) -> float | None:
        try:
            return measure()
        except UndefinedScore:
            return None

    splits = seen.splits
    others = splits.forgotten_test if len(splits.forgotten) else splits.test
    return {
        "FA": known(lambda: accuracy(seen.forget).value),
        "RA": known(lambda: accuracy(seen.retain, "retain").value),
        "TA": known(lambda: accuracy(splits.kept_test, "test").value),
        "MIA_AUC": known(lambda: auc(seen.forget.margin, others.margin)),
        "confidence": float(seen.forget.confidence.mean()),
    }


def _scrambled(data: TensorImages, seed: int) -> TensorImages:
    flat = data.images.flatten(2)
    order = torch.randperm(flat.shape[2], generator=torch.Generator().manual_seed(seed))
    return TensorImages(flat[:, :, order].view_as(data.images).contiguous(), data.labels, data.mean, data.std)


def _median(runs: Sequence[float | None], last: int) -> float | None:
    """Censored runs count as longer than all others; None where the median is one of them."""
    middle = median([last + 1.0 if each is None else each for each in runs])
    return None if middle > last else middle


def _mean(values: Sequence[float | None]) -> float | None:
    known = [x for x in values if x is not None]
    return fmean(known) if len(known) == len(values) and known else None
