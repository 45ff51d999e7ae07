"""OFMU: bi-level. Inner loop: forget, decorrelated from the retain gradient. Outer step: utility, with a penalty."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from unweave.arguments import check_fields
from unweave.errors import ConfigurationError
from unweave.gramian import Gradient, dot, linear, norm
from unweave.rules._base import FORGET, RETAIN, Asked, Rule, Step


@dataclass
class OFMU(Rule):
    r"""One `backward` is one outer round on one pair.

    With `L_u` the forget objective (minimised; `-L_f` under ascent), `c = cos(grad L_u, grad L_r)` and the inner
    objective

        Psi = L_u - beta c    (similarity "cosine")      Psi = L_u + beta c^2   (similarity "squared"),

    which is the paper's `-Phi = -(L_f - beta Sim)` written for a minimised objective (the cosine changes its sign too):

        inner, T times   theta <- theta - inner_lr grad Psi
        outer            direction = grad L_r + 2 rho (Hess Psi) grad Psi,   then   rho <- min(gamma rho, rho_max)

    Args:
        similarity_weight: `beta`.
        inner_steps: `T`.
        inner_lr: step of the inner loop; None is `lr / T` under an optimizer. Under a trust region the inner loop
            always goes its radius, each step a T-th part, and the outer step is as long per unit of gradient as all
            inner ones.
        penalty: `rho`.
        penalty_growth: `gamma`.
        penalty_max: the cap; an uncapped penalty relearns, then diverges.
        similarity: the cosine, or its square.
        start: where the outer step starts and its gradients are taken: `warm` (both at the inner result, the only
            reading that forgets), `lookahead` (from the old point, with the new point's gradients), `literal` (all at
            the old point; the inner loop is then without effect).
        curvature: `exact` by double backward, `finite` by differences of gradients, `forget_only` with
            `Hess Psi ~ H_u` in the outer step (by differences too).
        one_sided: one-sided instead of central differences: two gradients fewer per product, ten times the error.
        smoothing: `delta`; norms inside the cosine are `sqrt(|g|^2 + delta^2)`.
        strict: no guards. By default `|beta grad c| <= |grad L_u|` and `|2 rho h| <= |grad L_r|`: at a memorised
            optimum both terms are otherwise larger than anything else by orders of magnitude.

    Reference: arXiv 2509.22483 (ICLR 2026), equations 7 and 9 and the two-loop algorithm. No code was published.
    """

    similarity_weight: float = 0.1
    inner_steps: int = 2
    inner_lr: float | None = None
    penalty: float = 0.01
    penalty_growth: float = 1.1
    penalty_max: float = 1.0
    similarity: Literal["cosine", "squared"] = "cosine"
    start: Literal["warm", "lookahead", "literal"] = "warm"
    curvature: Literal["exact", "finite", "forget_only"] = "forget_only"
    one_sided: bool = True
    smoothing: float = 0.0
    strict: bool = False
    rho: float = field(default=math.nan, init=False)

    def __post_init__(self) -> None:
        check_fields(
            self,
            similarity_weight="[0, inf)",
            inner_steps="[0, inf)",
            inner_lr="(0, inf)",
            penalty="[0, inf)",
            penalty_growth="(0, inf)",
            penalty_max="[0, inf]",
            smoothing="[0, inf)",
        )
        self.rho = self.penalty

    def backward(self, objectives: Asked) -> Step:
        """Moves the parameters through the inner loop and leaves the outer direction in `.grad`."""
        before = objectives.snapshot()
        first: Tensor | None = None
        lr: float | None = None
        inner_lr = self._inner_lr(objectives)
        for _ in range(self.inner_steps):
            losses, psi = self.inner_gradient(objectives)
            first = losses if first is None else first
            length = float(norm(psi))
            if not math.isfinite(length):
                break
            if objectives.radius is not None:
                inner_lr = objectives.radius / (self.inner_steps * length) if length else 0.0
                lr = (lr or 0.0) + inner_lr
            objectives.move(psi, -inner_lr)
            del psi  # before the next one is made
        if self.start == "literal":
            objectives.restore(before)
        losses, direction = self._outer_direction(objectives)
        if self.start == "lookahead" or not math.isfinite(float(norm(direction))):
            objectives.restore(before)  # a step that is not finite will not be taken: then neither is its inner loop
        objectives.write(direction)
        self.rho = min(self.rho * self.penalty_growth, self.penalty_max)
        return Step(losses if first is None else first, torch.tensor([[0.0, 1.0]], dtype=torch.float64), lr=lr)

    def _inner_lr(self, objectives: Asked) -> float:
        if objectives.radius is not None or not self.inner_steps:
            return 0.0
        if self.inner_lr is None and objectives.lr is None:
            raise ConfigurationError("OFMU's inner loop needs a step: give inner_lr, or set objectives.lr.")
        return self.inner_lr if self.inner_lr is not None else (objectives.lr or 0.0) / self.inner_steps

    def inner_gradient(self, objectives: Asked) -> tuple[Tensor, Gradient]:
        """Both losses and `grad Psi`, down which the inner loop steps."""
        losses, (a, b) = objectives.gradients()
        return losses, self._psi(objectives, a, b, self.strict)

    def _psi(self, objectives: Asked, a: Gradient, b: Gradient, strict: bool) -> Gradient:
        """`grad Psi = a + beta sigma'(c) (H_u v_u + H_r v_r)`."""
        if not self.similarity_weight:
            return a
        cos = _Cosine(a, b, self.smoothing)
        if self.curvature != "exact" and self.one_sided:
            rise = objectives.curved(FORGET, cos.terms_a(), a, [torch.zeros_like(g) for g in a])
            rise = objectives.curved(RETAIN, cos.terms_b(), b, rise)
        else:
            rise = self._hvp(objectives, FORGET, cos.v_a(), a)
            torch._foreach_add_(rise, self._hvp(objectives, RETAIN, cos.v_b(), b))
        return _guarded(a, self.similarity_weight * self._slope(cos.value), rise, strict)

    def _outer_direction(self, objectives: Asked) -> tuple[Tensor, Gradient]:
        """`g_r + 2 rho (Hess Psi) p` with `p = grad Psi` held constant."""
        losses, (a, b) = objectives.gradients()
        if not self.rho:
            return losses, b
        p = self._psi(objectives, a, b, self.strict)
        return losses, _guarded(b, 2 * self.rho, self._curvature_along(objectives, p, a, b), self.strict)

    def _curvature_along(self, objectives: Asked, p: Gradient, a: Gradient, b: Gradient) -> Gradient:
        if self.curvature == "forget_only" or not self.similarity_weight:
            if self.one_sided and self.curvature != "exact":
                return objectives.curved(FORGET, [(1.0, p)], a, None)  # over a, which nobody needs any more
            return self._hvp(objectives, FORGET, p, a)
        if self.curvature == "exact":
            return self._exact(objectives, p, a, b)
        before, length = objectives.snapshot(), float(norm(p))
        if length == 0.0:
            return p
        h = _RELATIVE[before[0].dtype == torch.float64] * max(float(norm(before)), 1e-3) / length
        ends = []
        for scale in (h, -h):
            objectives.move(p, scale)
            ends.append(self._psi(objectives, *objectives.gradients()[1], strict=True))  # Psi itself has no guard
            objectives.restore(before)
        return linear((0.5 / h, ends[0]), (-0.5 / h, ends[1]))

    def _exact(self, objectives: Asked, p: Gradient, a: Gradient, b: Gradient) -> Gradient:
        """`(Hess Psi) p`, third derivatives included."""
        cos = _Cosine(a, b, self.smoothing)
        da, db = objectives.contract(FORGET, p), objectives.contract(RETAIN, p)
        dv_a, dv_b = cos.derivative(da, db)
        hess_c = linear(
            (1.0, objectives.contract(FORGET, dv_a)),
            (1.0, objectives.contract(FORGET, cos.v_a(), p)),
            (1.0, objectives.contract(RETAIN, dv_b)),
            (1.0, objectives.contract(RETAIN, cos.v_b(), p)),
        )
        slope = self.similarity_weight * self._slope(cos.value)
        if self.similarity == "cosine":
            return linear((1.0, da), (slope, hess_c))
        rise = linear((1.0, objectives.contract(FORGET, cos.v_a())), (1.0, objectives.contract(RETAIN, cos.v_b())))
        return linear((1.0, da), (slope, hess_c), (2 * self.similarity_weight * float(dot(rise, p)), rise))

    def _slope(self, c: float) -> float:
        """`sigma'(c)` of `Psi = L_u + beta sigma(c)`."""
        return -1.0 if self.similarity == "cosine" else 2 * c

    def _hvp(self, objectives: Asked, side: int, vector: Gradient, gradient: Gradient) -> Gradient:
        if self.curvature == "exact":
            return objectives.contract(side, vector)
        return objectives.hvp(side, vector, gradient if self.one_sided else None)


_RELATIVE = {False: 1e-3, True: 1e-5}  # difference step of a difference of gradients, by float64


class _Cosine:
    """`c = <u, w>`, `u = a / n_a`, `w = b / n_b`, and its derivatives; a zero gradient has `c = 0` and none."""

    def __init__(self, a: Gradient, b: Gradient, delta: float):
        self.a, self.b = a, b
        self.n_a, self.n_b = (math.sqrt(float(dot(g, g)) + delta**2) for g in (a, b))
        self.value = float(dot(a, b)) / (self.n_a * self.n_b) if self.n_a and self.n_b else 0.0

    def v_a(self) -> Gradient:
        """`dc/da = (w - c u) / n_a`."""
        return linear((0.0, self.a), *self.terms_a())

    def v_b(self) -> Gradient:
        """`dc/db = (u - c w) / n_b`."""
        return linear((0.0, self.b), *self.terms_b())

    def terms_a(self) -> list[tuple[float, Gradient]]:
        """What `v_a` is the sum of; nothing where a gradient is zero."""
        return self._terms(self.b, self.a, self.n_a)

    def terms_b(self) -> list[tuple[float, Gradient]]:
        """What `v_b` is the sum of."""
        return self._terms(self.a, self.b, self.n_b)

    def _terms(self, other: Gradient, own: Gradient, n: float) -> list[tuple[float, Gradient]]:
        if not (self.n_a and self.n_b):
            return []
        return [(1 / (self.n_a * self.n_b), other), (-self.value / n**2, own)]

    def derivative(self, da: Gradient, db: Gradient) -> tuple[Gradient, Gradient]:
        """How `v_a` and `v_b` change when `a` and `b` change by `da` and `db`."""
        v_a, v_b = self.v_a(), self.v_b()
        if not (self.n_a and self.n_b):
            return v_a, v_b
        u, w = linear((1 / self.n_a, self.a)), linear((1 / self.n_b, self.b))
        dn_a, dn_b = float(dot(u, da)), float(dot(w, db))
        du = linear((1 / self.n_a, da), (-dn_a / self.n_a, u))
        dw = linear((1 / self.n_b, db), (-dn_b / self.n_b, w))
        c, dc = self.value, float(dot(du, w) + dot(u, dw))
        dv_a = linear((1 / self.n_a, dw), (-dc / self.n_a, u), (-c / self.n_a, du), (-dn_a / self.n_a, v_a))
        dv_b = linear((1 / self.n_b, du), (-dc / self.n_b, w), (-c / self.n_b, dw), (-dn_b / self.n_b, v_b))
        return dv_a, dv_b


def _guarded(gradient: Gradient, weight: float, term: Gradient, strict: bool) -> Gradient:
    """`gradient + weight term`, the second part no longer than the first unless strict; written over `term`."""
    length = abs(weight) * float(norm(term))
    if not strict and length and not length <= float(norm(gradient)):  # of a gradient that is NaN neither holds
        weight *= float(norm(gradient)) / length if math.isfinite(length) else 0.0
    if not weight:
        return linear((1.0, gradient))
    torch._foreach_mul_(term, weight)
    torch._foreach_add_(term, gradient)
    return term
