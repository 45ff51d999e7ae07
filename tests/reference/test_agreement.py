"""Fast rules and slow twins walk the same path over a small network, on random batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.reference import eupmu, hamu, ofmu
from unweave.data.pairs import Pair
from unweave.losses import Ascent
from unweave.objectives import Objectives
from unweave.rules import EUPMU, HAMU, OFMU, Rule, UnilateralSurgery
from unweave.tasks import Vision

Vector = NDArray[np.float64]
LR, STEPS = 0.05, 5


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3)).double()


SIZES = [p.numel() for p in network().parameters()]


def pairs() -> list[Pair]:
    generator = torch.Generator().manual_seed(2)

    def batch(n: int) -> Any:
        inputs = torch.randn(n, 4, generator=generator, dtype=torch.float64)
        return inputs, torch.randint(3, (n,), generator=generator)

    return [Pair([batch(9)], [batch(14)]) for _ in range(STEPS)]


def flat(tensors: Any) -> Vector:
    return torch.cat([t.detach().flatten() for t in tensors]).numpy().copy()


def split(v: Vector) -> list[Vector]:
    return np.split(v, np.cumsum(SIZES)[:-1])


def fast(rule: Rule) -> list[Vector]:
    """The parameters after every step of `Objectives` and plain SGD."""
    model, path = network(), []
    seen = Objectives(model, (Ascent(Vision().nll), Vision().nll))
    optimizer = torch.optim.SGD(model.parameters(), LR)
    for pair in pairs():
        optimizer.zero_grad()
        seen.at(pair).lr = LR
        rule.backward(seen)
        optimizer.step()
        rule.observe(seen)
        path.append(flat(model.parameters()))
    return path


class Network:
    """One batch's loss of the network as a function of a flat vector, differentiated naively."""

    def __init__(self, batch: Any, sign: float = 1.0) -> None:
        self.model, self.batch, self.sign = network(), batch, sign

    def _loss(self, t: Vector) -> tuple[Tensor, Tensor]:
        theta = torch.tensor(t, requires_grad=True)
        shaped = {
            name: part.view_as(p)
            for (name, p), part in zip(self.model.named_parameters(), theta.split(SIZES), strict=True)
        }
        logits = torch.func.functional_call(self.model, shaped, (self.batch[0],))
        return theta, self.sign * nn.functional.cross_entropy(logits, self.batch[1])

    def value(self, t: Vector) -> float:
        return float(self._loss(t)[1].detach())

    def gradient(self, t: Vector) -> Vector:
        theta, loss = self._loss(t)
        return torch.autograd.grad(loss, theta)[0].numpy()

    def hessian(self, t: Vector) -> Vector:
        theta, loss = self._loss(t)
        (g,) = torch.autograd.grad(loss, theta, create_graph=True)
        rows = [torch.autograd.grad(x, theta, retain_graph=True)[0] for x in g]
        return torch.stack(rows).numpy()

    def third(self, t: Vector, v: Vector, p: Vector) -> Vector:
        theta, loss = self._loss(t)
        (g,) = torch.autograd.grad(loss, theta, create_graph=True)
        (h,) = torch.autograd.grad(g @ torch.tensor(v), theta, create_graph=True)
        return torch.autograd.grad(h @ torch.tensor(p), theta)[0].numpy()


def slow(step: Callable[[Vector, Network, Network], Vector]) -> list[Vector]:
    """The path of a step on flat vectors: parameters, raw forget loss, retain loss."""
    theta, path = flat(network().parameters()), []
    for pair in pairs():
        theta = step(theta, Network(pair.forget[0]), Network(pair.retain[0]))
        path.append(theta)
    return path


def agree(left: list[Vector], right: list[Vector], tolerance: float = 1e-9) -> None:
    start = flat(network().parameters())
    for a, b in zip(left, right, strict=True):
        assert np.linalg.norm(a - b) <= tolerance * np.linalg.norm(b - start)
    assert len(left) == STEPS


@pytest.mark.parametrize("variant", ["hamu-q", "hamu-u"])
@pytest.mark.parametrize("split_", ["norm_product", "uniform", "softmax", "joint", "model"])
def test_hamu(variant: str, split_: Any) -> None:
    rate, blocks = 0.002, "model" if split_ == "model" else "tensor"
    rule = HAMU(
        {"hamu-q": "forget", "hamu-u": "retain"}[variant],  # type: ignore[arg-type]
        rate=rate,
        split="norm_product" if split_ == "model" else split_,
        infeasible="clip",
        blocks=blocks,  # type: ignore[arg-type]
    )

    def step(t: Vector, forget: Network, retain: Network) -> Vector:
        g_r, g_f = split(retain.gradient(t)), split(forget.gradient(t))
        if split_ == "model":
            return t + np.concatenate(hamu.whole(variant, g_r, g_f, rate * LR, LR))
        if split_ == "joint":
            return t + np.concatenate(hamu.joint(variant, g_r, g_f, rate * LR, LR)[0])
        return t + np.concatenate(hamu.layerwise(variant, g_r, g_f, rate * LR, LR, split_))

    agree(fast(rule), slow(step))


@pytest.mark.parametrize("tolerance", [-0.05, 0.0, 0.03])
def test_surgery(tolerance: float) -> None:
    def step(t: Vector, forget: Network, retain: Network) -> Vector:
        return t - LR * eupmu.surgery(-forget.gradient(t), retain.gradient(t), tolerance)[0]

    agree(fast(UnilateralSurgery(tolerance)), slow(step))


def test_implicit() -> None:
    lam = 0.0

    def step(t: Vector, forget: Network, retain: Network) -> Vector:
        nonlocal lam
        new = t - LR * (-forget.gradient(t) + lam * retain.gradient(t))
        lam = eupmu.dual(lam, retain.value(t), retain.value(new), 0.01, LR, 3.0)
        return new

    agree(fast(EUPMU(0.01, 3.0, "same_batch")), slow(step))
    assert lam > 0


@pytest.mark.parametrize(
    ("reading", "squared"), [("warm", False), ("warm", True), ("lookahead", False), ("literal", True)]
)
def test_ofmu(reading: Any, squared: bool) -> None:
    """Exact, third derivatives included; the curvature by differences follows to 1e-5."""
    rho = 0.02

    def step(t: Vector, forget: Network, retain: Network) -> Vector:
        nonlocal rho
        problem = ofmu.OFMU(forget, retain, 0.1, squared)
        (round_,) = ofmu.run(problem, t, T=2, K=1, ein=0.03, eout=LR, rho0=rho, gam=1.0, reading=reading)
        rho *= 1.5
        return round_.outer

    expected = slow(step)
    for curvature, tolerance in (("exact", 1e-9), ("finite", 1e-5)):
        rule = OFMU(
            0.1,
            2,
            0.03,
            0.02,
            1.5,
            10.0,
            similarity="squared" if squared else "cosine",
            start=reading,
            curvature=curvature,  # type: ignore[arg-type]
            one_sided=False,
            strict=True,
        )
        agree(fast(rule), expected, tolerance)
