"""Before a weight moves: do the labels, the data and the original model fit each other?"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy import stats
from torch import nn

from unweave.data.batches import answered
from unweave.data.checks import check_filled
from unweave.data.content import content
from unweave.data.protocol import indexed
from unweave.errors import ConfigurationError, of_set
from unweave.execution import bare, device_of, seeded
from unweave.guards.answers import check_answers
from unweave.guards.duplicates import near_duplicates
from unweave.guards.finding import LEVEL, SAMPLE, Finding, Guards, settled
from unweave.guards.probe import Seen, probe, sample
from unweave.modules import evaluating
from unweave.precision import Rounded, without_masters
from unweave.samples import Data, Sample, labels
from unweave.tasks import Known, Task
from unweave.tasks._doubts import FEW

LOG = logging.getLogger("unweave")
_FLOAT16 = (
    "model: the weights that may move are in float16, in whose passes a gradient below 6e-8 is 0 and a loss beyond "
    "65,504 is infinite, and here nothing scales them. Use bfloat16 (model.bfloat16()) or float32 (model.float())."
)
_SHORT = (
    "model: weights in half precision move in half precision here, where a step shorter than their rounding (a 256th "
    "of a weight in bfloat16, a 2,048th in float16) is lost. Make them float32 (model.float()); passes may be in "
    "bfloat16 all the same (run.precision: bfloat16, or an Accelerator)."
)


def check(
    model: nn.Module,
    task: Task,
    forget: Data,
    retain: Data,
    *,
    guards: Guards,
    seed: int = 0,
    seen: dict[str, Seen] | None = None,
    broken: Mapping[str, Sequence[int]] | None = None,
    others: Mapping[str, Data] | None = None,
) -> list[str]:
    """Looks at both sets and at what the original makes of them: one forward pass over 500 examples of each at most.

    It comes before everything that reads a gradient: a mask, a quote, a step.

    Args:
        model: the original.
        task: what it does.
        forget, retain: all that was given.
        guards: what to compare.
        seed: of the samples.
        seen: filled with what the original makes of both sides, to be compared with afterwards.
        broken: rows of any set with NaN or infinity in them, which are looked at too (`check_overlap`).
        others: sets that are measured on, by name, whose answers are looked at.

    Returns:
        What does not look right, each with what to do.

    Raises:
        ConfigurationError: what cannot be right: a set without an example, a model that does not run on it, an output
            that does not fit the labels, labels that are no class, a loss that is not finite; all of them at once.
    """
    seen, rows = {} if seen is None else seen, broken or {}
    found: list[Finding | None] = []
    for name, data in (("forget", forget), ("retain", retain)):
        try:
            examples = sample(task, data, seed)
            every = labels(data) if Known(task).logits is not None else None
            with of_set(name):
                check_filled(examples.examples, name)
                seen[name] = probe(model, task, examples, seed, every)
            odd = _answers(task, name, data, seen[name].classes)
            found += odd or [_broken(model, task, name, data, rows.get(name, ()), seed) or _finite(name, seen[name])]
        except ConfigurationError as error:
            cause = error.__cause__ if isinstance(error.__cause__, Exception) else None
            found.append(Finding(str(error), fatal=True, cause=cause))
    for name, data in (others or {}).items():
        odd = _answers(task, name, data, next((each.classes for each in seen.values()), 0))
        found += odd or ([_broken(model, task, name, data, rows.get(name, ()), seed)] if seen else [])
    found += [each for name, side in seen.items() for each in side.tokens.findings(name)]
    warned = [*settled(found), *_narrow(model)]
    warned += [f"retain: {text}" for text in _doubts(model, task, examples, seed)]
    nothing = _chance(seen["retain"]) or _unfitted(seen["forget"]) or _unlearned(seen["forget"])
    if nothing is None and seen["forget"].labels is None and others and "holdout" in others:
        nothing = _as_unseen(seen["forget"], probe(model, task, sample(task, others["holdout"], seed), seed))
    found = [_one_label(seen["retain"]), nothing]
    warned += settled([*found, near_duplicates(model, task, forget, retain, guards, seed)])
    LOG.info("before the first step the guards found %s", "; ".join(warned) or "nothing")
    return warned


def _narrow(model: nn.Module) -> list[str]:
    """Passes in float16, whose gradients have no room below; and weights that move in half precision themselves."""
    kinds = {m.dtype for m in model.modules() if isinstance(m, Rounded)}
    kinds |= {p.dtype for p in model.parameters() if p.requires_grad}
    told = [_FLOAT16] if torch.float16 in kinds else []
    return [*told, _SHORT] if without_masters(model) else told


def _answers(task: Task, name: str, data: Data, classes: int) -> list[Finding]:
    try:
        check_answers(task, name, data, classes)
    except ConfigurationError as error:
        return [Finding(str(error), fatal=True)]
    return []


@torch.no_grad()
def _doubts(model: nn.Module, task: Task, examples: Sample, seed: int) -> list[str]:
    """What only the task can see."""
    asked, whole = Known(task).doubts, bare(model)
    if asked is None:
        return []
    with evaluating(whole), seeded(seed):
        return asked(whole, list(examples.batches(device_of(whole))))


def _broken(model: nn.Module, task: Task, name: str, data: Data, rows: Sequence[int], seed: int) -> Finding | None:
    """Of the examples with NaN or infinity in them, also beyond the sample: some models know what to do with those."""
    if not rows or not indexed(data):
        return None
    chosen = np.asarray(rows[:SAMPLE])
    lost = chosen[(~probe(model, task, Sample(data, rows=chosen), seed).loss.isfinite()).numpy()]
    if not len(lost):
        return None
    first, example = ", ".join(f"{name}[{row}]" for row in lost[:5]), answered(data[int(lost[0])])  # type: ignore[index]
    what = "answers" if example is not None and content(example[0])[1] else "inputs"
    return Finding(
        f"{name}: the {what} of {len(rows)} of {len(data)} examples hold NaN or infinity, and the original's loss is "  # type: ignore[arg-type]
        f"not finite there (first: {first}). Mend these examples, or take them out.",
        fatal=True,
    )


def _finite(name: str, seen: Seen) -> Finding | None:
    broken = int((~seen.loss.isfinite()).sum())
    if not broken:
        return None
    return Finding(
        f"{name}: the original's loss is not finite on {broken} of {len(seen.loss)} examples. Look for NaN or infinity "
        "in the weights and in the inputs, and load the checkpoint again.",
        fatal=True,
    )


def _one_label(retain: Seen) -> Finding | None:
    if retain.labels is None or len(retain.labels) < 2 or len(retain.labels.unique()) > 1:
        return None
    return Finding(
        f"retain: all {len(retain.labels)} labels that were looked at are {int(retain.labels[0])}. A model kept on one "
        "class forgets the others: check that the labels are read, and that the two sets are not swapped."
    )


def _chance(retain: Seen) -> Finding | None:
    """The best constant guess is the bar: a wrong checkpoint or shuffled labels do not pass it."""
    if retain.labels is None or len(retain.labels.unique()) < 2:
        return None
    n = len(retain.labels)
    guess = float(torch.bincount(retain.labels).max()) / n
    if not _by_chance(retain.correct, n, guess):
        return None
    return Finding(
        f"retain: the original is right on {_share(retain.correct, n)}, no better than always saying one class "
        f"({100 * guess:.1f} %). There is nothing to keep: check that this is the trained checkpoint, that inputs are "
        "normalised as in its training, and that labels are numbered as then and not shuffled."
    )


def _unfitted(forget: Seen) -> Finding | None:
    """Right no more often than chance, and as surprised as one who does not know."""
    if forget.labels is None or forget.classes < 2 or not len(forget.labels):
        return None
    n, chance = len(forget.labels), 1 / forget.classes
    if not _by_chance(forget.correct, n, chance) or float(forget.loss.mean()) < math.log(forget.classes) / 2:
        return None
    never = sorted(set(forget.labels.tolist()) - set([] if forget.predicted is None else forget.predicted.tolist()))
    few = ", ".join(map(str, never[:5])) + ", ..." * (len(never) > 5)
    also = f" It never predicts {few}, which are labels of the forget set." if never else ""
    return Finding(
        f"forget: the original is right on {_share(forget.correct, n)}, no better than chance ({100 * chance:.1f} %): "
        f"it does not fit the forget set, so there is nothing to forget.{also} Check the request, the labels, and that "
        "the model was trained on these examples."
    )


def _unlearned(forget: Seen) -> Finding | None:
    """Of labels and places: right no more often than chance, and as surprised as a model that knows nothing."""
    if forget.right is None or forget.guess is None or len(forget.loss) < FEW:
        return None
    loss = float(forget.loss.double().mean())
    if loss < forget.guess or forget.right > 1 / forget.classes:
        return None
    return Finding(
        f"forget: the original is right on {100 * forget.right:.1f} %, no better than chance, and its loss is "
        f"{loss:.3g}, where a model that knows nothing has {forget.guess:.3g}: it does not fit the forget set, so "
        "there is nothing to forget. Check the request, the labels, and that the model was trained on these examples."
    )


def _as_unseen(forget: Seen, unseen: Seen) -> Finding | None:
    """As surprised by what it learned as by what it never saw."""
    if min(len(forget.loss), len(unseen.loss)) < FEW:
        return None
    own, other = (float(each.loss.double().mean()) for each in (forget, unseen))
    if not own >= other:
        return None
    return Finding(
        f"forget: the original's loss is {own:.3g} on {len(forget.loss)} examples to forget, and {other:.3g} on "
        f"{len(unseen.loss)} of the holdout, which it never saw: it knows nothing of them that this could show. Check "
        "the request, that the model was trained on these examples, and that the holdout is like them: with labels as "
        "wrong, where these are."
    )


def _by_chance(correct: int, n: int, chance: float) -> bool:
    return bool(stats.binom.sf(correct - 1, n, chance) > LEVEL)


def _share(correct: int, n: int) -> str:
    return f"{100 * correct / n:.1f} % of {n} examples"
