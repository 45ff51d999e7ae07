"""What a model says of every example, asked once and kept; and what attacks on it bring back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from unweave.audit import settings, store
from unweave.audit.evidence_parts.pools import Seen
from unweave.audit.models import Made, World, make
from unweave.audit.robustness import Relearning, quantised, relearn, unchanged
from unweave.evaluation.accuracy import accuracy
from unweave.evaluation.membership import auc
from unweave.evaluation.outputs import Outputs, predict
from unweave.evaluation.value import UndefinedScore
from unweave.modalities.images.job import ImageJob
from unweave.modalities.images.tensors import TensorImages

BITS = {"int8": 8, "int4": 4}
SETS = ("forget", "retain", "test")


def holdout_of(request: ImageJob) -> TensorImages:
    """Unseen examples that are exchangeable with the forget set; the test set, where nobody made any."""
    return request.test if request.holdout is None else request.holdout


def see(world: World, made: Made) -> Seen:
    """The model's outputs on all sets: one inference pass per example, ever."""
    request = world.request
    key = store.fingerprint({"outputs of": made.about["sha256"], **world.prints})
    kept = store.read_tensors(key)
    if kept is None:
        data = dict(zip(SETS, (request.forget, request.retain, request.test), strict=True))
        kept = {name: predict(made.model, request.task, part, name=name).logits for name, part in data.items()}
        store.keep_tensors(key, kept, {})
    labels = (request.forget.labels, request.retain.labels, request.test.labels)
    forget, retain, test = (Outputs(kept[name], label) for name, label in zip(SETS, labels, strict=True))
    return Seen(forget, retain, test, _holdout(world, test))


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
    here = request.forget.labels.unique()
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


def attack(world: World, kind: str, number: int) -> dict[str, Any]:
    """Curves of relearning and scores in low precision of one model, from the cache or now; plain data.

    Half of a precision's evidence is how many weights of an unlearned model did not leave the original's buckets.
    """
    made = make(world, kind, number)
    how = settings.relearning(world.recipe.evidence, world.recipe.evaluation.seed)
    before = make(world, "original", number if world.originals > 1 else 0) if kind == "unlearned" else None
    about = {"attacks on": made.about["sha256"], "how": vars(how), "against": before and before.about["sha256"]}
    key = store.fingerprint({**about, **world.prints})
    if (kept := store.read_json(key)) is not None:
        return kept
    task, found = world.request.task, {}
    for name, (_, learned, scored) in sources(world.request, how).items():
        if len(learned) and len(scored):
            curve = relearn(made.model, task, learned, scored, how)
            found[name] = {"confidence": curve.confidence, "accuracy": curve.accuracy}
    own = see(world, made)
    precision: dict[str, dict[str, float | None]] = {
        "fp32": _scores(replace(own, retain=own.retain.where(world.retain_rows)))
    }
    for name, bits in BITS.items():
        rounded = quantised(made.model, bits)
        precision[name] = _scores(_asked(world, rounded))
        if before is not None:
            precision[name]["unchanged"] = unchanged(before.model, made.model, bits)
    content = {"relearning": found, "precision": precision}
    store.keep_json(key, content)
    return content


def _asked(world: World, model: nn.Module) -> Seen:
    """Outputs that nobody keeps; of the retain set, the part that the per-example test reads."""
    request = world.request
    retain = request.retain.subset(world.retain_rows)
    own, kept, test = (predict(model, request.task, data) for data in (request.forget, retain, request.test))
    return Seen(own, kept, test, _holdout(world, test))


def _holdout(world: World, test: Outputs) -> Outputs:
    return Outputs(test.logits.index_select(0, world.holdout_rows), holdout_of(world.request).labels)


def _scores(seen: Seen) -> dict[str, float | None]:
    """FA, RA, TA, the AUC of the loss attack and the mean p_y of the forget set; None where it is undefined."""
    splits = seen.splits
    others = splits.forgotten_test if len(splits.forgotten) else splits.test
    return {
        "FA": _known(lambda: accuracy(seen.forget).value),
        "RA": _known(lambda: accuracy(seen.retain, "retain").value),
        "TA": _known(lambda: accuracy(splits.kept_test, "test").value),
        "MIA_AUC": _known(lambda: auc(seen.forget.margin, others.margin)),
        "confidence": float(seen.forget.confidence.mean()),
    }


def _known(measure: Callable[[], float]) -> float | None:
    try:
        return measure()
    except UndefinedScore:
        return None


def _scrambled(data: TensorImages, seed: int) -> TensorImages:
    flat = data.images.flatten(2)
    order = torch.randperm(flat.shape[2], generator=torch.Generator().manual_seed(seed))
    return TensorImages(flat[:, :, order].view_as(data.images).contiguous(), data.labels, data.mean, data.std)
