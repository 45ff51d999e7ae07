"""The language models' field: one short function per paper. The retain loss is the nll unless the row says otherwise.

In these rows `original` may also be what stands for the original model: what it said, for instance (`losses.remember`).
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from unweave import rules
from unweave.losses import CEU, DPO, NPO, WGA, Anchor, Misdirection, SatImp, SimNPO, Undial, reference
from unweave.methods._base import PAPERS, Method
from unweave.tasks import Task


def npo(task: Task, original: nn.Module, beta: float = 0.1, forget: float = 1.0, retain: float = 1.0) -> Method:
    """Makes each forget answer less likely than the original model had it, and stops where it is."""
    return Method(NPO(task, reference(original), beta), task.nll, rules.Fixed(forget, retain), PAPERS["npo"])


def simnpo(
    task: Task, original: nn.Module, beta: float = 4.5, delta: float = 0.0, forget: float = 0.125, retain: float = 1.0
) -> Method:
    """NPO by the mean over tokens, without the original model."""
    return Method(SimNPO(task, beta, delta), task.nll, rules.Fixed(forget, retain), PAPERS["simnpo"])


def dpo(task: Task, original: nn.Module, beta: float = 0.1, forget: float = 1.0, retain: float = 1.0) -> Method:
    """Prefers a refusal to each forget answer (IdkDPO).

    The forget rows bring the refusals: `tokenised(..., alternates=[...])`.
    """
    return Method(DPO(task, reference(original), beta), task.nll, rules.Fixed(forget, retain), PAPERS["dpo"])


def altpo(task: Task, original: nn.Module, beta: float = 0.1, forget: float = 1.0, retain: float = 1.0) -> Method:
    """Prefers another plausible answer to each forget answer.

    The forget rows bring these answers, which the paper lets the model write: `tokenised(..., alternates=[...])`.
    """
    return Method(DPO(task, reference(original), beta), task.nll, rules.Fixed(forget, retain), PAPERS["altpo"])


def rmu(
    task: Task,
    original: nn.Module,
    layer: int | None = None,
    scale: float = 2.0,
    seed: int = 0,
    forget: float = 1.0,
    retain: float = 1.0,
) -> Method:
    """Turns one block's activations on the forget set to a random direction, and holds them on the retain set.

    The block is the eighth, or the middle one of a model with fewer than 16. Choose the weights with `parameters`.
    """
    if layer is None:
        depth = getattr(getattr(original, "config", None), "num_hidden_layers", 16)
        layer = min(7, max(depth // 2 - 1, 0))
    sides = Misdirection(task, layer, scale, seed), Anchor(task, reference(original), layer)
    return Method(*sides, rules.Fixed(forget, retain), PAPERS["rmu"])


def undial(
    task: Task,
    original: nn.Module,
    beta: float = 10.0,
    forget: float = 1.0,
    retain: float = 0.0,
    compat: Literal["open-unlearning"] | None = None,
) -> Method:
    """Distils the original model with the right token's logit lowered; without a retain side, as published."""
    keep = task.nll if retain else None
    return Method(Undial(task, reference(original), beta, compat), keep, rules.Fixed(forget, retain), PAPERS["undial"])


def wga(task: Task, original: nn.Module, beta: float = 1.0, forget: float = 1.0, retain: float = 1.0) -> Method:
    """Ascent in which a token counts as much as it is still likely."""
    return Method(WGA(task, beta), task.nll, rules.Fixed(forget, retain), PAPERS["wga"])


def satimp(
    task: Task,
    original: nn.Module,
    beta1: float = 5.0,
    beta2: float = 1.0,
    forget: float = 1.0,
    retain: float = 0.1,
) -> Method:
    """Ascent in which a token counts where it is neither forgotten nor certain."""
    return Method(SatImp(task, beta1, beta2), task.nll, rules.Fixed(forget, retain), PAPERS["satimp"])


def ce_u(task: Task, original: nn.Module, skip: int = 1) -> Method:
    """Descends toward the model's own prediction with the right token struck out; no retain side, as published."""
    return Method(CEU(task, skip), None, rules.Fixed(retain=0.0), PAPERS["ce_u"])
