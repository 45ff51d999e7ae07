"""OFMU as in arXiv 2509.22483, in closed form on flat vectors: third derivatives are written out; slow.

`forget` is the loss to be raised, and `Phi = L_f - beta Sim(grad L_f, grad L_r)` is climbed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


class Loss(Protocol):
    """A loss with its derivatives; `third(t, v, p)` is the derivative of `H v` along `p`."""

    def value(self, t: Vector) -> float: ...
    def gradient(self, t: Vector) -> Vector: ...
    def hessian(self, t: Vector) -> Vector: ...
    def third(self, t: Vector, v: Vector, p: Vector) -> Vector: ...


@dataclass
class Quadratic:
    """`(t - c)^T M (t - c) / 2`."""

    m: Vector
    centre: Vector

    def value(self, t: Vector) -> float:
        return float((t - self.centre) @ self.m @ (t - self.centre)) / 2

    def gradient(self, t: Vector) -> Vector:
        return self.m @ (t - self.centre)

    def hessian(self, t: Vector) -> Vector:
        return self.m

    def third(self, t: Vector, v: Vector, p: Vector) -> Vector:
        return np.zeros_like(t)


@dataclass
class Logistic:
    """`mean_i log(1 + exp(-z_i.t))`, `z_i = y_i x_i`."""

    z: Vector

    def value(self, t: Vector) -> float:
        return float(np.logaddexp(0, -self.z @ t).mean())

    def _mean(self, factors: Vector) -> Vector:
        return factors @ self.z / len(self.z)

    def _s(self, t: Vector) -> Vector:
        return 1 / (1 + np.exp(self.z @ t))

    def gradient(self, t: Vector) -> Vector:
        return self._mean(-self._s(t))

    def hessian(self, t: Vector) -> Vector:
        s = self._s(t)
        return np.einsum("n,ni,nj->ij", s * (1 - s), self.z, self.z) / len(self.z)

    def third(self, t: Vector, v: Vector, p: Vector) -> Vector:
        s = self._s(t)
        return self._mean(-s * (1 - s) * (1 - 2 * s) * (self.z @ v) * (self.z @ p))


@dataclass
class OFMU:
    """The inner objective `Phi` and its derivatives (section 1.6)."""

    forget: Loss
    retain: Loss
    beta: float
    squared: bool = False
    delta: float = 0.0

    def similarity(self, t: Vector) -> float:
        """The cosine, with smoothed norms."""
        a, b = self.forget.gradient(t), self.retain.gradient(t)
        return float(a @ b / np.sqrt((a @ a + self.delta**2) * (b @ b + self.delta**2)))

    def phi(self, t: Vector) -> float:
        c = self.similarity(t)
        return self.forget.value(t) - self.beta * (c * c if self.squared else c)

    def cosine(self, t: Vector) -> tuple[Vector, Vector, float, float, float, Vector, Vector]:
        """`u, w, n_a, n_b, c, v_f, v_r`."""
        a, b = self.forget.gradient(t), self.retain.gradient(t)
        n_a, n_b = np.sqrt(a @ a + self.delta**2), np.sqrt(b @ b + self.delta**2)
        u, w = a / n_a, b / n_b
        c = float(u @ w)
        return u, w, n_a, n_b, c, (w - c * u) / n_a, (u - c * w) / n_b

    def grad_cosine(self, t: Vector) -> Vector:
        *_, v_f, v_r = self.cosine(t)
        return self.forget.hessian(t) @ v_f + self.retain.hessian(t) @ v_r

    def grad_phi(self, t: Vector) -> Vector:
        slope = 2 * self.similarity(t) if self.squared else 1.0
        return self.forget.gradient(t) - self.beta * slope * self.grad_cosine(t)

    def hess_cosine(self, t: Vector, p: Vector) -> Vector:
        u, w, n_a, n_b, c, v_f, v_r = self.cosine(t)
        h_f, h_r = self.forget.hessian(t), self.retain.hessian(t)
        a_p, b_p = h_f @ p, h_r @ p
        n_a_p, n_b_p = u @ a_p, w @ b_p
        u_p, w_p = (a_p - u * n_a_p) / n_a, (b_p - w * n_b_p) / n_b
        c_p = u_p @ w + u @ w_p
        v_f_p = (w_p - c_p * u - c * u_p - v_f * n_a_p) / n_a
        v_r_p = (u_p - c_p * w - c * w_p - v_r * n_b_p) / n_b
        return h_f @ v_f_p + h_r @ v_r_p + self.forget.third(t, v_f, p) + self.retain.third(t, v_r, p)

    def hess_phi(self, t: Vector, p: Vector) -> Vector:
        h = self.hess_cosine(t, p)
        if self.squared:
            g = self.grad_cosine(t)
            h = 2 * (self.similarity(t) * h + (g @ p) * g)
        return self.forget.hessian(t) @ p - self.beta * h


@dataclass
class Round:
    """What one round went through."""

    rho: float
    inner: list[Vector] = field(default_factory=list)
    outer: Vector = field(default_factory=lambda: np.zeros(0))


def run(
    problem: OFMU,
    start: Vector,
    *,
    T: int,
    K: int,
    ein: float,
    eout: float,
    rho0: float,
    gam: float,
    reading: str = "warm",
    forget_only: bool = False,
    cap: float = np.inf,
) -> list[Round]:
    """The two-loop algorithm (1.4) under one of the three readings of its outer line (1.5)."""
    t, rho, rounds = np.asarray(start, float), rho0, []
    for _ in range(K):
        now = Round(rho, [t])
        for _ in range(T):
            now.inner.append(now.inner[-1] + ein * problem.grad_phi(now.inner[-1]))
        at = t if reading == "literal" else now.inner[-1]
        p = problem.grad_phi(at)
        h = problem.forget.hessian(at) @ p if forget_only else problem.hess_phi(at, p)
        base = at if reading == "warm" else t
        t = now.outer = base - eout * (problem.retain.gradient(at) + 2 * rho * h)
        rounds.append(now)
        rho = min(gam * rho, cap)
    return rounds


def differences(function: Callable[[Vector], float], t: Vector, h: float = 1e-6) -> Vector:
    """Central differences of a scalar function."""
    return np.array([(function(t + h * e) - function(t - h * e)) / (2 * h) for e in np.eye(len(t))])
