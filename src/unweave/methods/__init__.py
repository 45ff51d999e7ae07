"""The catalogue: one short function per paper joins a forget loss, a retain loss and a rule.

Every function takes the task, the original model, and its own hyperparameters with our defaults. The forget
loss is ascent on the nll unless the row says otherwise. What looks at the original model keeps a frozen copy.
"""

from __future__ import annotations

from collections.abc import Callable

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

__all__ = ["METHODS", "PAPERS", "REMEMBERING", "Method"]

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
