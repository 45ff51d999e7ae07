"""HAMU: a guaranteed improvement of one objective at the least cost to the other, inside a trust region."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from unweave.arguments import check_fields
from unweave.gramian import Blocks, sine2
from unweave.rules._base import COLLINEAR, FORGET, RETAIN, GradientRule, Left, ratio

_DOUBT = 8.9e-16  # by so much is the sin^2 of a Gramian uncertain; taken as too small, the step would leave the ball
# "auto": where the ratio starts, its ends, and by how much a step that went worse or better than predicted changes it.
_START, _LEAST, _MOST, _LOWER, _HIGHER = 0.1, 0.02, 0.4, 0.7, 1.15
_TOLERATED = 0.25  # excess of the realised over the predicted change, as a share of the predicted changes
_NAMES = ("direct", "rectified", "collinear", "infeasible")
Split = Literal["norm_product", "uniform", "softmax", "joint"]


@dataclass
class _Seen:
    """A Gramian as the problem has it, in every block: index 0 is `a` (not guaranteed), 1 is `b` (guaranteed).

    `aa, ab, bb` are its entries, `a, b` the norms of the gradients, and `room = r |b|` is what is feasible.
    """

    g: Tensor
    aa: Tensor
    ab: Tensor
    bb: Tensor
    a: Tensor
    b: Tensor
    radius: Tensor
    room: Tensor
    quota: Tensor
    sine: Tensor

    @cached_property
    def case(self) -> Tensor:
        """The place in `_NAMES`, of blocks with a quota of their own."""
        aa, ab, q, r = self.aa, self.ab, self.quota, self.radius
        case = torch.where((self.sine <= COLLINEAR) | (aa == 0), 2, 1)
        case = torch.where((r * ab >= q * self.a) & ((aa > 0) | (self.bb == 0)), 0, case)
        return torch.where(q > self.room * (1 + 1e-12), 3, case)


@dataclass
class HAMU(GradientRule):
    r"""Hardness-aware constrained step.

    With `a` the gradient of the objective that is not guaranteed and `b` that of the one that is, both minimised, the
    weight change `-lr D` solves, in every block with its quota `q` and radius `r`,

        max_D <a, D>   subject to   <b, D> >= q,   |D| <= r.

        direct      <a,b> >= q |a| / r        D = (r / |a|) a
        rectified   otherwise                 D = alpha a + beta b,
                    alpha = sqrt((r^2 - q^2/|b|^2) / (|a|^2 sin^2)),  beta = (q - alpha <a,b>) / |b|^2
        collinear   sin = 0 or a = 0          D = (q / |b|^2) b             sin^2 <= 1.4e-14, see `gramian`
        infeasible  q > r |b|

    `guarantee="forget"` is HAMU-Q, `"retain"` HAMU-U. The specification writes the same with raw gradients of the
    losses: its kappa is `-<a,b>` under plain ascent. `split="joint"` puts one quota over all blocks,
    `D_i = r_i (a_i + lam b_i) / |a_i + lam b_i|`, with the smallest `lam >= 0` that meets it.

    Args:
        guarantee: the objective whose improvement is guaranteed.
        rate: the quota per unit of learning rate, `Q / lr`; None uses `ratio`.
        ratio: the quota as a share of what is feasible at this step and radius, `Q = ratio sum_i R_i |b_i|`, in [0, 1).
            "auto", under a contract: it rises while steps change the objectives as predicted, falls when the one that
            is not guaranteed rises beyond that, and stays within what is left of the budget.
        radius: `R / lr`, the same for every block; None is `|a|` of the block, as in the paper.
        split: how the quota is shared among blocks. Under `norm_product` every block has the same relative quota.
        infeasible: what to do when a block cannot meet its quota: `stop` refuses the step, `clip` goes as far as the
            ball allows, `skip` leaves the block where it is.
        patience: refuse to go on after this many steps in a row whose predicted change of the objective that is not
            guaranteed is a rise beyond `slack`; None never refuses.
        slack: the rise that is tolerated, as a share of `sum_i R_i |a_i|`.
        need: what the forget side gets follows its need, the share `n` of its examples whose loss is not 0: those that
            an end per example (`losses.Until`) has not left alone. Under `guarantee="forget"` the quota is `n Q`; at
            n = 0 it is nothing, and the step (at `radius=None`) the plain retain step. Under "retain" it is
            `Q + (1 - n) (sum_i R_i |b_i| - Q)`, at n = 0 all that is feasible: give a `radius`, since |a| ends with it.
        blocks: what has a quota and a radius of its own: every `tensor` (the paper), every `layer`, or the `model`.

    Raises:
        ConfigurationError: a value out of range.

    Reference: arXiv 2606.02119 (ICML 2026), HAMU-Q and HAMU-U.
    Differs from the authors' code: `blocks="model"` normalises the orthogonal part by its global norm (their
    `full_grad` uses each tensor's own and leaves the ball); the stopping rule is signed; collinearity is relative and
    decided in float64; no separate clipping of the two gradients; an infeasible block never leaves the ball.
    """

    guarantee: Literal["forget", "retain"] = "forget"
    rate: float | None = None
    ratio: float | Literal["auto"] = 0.1
    radius: float | None = None
    split: Split = "norm_product"
    infeasible: Literal["stop", "clip", "skip"] = "stop"
    patience: int | None = None
    slack: float = 0.0
    need: bool = False
    blocks: Blocks = field(default="tensor", kw_only=True)
    strikes: int = field(default=0, init=False)
    share: float = field(default=_START, init=False)
    needed: float = field(default=1.0, init=False)

    def __post_init__(self) -> None:
        check_fields(self, rate="[0, inf)", ratio="[0, 1)", radius="(0, inf)", patience="[1, inf)", slack="[0, inf)")
        if self.ratio != "auto":
            self.share = self.ratio

    @property
    def needs_contract(self) -> bool:
        """Whether the ratio is "auto"."""
        return self.ratio == "auto"

    def steer(self, left: Left) -> None:
        """Under "auto": compares what the last step did to the other objective with what the Gramian predicted."""
        if self.ratio != "auto" or left.predicted is None or left.realised is None:
            return
        other = 1 - self.side
        excess = float(left.realised[other] - left.predicted[other])
        moved = self.share * (_HIGHER if excess <= _TOLERATED * float(left.predicted.abs().sum()) else _LOWER)
        self.share = min(max(moved, _LEAST), max(_LEAST, _MOST * left.share))

    def hear(self, active: Tensor) -> None:
        """With `need`: how much of it the forget side has at this step."""
        if self.need:
            self.needed = float(active[FORGET])

    @property
    def side(self) -> int:
        """That of the guarantee."""
        return FORGET if self.guarantee == "forget" else RETAIN

    def weights(self, gramian: Tensor) -> Tensor:
        """`[B, 2, 2] -> [B, 2]`; blocks that cannot meet their quota follow `infeasible`."""
        return self._weights(self._seen(gramian))

    def judge(self, gramian: Tensor, weights: Tensor) -> tuple[tuple[str, ...], str | None]:
        """The branch of every block, and why the step is refused, if it is."""
        return self._judge(self._seen(gramian), weights)

    def decide(self, gramian: Tensor) -> tuple[Tensor, tuple[str, ...], str | None]:
        """Both, of one look at the Gramian."""
        seen = self._seen(gramian)
        weights = self._weights(seen)
        return weights, *self._judge(seen, weights)

    def branches(self, gramian: Tensor) -> tuple[str, ...]:
        """`direct`, `rectified`, `collinear` or `infeasible` for every block."""
        return self._branches(self._seen(gramian))

    def _seen(self, gramian: Tensor) -> _Seen:
        g = gramian.double()
        g = g if self.guarantee == "retain" else g.flip(-1, -2)
        aa, ab, _, bb = g.flatten(1).unbind(1)
        a, b = aa.sqrt(), bb.sqrt()
        radius = a if self.radius is None else torch.full_like(a, self.radius)
        room = radius * b
        return _Seen(g, aa, ab, bb, a, b, radius, room, self._quota(room, ab), sine2(g))

    def _weights(self, seen: _Seen) -> Tensor:
        weights = self._joint(seen) if self.split == "joint" else self._closed_form(seen)
        return weights if self.guarantee == "retain" else weights.flip(-1)

    def _judge(self, seen: _Seen, weights: Tensor) -> tuple[tuple[str, ...], str | None]:
        branches = self._branches(seen)
        stuck = branches.count("infeasible")
        if stuck and self.infeasible == "stop":
            needed, room = float(seen.quota.sum()), float(seen.room.sum())
            return branches, (
                f"infeasible: {stuck} of {len(branches)} blocks cannot meet their quota (asked {needed:.3g} per unit "
                f"of lr, feasible {room:.3g}). Lower rate, or give the quota as a ratio of what is feasible."
            )
        a_d = (seen.g[:, 0] * self._to_ab(weights)).sum()
        limit = self.slack * float((seen.radius * seen.a).sum()) if self.slack else 0.0
        self.strikes = self.strikes + 1 if -float(a_d) > limit else 0
        if self.patience is not None and self.strikes >= self.patience:
            other = "retain" if self.guarantee == "forget" else "forget"
            return branches, (
                f"hard: for {self.strikes} steps no step of this radius met the quota without raising the {other} "
                "objective"
            )
        return branches, None

    def _branches(self, seen: _Seen) -> tuple[str, ...]:
        if self.split == "joint":
            quota, room = seen.quota.sum(), seen.room.sum()
            free = (torch.where(seen.aa > 0, seen.radius / seen.a, 0.0) * seen.ab).sum() >= quota
            return ("infeasible" if quota > room else "direct" if free else "rectified",) * len(seen.g)
        return tuple(map(_NAMES.__getitem__, seen.case.tolist()))

    def _to_ab(self, weights: Tensor) -> Tensor:
        return weights if self.guarantee == "retain" else weights.flip(-1)

    def _quota(self, room: Tensor, ab: Tensor) -> Tensor:
        """The quota of every block, `[B]`, of what is feasible in each, `r |b|`."""
        total = self.share * room.sum() if self.rate is None else torch.as_tensor(self.rate, dtype=room.dtype)
        if self.need:
            full = room.sum() if self.guarantee == "retain" else 0.0
            total = full + self.needed * (total - full)
        if self.split == "uniform":
            return (total / len(room)).expand(len(room))
        if self.split == "softmax":
            return total * ab.softmax(0)
        share = room / room.sum() if room.sum() > 0 else torch.full_like(room, 1 / len(room))
        return total * share

    def _closed_form(self, seen: _Seen) -> Tensor:
        bb, q, r, case = seen.bb, seen.quota, seen.radius, seen.case
        left = (r.square() - ratio(q.square(), bb)).clamp_min(0)
        rectified = ratio(left, seen.aa * (seen.sine + _DOUBT)).sqrt()
        alpha = torch.where(case == 0, ratio(r, seen.a), torch.where(case == 1, rectified, 0.0))
        beta = torch.where(case == 1, ratio(q - rectified * seen.ab, bb), torch.where(case == 2, ratio(q, bb), 0.0))
        if self.infeasible == "clip":
            beta = torch.where(case == 3, ratio(r, seen.b), beta)
        return torch.stack([alpha, beta], -1)

    def _joint(self, seen: _Seen) -> Tensor:
        """One quota: the smallest `lam >= 0` with `sum_i b_i.D_i(lam) >= q`, by bisection (the sum is monotone in lam).

        `D_i` is found in the orthonormal frame of `b_i` and what of `a_i` is orthogonal to it, where nothing cancels.
        Of collinear gradients it jumps from one end of `b_i` to the other: the ends are mixed to meet the quota.
        """
        a, b, q, r = seen.a, seen.b, seen.quota.sum(), seen.radius
        zero = torch.zeros_like(r)
        if q > seen.room.sum():
            return torch.stack([zero, ratio(r, b) if self.infeasible == "clip" else zero], -1)
        direct = torch.stack([ratio(r, a), zero], -1)
        if (seen.g[:, 1] * direct).sum() >= q:
            return direct
        sine = torch.where(seen.sine <= COLLINEAR, 0.0, (seen.sine + _DOUBT).sqrt())
        along, across = torch.where(sine == 0, seen.ab.sign() * a, ratio(seen.ab, b)), a * sine

        def at(lam: float) -> Tensor:
            d = torch.stack([along + lam * b, across], -1)
            return d * ratio(r, d.norm(dim=-1))[:, None]

        def gain(d: Tensor) -> float:
            return float((b * d[:, 0]).sum())

        low, high = 0.0, float((a.square().sum() / b.square().sum()).sqrt()) or 1.0
        for _ in range(200):
            if gain(at(high)) >= q:
                break
            low, high = high, 2 * high
        for _ in range(200):
            middle = 0.5 * (low + high)
            if not low < middle < high:
                break
            low, high = (low, middle) if gain(at(middle)) >= q else (middle, high)
        near, far = at(low), at(high)
        share = (float(q) - gain(near)) / (gain(far) - gain(near)) if gain(far) > gain(near) else 1.0
        d = near.lerp(far, min(max(share, 0.0), 1.0))
        alpha = ratio(d[:, 1], across)
        return torch.stack([alpha, ratio(d[:, 0] - alpha * along, b)], -1)
