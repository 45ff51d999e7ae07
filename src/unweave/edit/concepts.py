"""Unified concept editing (UCE), with the rounds of RECE."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from torch import nn

from unweave.arguments import check, maybe, value
from unweave.edit import conditions as of
from unweave.edit.conditions import Data, Given
from unweave.edit.matrices import Edited, Scales, edited, replaced, solved
from unweave.edit.places import MAPS, TABLES, check_reached, places
from unweave.errors import ConfigurationError
from unweave.losses._base import denoiser
from unweave.modules import check_memory, joined
from unweave.tasks import Task

_POSITIVE = "(0, inf)"
TAKES: Mapping[str, Callable[[str, Any], str]] = {
    **dict.fromkeys(("erase", "preserve"), maybe(of.several)),
    "guide": maybe(of.guiding),
    "tokens": value(str, ("all", "last")),
    **dict.fromkeys(("lamb", "erase_scale", "ridge"), value(float, _POSITIVE)),
    "preserve_scale": value(float, "[0, inf)"),
    "rounds": value(int, "[0, inf)"),
    "batch": value(int, _POSITIVE),
}
"""What the arguments of `uce` may be."""


def uce(
    model: nn.Module,
    task: Task,
    forget: Data,
    retain: Data,
    *,
    erase: Given | None = None,
    guide: Given | int | str | None = None,
    preserve: Given | None = None,
    tokens: Literal["all", "last"] = "all",
    lamb: float = 0.5,
    erase_scale: float = 1.0,
    preserve_scale: float = 1.0,
    rounds: int = 0,
    ridge: float = 0.1,
    batch: int = 64,
) -> Edited:
    """Lets a diffusion model take, in place, the forget set's conditions for the one that means none: it hides them.

    Where conditions are embeddings of texts, every cross-attention matrix of keys and values that may move (the modules
    `*attn2.to_k` and `*attn2.to_v`) becomes its `closed_form`. Where they are classes, rows of the table of classes
    become others, `class_embedding.weight[c] := class_embedding.weight[g]`: classes are orthogonal, and this is the
    closed form's limit for `lamb -> 0`; `tokens`, lamb and the scales have no say there.

    **An edit of the condition path hides.** What the network knows of the images stays in it, and a condition that is
    searched on twenty of them, all weights frozen, finds it: on digits, one of a class whose row was replaced drew it
    in 85 % of the samples (17 % with a model that was trained without the class), one of an edited text in 89 % (41 %).
    Judge it by the condition search, beside a retrained model, and not by what is drawn for the edited condition alone.

    Args:
        model: changed in place.
        task: `tasks.Diffusion`.
        forget: a torch Dataset, or batches `{"x0", "condition"}`.
        retain: the same.
        erase: classes `[n]`, names, embeddings `[n, L, D]`, or tokens that were chosen from them `[n, D]`; None is
            every distinct condition of the forget set.
        guide: what they are taken for, one for all or one for each; None is the task's null, for which a model draws
            some of everything, the edited included.
        preserve: what shall give what it gave, as `erase`; None is every distinct condition of the retain set, and the
            guides.
        tokens: of embeddings `[n, L, D]`. "all" are those from the first that differs from its guide on, and all of
            what is preserved; "last" is the last of the L positions, which in padded texts is padding.
        lamb: weight of staying near the original; compare it with the squared length of a token.
        erase_scale: of each edited token.
        preserve_scale: of each preserved token; 0 preserves none. The more there are, the less of it leaves room.
        rounds: so many times (RECE) each edited token e gets a companion, `argmin_c sum_W |W* c - W e|^2 + ridge
            |c|^2`: what finds it again in the edited matrices. All of them are then edited together.
        ridge: of that.
        batch: examples in a batch where a Dataset is given.

    Raises:
        UnsupportedError: the task is not that of a diffusion model.
        ConfigurationError: an argument has no possible value; the model has no such matrices or table, or they are
            frozen, carry adapters, or are not given the condition as it is; there is no guide and no null; conditions
            are of another kind or width; one shall be edited and preserved, or is its own guide.

    UCE, Gandikota et al., WACV 2024 (arXiv:2308.14761), equation 7, whose settings the defaults are; RECE, Gong et al.,
    ECCV 2024 (arXiv:2407.12383): lamb, preserve_scale and ridge .1, up to 3 rounds. Differs from the authors' code: the
    last token of the subject, which UCE edits, cannot be told from embeddings (pass it as `[n, D]`); a symmetric system
    is solved in float64; each round begins with the original matrices and has the tokens and all companions so far,
    where RECE edits those of the last round, with its companions alone.
    """
    check(TAKES, locals())
    does = denoiser(task, "uce")
    first, wanted = of.distinct(forget, batch, "forget", only_first=erase is not None)
    wanted = wanted if erase is None else of.tensor(does, erase)
    taken = of.guides(does, wanted, guide)
    kept = of.distinct(retain, batch, "retain")[1] if preserve is None else of.tensor(does, preserve)
    of.check_apart(wanted, taken, kept)
    with joined(model):
        check_memory(model)
        if not wanted.is_floating_point():
            if rounds:
                raise ConfigurationError(f"rounds={rounds} is for embeddings, and these are classes: leave it out.")
            return replaced(places(model, TABLES, nn.Embedding), wanted, taken, len(kept))
        maps = places(model, MAPS, nn.Linear)
        named = {"erase": wanted, "guide": taken, "preserve": kept}
        for name, module in maps.items():
            of.check_width(named, module.in_features, name)
        check_reached(model, does, maps, first)
        preserved = [of.rows(kept, tokens)]
        if preserve is None:
            preserved.append(of.rows(of.without(taken, kept), tokens))
        scales = Scales(lamb, erase_scale, preserve_scale)
        rows = of.pairs(wanted, taken, tokens)
        solution = solved([each.weight for each in maps.values()], *rows, preserved, scales, rounds, ridge)
        return edited(maps, solution, sum(map(len, preserved)))
