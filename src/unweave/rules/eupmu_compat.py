"""The EUPMU variant that its authors ship: an Adam dual on log losses, with the opposite sign of the tolerance."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from unweave.arguments import check_fields
from unweave.rules._base import RETAIN, Asked, LossRule

_BETA1, _BETA2, _EPS = 0.9, 0.999, 1e-8  # torch.optim.Adam's defaults


@dataclass
class EUPMUCompat(LossRule):
    r"""As in the authors' code: one scalar `w`, gated (not projected) at 0, moved by Adam with coupled weight decay.

        delta = log(L_r(before) + floor) - log(L_r(after) + floor) - error
        w     <- Adam(w, grad = delta + weight_decay w, dual_lr)

    The primal weights are `(1, max(w, 0))`, or `(1, w) / (1 + w)` if normalised. At rest `w = error / weight_decay`
    when the retain loss does not drift: `error` acts as a target of the retain weight rather than as a tolerance.

    Args:
        error: demanded improvement per step; minus the paper's tolerance, up to scale.
        dual_lr: learning rate of Adam on `w`.
        weight_decay: coupled L2, 0.01 in every published script.
        log: logarithms in the `dual` difference, in `both` (the primal losses as well), or `none`.
        normalised: divide both primal weights by `1 + w` (Stable Diffusion and NSFW scripts, `eu_fast`).
        estimator: `same_batch`, or `next_batch` (`eu_fast`).
        initial: `w` before the first step.
        floor: added inside the logarithms.

    Reference: arXiv 2510.22124, authors' classification, DDPM and Stable Diffusion scripts.
    """

    error: float = 0.01
    dual_lr: float = 1.0
    weight_decay: float = 0.01
    log: Literal["none", "dual", "both"] = "dual"
    normalised: bool = False
    estimator: Literal["same_batch", "next_batch"] = "same_batch"
    initial: float = 0.0
    floor: float = 1e-8
    w: float = field(default=0.0, init=False)
    before: float | None = field(default=None, init=False)
    steps: int = field(default=0, init=False)
    mean: float = field(default=0.0, init=False)
    square: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        check_fields(self, dual_lr="(0, inf)", weight_decay="[0, inf)", floor="[0, inf)")
        self.w = self.initial

    @property
    def needs_forget_loss(self) -> bool:
        """Only the logarithmic primal divides by it."""
        return self.log == "both"

    def weights(self, losses: Tensor) -> Tensor:
        """`(1, w)`, gated, normalised and divided by the losses as the variant asks."""
        retain = float(losses[RETAIN])
        if self.estimator == "next_batch" and self.before is not None:
            self.update(self.before, retain)
        self.before = retain
        gated = max(self.w, 0.0)
        w = torch.tensor([1.0, gated], dtype=losses.dtype) / (1 + gated if self.normalised else 1)
        return w / (losses + self.floor) if self.log == "both" else w

    def observe(self, objectives: Asked) -> None:
        """The dual step on the same pair."""
        if self.estimator == "same_batch" and self.before is not None:
            self.update(self.before, float(objectives.loss(RETAIN)))

    def update(self, before: float, after: float) -> float:
        """One Adam step of `w` from the retain loss before and after a step; returns `w`."""
        phi = (lambda x: x) if self.log == "none" else (lambda x: math.log(x + self.floor))
        gradient = phi(before) - phi(after) - self.error + self.weight_decay * self.w
        self.steps += 1
        self.mean = _BETA1 * self.mean + (1 - _BETA1) * gradient
        self.square = _BETA2 * self.square + (1 - _BETA2) * gradient**2
        mean, square = self.mean / (1 - _BETA1**self.steps), self.square / (1 - _BETA2**self.steps)
        self.w -= self.dual_lr * mean / (math.sqrt(square) + _EPS)
        return self.w
