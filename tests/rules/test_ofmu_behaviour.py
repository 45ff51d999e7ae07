"""OFMU's guards, signs, and what it does to a real network."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.rules._functions import Point, negated, objectives, quadratic
from tests.rules._ofmu import CONFIG, PROBLEMS, STARTS, functions, psi, rule, twin
from unweave.data.pairs import Pair
from unweave.errors import ConfigurationError, UnsupportedError
from unweave.losses import Ascent
from unweave.objectives import Objectives
from unweave.rules import OFMU
from unweave.rules.ofmu import _Cosine
from unweave.tasks import Vision


def test_the_similarity_gradient_does_not_change_either_length() -> None:
    """`v_f` is orthogonal to `g_f`, `v_r` to `g_r`; none at a zero gradient."""
    generator = torch.Generator().manual_seed(0)
    a, b = ([torch.randn(n, generator=generator, dtype=torch.float64) for n in (3, 5)] for _ in "ab")
    cos = _Cosine(a, b, 0.0)
    for v, own in ((cos.v_a(), a), (cos.v_b(), b)):
        assert abs(sum(float(x @ y) for x, y in zip(v, own, strict=True))) < 1e-14
    zero = _Cosine([torch.zeros_like(x) for x in a], b, 0.0)
    assert zero.value == 0.0 and not any(x.any() for x in (*zero.v_a(), *zero.v_b()))


@pytest.mark.parametrize("curvature", ["exact", "finite", "forget_only"])
@pytest.mark.parametrize("similarity", ["cosine", "squared"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_nothing_breaks_at_a_memorised_optimum(curvature: Any, similarity: Any, smoothing: float) -> None:
    """Exactly zero forget gradient: the similarity term has no direction there."""
    unit, checked = [[1.0, 0.0], [0.0, 1.0]], 0
    for at_forget, at_retain in (((0.2, -0.5), (1.0, 1.0)), ((1.0, 1.0), (0.2, -0.5)), ((0.2, -0.5), (0.2, -0.5))):
        model, seen = objectives(
            (0.2, -0.5), negated(quadratic(unit, list(at_forget))), quadratic(unit, list(at_retain))
        )
        asked = OFMU(1.0, inner_lr=0.1, curvature=curvature, similarity=similarity, smoothing=smoothing)
        step = asked.backward(seen)
        assert step.losses.isfinite().all() and model.theta.isfinite().all()
        assert seen.direction()[0].isfinite().all()
        checked += 1
    assert checked == 3


@pytest.mark.parametrize("curvature", ["exact", "finite", "forget_only"])
def test_guards_bound_both_terms(curvature: Any) -> None:
    """Near a memorised optimum both terms would be thousands of times the gradient; guarded, at most its length."""
    problem = {**PROBLEMS["Q"], "forget": {"M": [[2.0, 0.5], [0.5, 1.0]], "c": [0.2 + 1e-4, -0.5 + 3e-4]}}
    forget, retain = functions(problem)
    for strict in (False, True):
        g_f = -torch.tensor(twin(problem, 0.1).forget.gradient(np.array(STARTS["Q"])))
        term = psi(problem, STARTS["Q"], curvature=curvature, strict=strict) + g_f
        _, seen = objectives(STARTS["Q"], negated(forget), retain)
        g_r = seen.gradient(1)[1][0].clone()
        OFMU(0.1, 0, penalty=1e5, curvature=curvature, strict=strict).backward(seen)
        penalty = seen.direction()[0] - g_r
        ratios = float(term.norm() / g_f.norm()), float(penalty.norm() / g_r.norm())
        if strict:
            assert ratios[0] > 100 and ratios[1] > 2, ratios
        else:
            assert ratios == pytest.approx((1.0, 1.0), rel=1e-9)


def test_finite_curvature_is_that_of_the_unguarded_objective() -> None:
    """The guard shortens the step, not the function whose curvature is asked for."""
    found = {}
    for curvature in ("exact", "finite"):
        forget, retain = functions(PROBLEMS["L"])
        _, seen = objectives(STARTS["L"], negated(forget), retain)
        OFMU(2.0, 0, penalty=0.01, curvature=curvature, one_sided=False).backward(seen)  # type: ignore[arg-type]
        found[curvature] = seen.direction()[0].tolist()
    g_f = torch.tensor(twin(PROBLEMS["L"], 2.0).forget.gradient(np.array(STARTS["L"])))
    assert float((psi(PROBLEMS["L"], STARTS["L"], similarity_weight=2.0) - g_f).norm()) > float(g_f.norm())
    assert found["finite"] == pytest.approx(found["exact"], rel=1e-6)


def test_guards_that_do_not_bind_change_nothing() -> None:
    assert psi(PROBLEMS["Q"], STARTS["Q"], strict=False).equal(psi(PROBLEMS["Q"], STARTS["Q"]))


def test_the_cosine_changes_its_sign_with_the_loss() -> None:
    """`Ascent(L_f)` and a loss that is negative by itself give the same steps; the similarity term is that of L_f."""
    forget, retain = functions(PROBLEMS["L"])
    forget_loss = lambda m, batch: forget(m()).expand(len(batch))  # noqa: E731
    retain_loss = lambda m, batch: retain(m()).expand(len(batch))  # noqa: E731
    ends = []
    for loss in (Ascent(forget_loss), lambda m, batch: -forget_loss(m, batch)):
        model = Point(STARTS["L"])
        seen = Objectives(model, (loss, retain_loss)).at(Pair([torch.zeros(1)], [torch.zeros(1)]))
        rule(CONFIG).backward(seen)
        ends.append((model.theta.tolist(), seen.direction()[0].tolist()))
    assert ends[0] == ends[1]
    problem, t = twin(PROBLEMS["L"], 5.0), np.array(STARTS["L"])
    p = psi(PROBLEMS["L"], STARTS["L"], similarity_weight=5.0).numpy()
    h = 1e-4
    assert problem.similarity(t + h * p) < problem.similarity(t - h * p)  # raised: L_f; lowered: cos(g_f, g_r)
    assert problem.phi(t + h * p) > problem.phi(t - h * p)


def test_the_similarity_term_does_not_see_the_scale_of_a_loss() -> None:
    forget, retain = functions(PROBLEMS["L"])
    terms = []
    for s_f, s_r in ((1.0, 1.0), (7.0, 1.0), (1.0, 7.0)):
        ends = []
        for beta in (0.1, 0.0):
            model, seen = objectives(STARTS["L"], lambda t, s=s_f: -s * forget(t), lambda t, s=s_r: s * retain(t))
            OFMU(beta, 1, 1.0, 0.0, curvature="exact", strict=True).backward(seen)
            ends.append(model.theta.detach().clone())
        terms.append((ends[0] - ends[1]).tolist())
    assert terms[1] == pytest.approx(terms[0], rel=1e-9) and terms[2] == pytest.approx(terms[0], rel=1e-9)


def test_without_similarity_and_penalty_a_round_is_one_ascent_and_one_descent() -> None:
    forget, retain = functions(PROBLEMS["L"])
    model, seen = objectives(STARTS["L"], negated(forget), retain)
    problem, theta = twin(PROBLEMS["L"], 0.0), np.array(STARTS["L"])
    asked = OFMU(0.0, inner_steps=1, inner_lr=0.3, penalty=0.0)
    for _ in range(3):
        asked.backward(seen)
        seen.move(seen.direction(), -0.7)
        theta = theta + 0.3 * problem.forget.gradient(theta)
        theta = theta - 0.7 * problem.retain.gradient(theta)
    assert model.theta.tolist() == pytest.approx(theta.tolist(), rel=1e-13)


def test_the_inner_rate_follows_the_optimizer() -> None:
    forget, retain = functions(PROBLEMS["Q"])
    ends = []
    for asked, lr in ((OFMU(inner_steps=4), 0.2), (OFMU(inner_steps=4, inner_lr=0.05), None)):
        model, seen = objectives(STARTS["Q"], negated(forget), retain)
        seen.lr = lr
        asked.backward(seen)
        ends.append(model.theta.tolist())
    assert ends[0] == ends[1]
    _, seen = objectives(STARTS["Q"], negated(forget), retain)
    with pytest.raises(ConfigurationError, match="inner_lr"):
        OFMU().backward(seen)
    with pytest.raises(ConfigurationError, match="inner_steps"):
        OFMU(inner_steps=-1)


class Path:
    """Objectives that remember how far each move went."""

    def __init__(self, seen: Objectives) -> None:
        self.seen, self.lengths = seen, []

    def move(self, direction: list[Tensor], scale: float) -> None:
        self.lengths.append(abs(scale) * float(torch.cat([d.flatten() for d in direction]).norm()))
        self.seen.move(direction, scale)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.seen, name)


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("radius", [1e-3, 0.1, 1.0])
def test_the_inner_loop_is_as_long_as_the_radius(steps: int, radius: float) -> None:
    """Each step a T-th part, however steep the forget loss becomes; the outer step is as long per unit of gradient."""
    forget, retain = functions(PROBLEMS["Q"])
    _, seen = objectives(STARTS["Q"], negated(forget), retain)
    seen.radius, seen.lr = radius, 0.0
    path = Path(seen)
    step = OFMU(0.0, steps).backward(path)  # type: ignore[arg-type]
    assert path.lengths == pytest.approx([radius / steps] * steps, rel=1e-9)
    assert step.lr is not None and 0 < step.lr <= radius / (0.9 * 2.05)  # |grad L_f| starts at 2.057 and grows


def network(dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Objectives]:
    torch.manual_seed(3)
    layers = [nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, 3)]
    model = nn.Sequential(*layers).to(dtype)
    nll = Vision().nll
    batches = [[(torch.randn(n, 4, dtype=dtype), torch.arange(n) % 3)] for n in (12, 20)]
    return model, Objectives(model, (Ascent(nll), nll)).at(Pair(*batches, seed=5))


@pytest.mark.parametrize("start", ["warm", "lookahead", "literal"])
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_and_dropout(start: Any, training: bool) -> None:
    """Every look of a round sees the same masks, so differences agree with double backward; statistics move once."""
    ends = {}
    for curvature in ("exact", "finite"):
        model, seen = network()
        model.train(training)
        state = torch.random.get_rng_state()
        penalty = 0.0 if training else 0.05  # third derivatives: below
        asked = OFMU(0.1, 3, 0.05, penalty, curvature=curvature, start=start, one_sided=False)  # type: ignore[arg-type]
        asked.backward(seen)
        assert torch.random.get_rng_state().equal(state)
        assert int(model[1].num_batches_tracked) == 2 * training and model.training == training
        ends[curvature] = torch.cat([x.flatten() for x in (*seen.snapshot(), *seen.direction())])
        assert ends[curvature].isfinite().all()
    torch.testing.assert_close(ends["finite"], ends["exact"], rtol=1e-5, atol=1e-7)


def fused(x: Tensor, layer: nn.Module) -> float:
    """Relative error of the third derivative along a line, against a difference of second ones."""
    u, v, p = torch.randn(3, *x.shape, dtype=torch.float64)

    def second(x: Tensor) -> Tensor:
        x = x.requires_grad_()
        (g,) = torch.autograd.grad((layer(x).tanh() * v).sum(), x, create_graph=True)
        return (torch.autograd.grad((g * u).sum(), x, create_graph=True)[0] * v).sum()

    (third,) = torch.autograd.grad(second(x), x)
    found, h = float((third * p).sum()), 1e-5
    expected = float((second((x + h * p).detach()) - second((x - h * p).detach())).detach()) / (2 * h)
    return abs(found - expected) / abs(expected)


def test_layers_whose_third_derivatives_are_wrong_are_refused() -> None:
    """Silently wrong in PyTorch: should a release mend one, this test says so and the refusal can go."""
    nll = Vision().nll
    x, y = torch.randn(6, 4, dtype=torch.float64), torch.arange(6) % 3
    for layer, wrong in (
        (nn.BatchNorm1d(4), True),
        (nn.BatchNorm1d(4, track_running_stats=False).eval(), True),
        (nn.LayerNorm(4), True),
        (nn.BatchNorm1d(4).eval(), False),
        (nn.GroupNorm(1, 4), False),
    ):
        layer = layer.double()
        assert (fused(x.clone(), layer) > 1e-3) == wrong, layer
        model = nn.Sequential(layer, nn.Linear(4, 3).double())
        seen = Objectives(model, (Ascent(nll), nll)).at(Pair([(x, y)], [(x, y)]))
        if wrong:
            with pytest.raises(UnsupportedError, match="finite"):
                OFMU(inner_lr=0.1, curvature="exact").backward(seen)
        else:
            OFMU(inner_lr=0.1, curvature="exact").backward(seen)
        OFMU(inner_lr=0.1, curvature="forget_only").backward(seen)
        OFMU(inner_lr=0.1, curvature="finite").backward(seen)


def test_float32_differences_follow_float64() -> None:
    """A default rule on a small network: one round, directions within a per mille."""
    found = []
    for dtype in (torch.float32, torch.float64):
        _, seen = network(dtype)
        seen.restore([p.to(dtype) for p in network(torch.float32)[1].parameters])
        seen.at(Pair(*[[(x.to(dtype), y) for x, y in side] for side in _sides()], seed=5))
        seen.model.eval()
        OFMU(inner_lr=0.05).backward(seen)
        found.append(torch.cat([x.flatten().double() for x in seen.direction()]))
    assert float((found[0] - found[1]).norm() / found[1].norm()) < 1e-3


def _sides() -> list[Any]:
    generator = torch.Generator().manual_seed(1)
    return [[(torch.randn(n, 4, generator=generator), torch.arange(n) % 3)] for n in (12, 20)]


def test_the_penalty_is_state() -> None:
    forget, retain = functions(PROBLEMS["Q"])
    _, seen = objectives(STARTS["Q"], negated(forget), retain)
    asked = OFMU(inner_lr=0.01, penalty=0.3, penalty_growth=2.0, penalty_max=1.0)
    rhos = []
    for _ in range(3):
        asked.backward(seen)
        rhos.append(asked.rho)
    assert rhos == pytest.approx([0.6, 1.0, 1.0])
    again = OFMU(inner_lr=0.01, penalty=0.3, penalty_growth=2.0, penalty_max=1.0)
    again.load_state_dict(json.loads(json.dumps(asked.state_dict())))
    assert again.rho == 1.0 and not math.isnan(OFMU().rho)
