"""How long a model's scores will take, from a few passes taken now."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from unweave.execution import device_of
from unweave.modalities.diffusion.evaluation.exam import Exam, drawing
from unweave.modalities.diffusion.evaluation.generate import BATCH, generate
from unweave.modalities.diffusion.evaluation.prompts import CANDIDATES
from unweave.modalities.diffusion.evaluation.search import SEARCHES, STEPS, Attack
from unweave.modules import copied, evaluating

_PASSES = 8  # of a score that a membership attack reads


def seconds(model: nn.Module, exam: Exam, attack: Attack | None) -> float:
    """Of `scores.score` on this model: drawing, losses, attacks; the judge's part and the intervals are left out.

    One pass with guidance counts as two, and what moves weights as what its own batch takes.
    """
    classes, guided = len(exam.forgotten), 1 if exam.guidance == 1 else 2
    drawn = classes * exam.images + len(exam.kept) * exam.kept_images
    read = sum(min(len(each), exam.most) for each in exam.sets.values()) * exam.looks
    read += sum(min(len(exam.sets[name]), exam.most) for name in ("forget", exam.others)) * _PASSES
    moved = 0
    if attack is not None and classes:
        for kind in attack.which:
            images = attack.images * (classes if kind == "relearning" else 1)
            most = max(STEPS) * min(attack.batch, len(exam.sets["retain"]) if kind == "benign" else images)
            looked = classes * attack.search * attack.images * attack.looks
            moved += looked if kind in SEARCHES else most
            read += looked * CANDIDATES if kind == "prompt" else 0
            drawn += classes * attack.drawn * (1 if kind in SEARCHES else len(STEPS))
    forward = _forward(model, exam)
    step = _step(model, exam) if moved else 0.0
    return forward * (drawn * exam.steps * guided + read) + step * moved


def _forward(model: nn.Module, exam: Exam) -> float:
    """Seconds of one pass of one example, as images are drawn."""
    size = min(BATCH, max(exam.images, len(exam.kept) * exam.kept_images))
    asked = exam.condition(torch.from_numpy(np.resize(exam.kept, size)))
    shape = tuple(exam.rows("forget", 1)["x0"].shape[1:])
    return _timed(lambda: generate(model, exam.task, asked, torch.arange(size), shape, 2)) / (2 * size)


def _step(model: nn.Module, exam: Exam) -> float:
    """Seconds of a forward and a backward pass of one example."""
    own = copied(model)
    batch = {name: each.to(device_of(own)) for name, each in exam.rows("retain", 64).items()}
    size = len(batch["x0"])

    def backward() -> float:
        with evaluating(own), drawing(torch.arange(size)):
            exam.task.nll(own, batch).mean().backward()
        return float(next(p.grad.sum() for p in own.parameters() if p.grad is not None))  # waits for a GPU

    return _timed(backward) / size


def _timed(does: Callable[[], object]) -> float:
    """The second time that it is done."""
    does()
    begin = time.perf_counter()
    does()
    return time.perf_counter() - begin
