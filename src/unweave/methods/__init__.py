"""The catalogue: one short function per paper joins a forget loss, a retain loss and a rule.

Every function takes the task, the original model, and its own hyperparameters with our defaults. The forget
loss is ascent on the nll unless the row says otherwise. What looks at the original model keeps a frozen copy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from unweave import arguments as takes
from unweave.errors import ConfigurationError, at_once
from unweave.gramian import local
from unweave.losses import Reference, remember
from unweave.losses.original import Answers
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

__all__ = ["METHODS", "OVER", "PAPERS", "REMEMBERING", "Method", "divided", "made", "title"]

_GIVEN = {
    "task": takes.task,
    "original": takes.kind("the original model (a torch.nn.Module), or what stands for it", Reference),
}
METHODS: dict[str, Callable[..., Method]] = {
    f.__name__: at_once(takes.checked(_GIVEN)(f))
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


OVER = "over"
"""What a recipe calls the row whose losses another row's rule takes: `method: {name: hamu_q, over: npo}`."""


def made(name: str, task: Task, original: nn.Module, forget: object, arguments: Mapping[str, Any]) -> Method:
    """A row of the catalogue; what it asks of the original model alone is asked now, so that no copy is needed.

    Args:
        name: of the row.
        task: what the model does.
        original: before it moves.
        forget: the forget set; the answers of texts are asked for, of anything else a copy of the model is kept.
        arguments: hyperparameters other than the defaults; with "over", the name of another row or a mapping of its
            `name` and hyperparameters, the rule is this row's and the losses are that one's.

    Raises:
        ConfigurationError: the other row has no forget loss.
    """
    own, other = divided(arguments)
    row = METHODS[name](task, _known(name, task, original, forget), **own)
    if other is None:
        return row
    losses = METHODS[other[0]](task, _known(other[0], task, original, forget), **other[1])
    if losses.forget is None:
        raise ConfigurationError(f"method.over: {other[0]} has no forget loss for {name} to take; npo has one")
    return replace(row, forget=losses.forget, retain=losses.retain or row.retain, paper=f"{row.paper}; {losses.paper}")


def divided(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, dict[str, Any]] | None]:
    """A row's own hyperparameters, and the name and hyperparameters of the row that it is over, if it is."""
    own = dict(arguments)
    other = own.pop(OVER, None)
    if other is None:
        return own, None
    theirs = {"name": other} if isinstance(other, str) else dict(other)
    return own, (theirs.pop("name"), theirs)


def title(name: str, arguments: Mapping[str, Any]) -> str:
    """What a method is called: "hamu_q over npo"."""
    other = divided(arguments)[1]
    return name if other is None else f"{name} over {other[0]}"


def _known(name: str, task: Task, original: nn.Module, forget: object) -> Any:
    """The original, or what it said of the forget answers where a row asks no more of it."""
    if name in REMEMBERING and isinstance(forget, Answers) and all(local(p) is p for p in original.parameters()):
        return remember(original, task, forget)
    return original
