"""EUPMU: the best forgetting step whose first-order utility loss stays within a tolerance, exact and implicit."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from unweave.arguments import check_fields
from unweave.errors import ConfigurationError
from unweave.rules._base import RETAIN, Asked, GradientRule, Left, LossRule
from unweave.rules.eupmu_compat import EUPMUCompat

_NEGLIGIBLE = 1e-12  # |g_r|^2 relative to |g_u|^2 below which the retain gradient is rounding noise


@dataclass
class UnilateralSurgery(GradientRule):
    r"""EUPMU's exact step: the projection of `g_u` on the half-space of tolerable directions.

        d* = argmin_d |d - g_u|^2 / 2   subject to   -<g_r, d> <= eps
           = g_u + lam g_r,   lam = max(0, (-<g_u, g_r> - eps) / |g_r|^2)

    Only the forget gradient is altered. A negative tolerance demands an improvement of the retain loss.

    Args:
        tolerance: `eps`, the tolerated rise of the retain loss per unit of learning rate. With several blocks it is
            shared in proportion to `|g_u| |g_r|`. "auto", under a contract: what is left of the budget in nats, spread
            over the steps that are left, `eps = left / (lr steps)`; 0 at the first step.

    Reference: arXiv 2510.22124 (NeurIPS 2025), equation 8 and Proposition 3.2.
    Differs from the authors' code: a relative guard instead of `|g_r|^2 + 1e-8`; the tolerance can be set.
    """

    tolerance: float | Literal["auto"] = 0.0
    allowed: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        check_fields(self)
        self.allowed = _number(self.tolerance)

    @property
    def needs_contract(self) -> bool:
        """Whether the tolerance is "auto"."""
        return self.tolerance == "auto"

    def steer(self, left: Left) -> None:
        """Under "auto": the tolerance of the next step, at the length of the last."""
        if self.needs_contract and left.lr > 0:
            self.allowed = left.rise / (left.lr * left.steps)

    def weights(self, gramian: Tensor) -> Tensor:
        """`[B, 2, 2] -> [B, 2]`: `(1, lam)`."""
        uu, ur, rr = gramian[:, 0, 0], gramian[:, 0, 1], gramian[:, 1, 1]
        product = (uu * rr).sqrt()
        share = product / product.sum() if product.sum() > 0 else torch.full_like(product, 1 / len(product))
        defined = rr > _NEGLIGIBLE * uu
        lam = torch.where(defined, (-ur - self.allowed * share) / torch.where(defined, rr, 1.0), 0.0).clamp_min(0)
        return torch.stack([torch.ones_like(lam), lam], -1)


@dataclass
class EUPMU(LossRule):
    r"""EUPMU's implicit form: the multiplier follows the realised change of the retain loss; one backward a step.

        theta <- theta - lr grad[ L_u + m L_r ]
        m     <- max(0, m - dual_lr * ((L_r(before) - L_r(after)) / lr + eps))

    With constant lr and full batches `m = S_t - min_s S_s` with `S_t = dual_lr (L_r(t) / lr - sum eps)` (CUSUM): a soft
    bound on the *cumulative* rise of the retain loss.

    Args:
        tolerance: `eps`, the tolerated rise of the retain loss per unit of learning rate and step. "auto", under a
            contract: what is left of the budget in nats over the steps that are left, `eps = left / (lr steps)`.
        dual_lr: dual step size; None makes it scale-free, `dual_lr = 3 lr / (L_r(0) + 1e-3)`, so that a rise by the
            starting loss raises the multiplier by 3.
        estimator: `next_batch` compares with the next pair's retain loss (unbiased, no extra forward), `probe` with
            held-out retain examples (a recipe holds them out by itself, the one call is given them: `probe=`),
            `same_batch` with the same examples (the paper; optimistically biased).
        budget: tolerated rise of the retain loss over the whole run; `eps = budget / (lr steps)` at each step. It
            takes the place of `tolerance`.
        steps: the steps over which the budget is spread.
        lr: the step length, where no loop sets `Objectives.lr`.
        multiplier_max: upper bound of the multiplier.

    Reference: arXiv 2510.22124 (NeurIPS 2025), equation 8.
    Differs from the authors' code: projection on `m >= 0`, plain dual descent, `1 / lr`, and the paper's sign of the
    tolerance; `EUPMU.compat` is what they ship.
    """

    tolerance: float | Literal["auto"] = 0.0
    dual_lr: float | None = None
    estimator: Literal["probe", "next_batch", "same_batch"] = "next_batch"
    budget: float | None = None
    steps: int | None = None
    lr: float | None = None
    multiplier_max: float = math.inf
    compat = EUPMUCompat  # what the authors ship; its `error` is a margin: minus a tolerance, up to scale
    multiplier: float = field(default=0.0, init=False)
    before: float | None = field(default=None, init=False)
    taken: float | None = field(default=None, init=False)
    start: float | None = field(default=None, init=False)
    allowed: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        asked = self.budget is not None
        check_fields(
            self,
            "tolerance='auto' takes the budget from the contract: leave budget out." * (asked and self.needs_contract),
            "budget is spread over a number of steps: give steps as well." * (asked and self.steps is None),
            dual_lr="(0, inf)",
            budget="[0, inf)",
            steps="[1, inf)",
            lr="(0, inf)",
            multiplier_max="[0, inf]",
        )
        self.allowed = _number(self.tolerance)

    @property
    def needs_forget_loss(self) -> bool:
        """Never."""
        return False

    @property
    def needs_probe(self) -> bool:
        """With the estimator of that name."""
        return self.estimator == "probe"

    @property
    def needs_contract(self) -> bool:
        """Whether the tolerance is "auto"."""
        return self.tolerance == "auto"

    def steer(self, left: Left) -> None:
        """Under "auto": the tolerance of the next dual step, at the length of the last step."""
        if self.needs_contract and left.lr > 0:
            self.allowed = left.rise / (left.lr * left.steps)

    def weights(self, losses: Tensor) -> Tensor:
        """`(1, m)`; with `next_batch`, after the dual step that this pair's retain loss completes."""
        retain = float(losses[RETAIN])
        self.start = retain if self.start is None else self.start
        if self.estimator == "next_batch" and self.before is not None and self.taken:
            self.update(self.before, retain, self.taken)
            self.taken = None  # used up: a step that is refused or undone is not observed
        if self.estimator != "probe":
            self.before = retain
        return torch.tensor([1.0, self.multiplier], dtype=losses.dtype)

    def observe(self, objectives: Asked) -> None:
        """The dual step on the probe or on the same pair; `next_batch` only notes the step length."""
        self.taken = objectives.lr if objectives.lr is not None else self.lr
        if self.taken is None:
            raise ConfigurationError(
                "EUPMU divides by the step length and found none: set objectives.lr = optimizer.param_groups[0]['lr'], "
                "or EUPMU(lr=...)."
            )
        if self.estimator == "next_batch":
            return
        after = objectives.probe_loss() if self.estimator == "probe" else float(objectives.loss(RETAIN))
        if self.before is not None and self.taken:
            self.update(self.before, after, self.taken)
        if self.estimator == "probe":
            self.before = after

    def update(self, before: float, after: float, lr: float) -> float:
        """One projected dual step, from the retain loss before and after a step of length `lr`."""
        tolerance = self.allowed if self.budget is None else self.budget / (lr * (self.steps or 1))
        dual_lr = 3 * lr / ((self.start or 0.0) + 1e-3) if self.dual_lr is None else self.dual_lr
        moved = self.multiplier - dual_lr * ((before - after) / lr + tolerance)
        if math.isfinite(moved):
            self.multiplier = min(max(0.0, moved), self.multiplier_max)
        return self.multiplier


def _number(tolerance: float | Literal["auto"]) -> float:
    """The tolerance before a contract has said anything: 0 if it is to."""
    return 0.0 if tolerance == "auto" else tolerance
