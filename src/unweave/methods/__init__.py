"""The catalogue: one short function per paper joins a forget loss, a retain loss and a rule.

Every function takes the task, the original model, and its own hyperparameters with our defaults. The forget
loss is ascent on the nll unless the row says otherwise. What looks at the original model keeps a frozen copy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from unweave.data.text import TextRows
from unweave.gramian import local
from unweave.losses import remember
from unweave.methods._base import PAPERS, Method
from unweave.methods.baselines import (
    aligned_mtl,
    bad_teacher,
    cagrad,
    finetune,
    graddiff,
    gradient_ascent,
    gru,
    imtl_g,
    kl,
    mgda,
    munba,
    ngdiff,
    pcgrad,
    pdu,
    random_label,
    salun,
    scrub,
    upgrad,
)
from unweave.methods.headline import eupmu, eupmu_compat, hamu_q, hamu_u, ofmu, unilateral_surgery
from unweave.methods.language import altpo, ce_u, dpo, npo, rmu, satimp, simnpo, undial, wga
from unweave.tasks import Task

__all__ = ["METHODS", "PAPERS", "REMEMBERING", "Method", "made"]

METHODS: dict[str, Callable[..., Method]] = {
    f.__name__: f
    for f in (
        hamu_q,
        hamu_u,
        unilateral_surgery,
        eupmu,
        eupmu_compat,
        ofmu,
        finetune,
        gradient_ascent,
        graddiff,
        random_label,
        salun,
        kl,
        scrub,
        bad_teacher,
        pcgrad,
        gru,
        ngdiff,
        munba,
        pdu,
        mgda,
        cagrad,
        upgrad,
        imtl_g,
        aligned_mtl,
        npo,
        simnpo,
        dpo,
        altpo,
        rmu,
        undial,
        wga,
        satimp,
        ce_u,
    )
}

REMEMBERING = frozenset({"npo", "dpo", "altpo"})
"""Rows that ask the original model for the log-probabilities of the forget answers and nothing else."""


def made(name: str, task: Task, original: nn.Module, forget: object, arguments: Mapping[str, Any]) -> Method:
    """A row of the catalogue; what it asks of the original model alone is asked now, so that no copy is needed.

    Args:
        name: of the row.
        task: what the model does.
        original: before it moves.
        forget: the forget set; the answers of `TextRows` are asked for, of anything else a copy of the model is kept.
        arguments: hyperparameters other than the defaults.
    """
    known: Any = original
    if name in REMEMBERING and isinstance(forget, TextRows) and all(local(p) is p for p in original.parameters()):
        known = remember(original, task, forget)
    return METHODS[name](task, known, **arguments)
