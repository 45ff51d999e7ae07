"""HAMU, EUPMU and OFMU: a forget loss against the nll, joined by the rule of the paper."""

from __future__ import annotations

from typing import Literal

from torch import nn

from unweave import rules
from unweave.gramian import Blocks
from unweave.losses import Ascent, RandomLabels
from unweave.methods._base import PAPERS, Method
from unweave.rules.hamu import Split
from unweave.tasks import Task


def hamu_q(
    task: Task,
    original: nn.Module,
    ratio: float | Literal["auto"] = rules.HAMU.ratio,
    rate: float | None = None,
    radius: float | None = None,
    blocks: Blocks = rules.HAMU.blocks,
    split: Split = rules.HAMU.split,
    infeasible: Literal["stop", "clip", "skip"] = rules.HAMU.infeasible,
    patience: int | None = rules.HAMU.patience,
    slack: float = rules.HAMU.slack,
) -> Method:
    """Guarantees the forget objective's improvement, at the least cost to the retain loss.

    HAMU-Q. The quota is a share of what is feasible at each step; the absolute one of the paper is `rate`.
    """
    rule = rules.HAMU("forget", rate, ratio, radius, split, infeasible, patience, slack, blocks=blocks)
    return Method(Ascent(task.nll), task.nll, rule, PAPERS["hamu_q"])


def hamu_u(
    task: Task,
    original: nn.Module,
    ratio: float | Literal["auto"] = rules.HAMU.ratio,
    rate: float | None = None,
    radius: float | None = None,
    blocks: Blocks = rules.HAMU.blocks,
    split: Split = rules.HAMU.split,
    infeasible: Literal["stop", "clip", "skip"] = rules.HAMU.infeasible,
    patience: int | None = rules.HAMU.patience,
    slack: float = rules.HAMU.slack,
) -> Method:
    """Guarantees the retain loss's improvement, and forgets as much as that allows.

    HAMU-U, with the same quota.
    """
    rule = rules.HAMU("retain", rate, ratio, radius, split, infeasible, patience, slack, blocks=blocks)
    return Method(Ascent(task.nll), task.nll, rule, PAPERS["hamu_u"])


def unilateral_surgery(
    task: Task,
    original: nn.Module,
    tolerance: float | Literal["auto"] = rules.UnilateralSurgery.tolerance,
    blocks: Blocks = rules.UnilateralSurgery.blocks,
) -> Method:
    """The best forgetting step whose first-order rise of the retain loss stays within a tolerance.

    EUPMU's exact step. The paper's forget loss for classifiers is random labels; ours is ascent.
    """
    rule = rules.UnilateralSurgery(tolerance, blocks=blocks)
    return Method(Ascent(task.nll), task.nll, rule, PAPERS["unilateral_surgery"])


def eupmu(
    task: Task,
    original: nn.Module,
    tolerance: float | Literal["auto"] = rules.EUPMU.tolerance,
    dual_lr: float | None = rules.EUPMU.dual_lr,
    estimator: Literal["probe", "next_batch", "same_batch"] = rules.EUPMU.estimator,
    budget: float | None = rules.EUPMU.budget,
    steps: int | None = rules.EUPMU.steps,
) -> Method:
    """Keeps the retain loss within a tolerance by a multiplier that follows its realised change.

    EUPMU's implicit form: one backward a step, the paper's sign of the tolerance, ascent on the forget set.
    """
    rule = rules.EUPMU(tolerance, dual_lr, estimator=estimator, budget=budget, steps=steps)
    return Method(Ascent(task.nll), task.nll, rule, PAPERS["eupmu"])


def eupmu_compat(
    task: Task,
    original: nn.Module,
    error: float = rules.EUPMUCompat.error,
    dual_lr: float = rules.EUPMUCompat.dual_lr,
    log: Literal["none", "dual", "both"] = rules.EUPMUCompat.log,
    estimator: Literal["same_batch", "next_batch"] = rules.EUPMUCompat.estimator,
) -> Method:
    """EUPMU as its authors ship it: random labels, an Adam dual on log losses, a sign turned."""
    rule = rules.EUPMU.compat(error=error, dual_lr=dual_lr, log=log, estimator=estimator)
    return Method(RandomLabels(task), task.nll, rule, PAPERS["eupmu_compat"])


def ofmu(
    task: Task,
    original: nn.Module,
    similarity_weight: float = rules.OFMU.similarity_weight,
    inner_steps: int = rules.OFMU.inner_steps,
    inner_lr: float | None = rules.OFMU.inner_lr,
    penalty: float = rules.OFMU.penalty,
    penalty_growth: float = rules.OFMU.penalty_growth,
    penalty_max: float = rules.OFMU.penalty_max,
    similarity: Literal["cosine", "squared"] = rules.OFMU.similarity,
    start: Literal["warm", "lookahead", "literal"] = rules.OFMU.start,
    curvature: Literal["exact", "finite", "forget_only"] = rules.OFMU.curvature,
    strict: bool = rules.OFMU.strict,
) -> Method:
    """Bi-level: ascends forgetting, decorrelated from the retain gradient, then descends the retain loss."""
    rule = rules.OFMU(
        similarity_weight=similarity_weight, inner_steps=inner_steps, inner_lr=inner_lr, penalty=penalty,
        penalty_growth=penalty_growth, penalty_max=penalty_max, similarity=similarity, start=start,
        curvature=curvature, strict=strict,
    )  # fmt: skip
    return Method(Ascent(task.nll), task.nll, rule, PAPERS["ofmu"])
