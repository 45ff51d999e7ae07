"""Both objectives at a pair: exact accumulation, one randomness per pair, nothing that moves on an extra look."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn

from unweave.data.pairs import Pair
from unweave.errors import ConfigurationError
from unweave.losses import Ascent
from unweave.objectives import FORGET, RETAIN, Objectives
from unweave.rules import EUPMU, GRU, HAMU, OFMU, PDU, Alternating, Fixed, NGDiff, PCGrad, Rule, UnilateralSurgery
from unweave.rules.eupmu_compat import EUPMUCompat
from unweave.tasks import Vision

nll = Vision().nll
SIDES = (Ascent(nll), nll)


def batch(size: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(size, 5, dtype=torch.float64, generator=generator)
    return x, torch.randint(3, (size,), generator=generator)


WHOLE_FORGET, WHOLE_RETAIN = batch(7, 1), batch(11, 2)


def cut(whole: tuple[Tensor, Tensor], sizes: Sequence[int]) -> list[tuple[Tensor, ...]]:
    return list(zip(*(part.split(list(sizes)) for part in whole), strict=True))


def pair(forget: Sequence[int] = (7,), retain: Sequence[int] = (11,), seed: int = 3) -> Pair:
    return Pair(cut(WHOLE_FORGET, forget), cut(WHOLE_RETAIN, retain), seed)


WEIGHTS = torch.tensor([0.3, 2.0], dtype=torch.float64)
RAGGED = {1: pair(), 2: pair((4, 3), (1, 10)), 3: pair((1, 4, 2), (6, 2, 3))}


def network(*extra: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 6), *extra, nn.Tanh(), nn.Linear(6, 3)).double()


def joint(model: nn.Module, forget: float, retain: float) -> list[Tensor]:
    """The gradient of `w_f L_u + w_r L_r`, written down."""
    loss = forget * SIDES[0](model, WHOLE_FORGET).mean() + retain * SIDES[1](model, WHOLE_RETAIN).mean()
    return list(torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad]))


def assert_close(found: Sequence[Tensor], expected: Sequence[Tensor], tolerance: float = 1e-12) -> None:
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


class Counting(nn.Module):
    """Counts the forward passes, and those of them that build a graph."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.forwards, self.graphs = inner, 0, 0

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += 1
        self.graphs += torch.is_grad_enabled()
        return self.inner(x)


RULES: dict[str, Callable[[], Rule]] = {
    "fixed": lambda: Fixed(0.7, 1.3),  # the weights are a tensor
    "alternating": Alternating,
    "pdu": lambda: PDU(epsilon=0.1),
    "eupmu": lambda: EUPMU(0.0, 5.0, estimator="same_batch"),  # a function of the retain loss
    "eupmu_next": lambda: EUPMU(0.0, 5.0),
    "eupmu_log": lambda: EUPMUCompat(log="both"),  # a function of both losses
    "hamu_q": lambda: HAMU("forget", ratio=0.5),
    "hamu_u": lambda: HAMU("retain", ratio=0.5, blocks="layer"),
    "surgery": lambda: UnilateralSurgery(0.1, blocks="tensor"),
    "pcgrad": PCGrad,
    "gru": GRU,
    "ngdiff": NGDiff,
    "ofmu_exact": lambda: OFMU(inner_lr=0.05, curvature="exact"),
    "ofmu_finite": lambda: OFMU(inner_lr=0.05, curvature="finite"),
    "ofmu_forget_only": lambda: OFMU(inner_lr=0.05, curvature="forget_only", one_sided=True),
}


def descend(model: nn.Module, rule: Rule, seen: Pair, steps: int = 4, lr: float = 0.1) -> list[Tensor]:
    """A few plain steps; everything that came out: losses, weights, state and parameters."""
    objectives, trace = Objectives(model, SIDES), []
    objectives.lr = lr
    for _ in range(steps):
        step = rule.backward(objectives.at(seen))
        objectives.move(objectives.direction(), -lr)
        rule.observe(objectives)
        trace += [step.losses, step.weights]
    state = [torch.tensor(float(v)) for v in rule.state_dict().values() if isinstance(v, (int, float))]
    return [*trace, *state, *(p.detach() for p in objectives.parameters)]


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("micro", [2, 3])
def test_ragged_micro_batches_are_one_batch(name: str, micro: int) -> None:
    tolerance = {"ofmu_finite": 1e-7, "ofmu_forget_only": 1e-7}.get(name, 1e-12)  # differences amplify rounding
    one, several = (descend(network(), RULES[name](), RAGGED[n]) for n in (1, micro))
    assert_close(several, one, tolerance)
    assert not one[-1].equal(network()[-1].bias)


def test_backward_is_the_gradient_of_the_weighted_sum() -> None:
    model = network()
    count = 0
    for micro in RAGGED.values():
        for weights in (WEIGHTS, lambda losses: WEIGHTS):
            for needs_forget in (True, False):
                objectives = Objectives(model, SIDES).at(micro)
                losses, used = objectives.backward(weights, needs_forget)
                assert_close(objectives.direction(), joint(model, 0.3, 2.0))
                assert_close(
                    [losses], [torch.stack([SIDES[0](model, WHOLE_FORGET).mean(), nll(model, WHOLE_RETAIN).mean()])]
                )
                assert used.tolist() == [0.3, 2.0]
                count += 1
    assert count == 12


def test_backward_starts_from_an_empty_grad() -> None:
    objectives = Objectives(network(), SIDES).at(pair())
    for p in objectives.parameters:
        p.grad = torch.full_like(p, 9.0)
    objectives.backward(torch.tensor([1.0, 1.0]))
    assert_close(objectives.direction(), joint(objectives.model, 1.0, 1.0))


def test_weights_see_the_losses_and_cost_no_forward_of_their_own() -> None:
    model = Counting(network())
    objectives = Objectives(model, SIDES).at(pair())
    given: list[Tensor] = []

    def weights(losses: Tensor) -> Tensor:
        given.append(losses)
        return torch.stack([torch.ones_like(losses[RETAIN]), losses[RETAIN]])

    losses, _ = objectives.backward(weights)
    assert (model.forwards, model.graphs) == (2, 2)
    assert_close(given, [losses])
    assert_close(objectives.direction(), joint(model.inner, 1.0, float(losses[RETAIN])))
    objectives.at(RAGGED[3]).backward(weights, needs_forget=False)
    assert (model.forwards, model.graphs) == (8, 8)
    assert given[1][FORGET].isnan()
    objectives.at(RAGGED[3]).backward(weights)  # here three looks at the forget loss come before
    assert (model.forwards, model.graphs) == (17, 14)


@pytest.mark.parametrize(("name", "forwards"), [("pcgrad", 2), ("fixed", 2), ("eupmu_next", 2), ("eupmu", 4)])
def test_forwards_of_a_step(name: str, forwards: int) -> None:
    """next_batch needs no look back; same_batch looks at both sides once more."""
    model = Counting(network())
    descend(model, RULES[name](), pair(), steps=3)
    assert model.forwards == 3 * forwards


def test_a_second_look_sees_the_same_dropout_masks() -> None:
    model = network(nn.Dropout(0.5)).train()
    objectives = Objectives(model, SIDES).at(RAGGED[2])
    state = torch.random.get_rng_state()
    first = objectives.losses()
    assert first.equal(objectives.losses())
    assert_close([objectives.gradients()[0], objectives.backward(torch.ones(2))[0]], [first, first])
    assert torch.random.get_rng_state().equal(state)
    assert not first.equal(objectives.at(pair((4, 3), (1, 10), seed=4)).losses())
    assert first.equal(objectives.at(RAGGED[2]).losses())


def test_sides_and_micro_batches_have_masks_of_their_own() -> None:
    x = torch.ones(4, 5, dtype=torch.float64)
    same = (x, torch.zeros(4, dtype=torch.long))
    model = network(nn.Dropout(0.5)).train()
    seen: list[Tensor] = []
    model[1].register_forward_hook(lambda module, args, output: seen.append(output))
    Objectives(model, (nll, nll)).at(Pair([same, same], [same, same])).losses()
    assert len(seen) == 4
    assert all(not a.equal(b) for i, a in enumerate(seen) for b in seen[:i])


@pytest.mark.parametrize("norm", [nn.BatchNorm1d(6), nn.BatchNorm1d(6, momentum=None)])
def test_batchnorm_statistics_move_once_per_pair_and_side(norm: nn.Module) -> None:
    model = network(norm).train()
    twin = copy.deepcopy(model)
    objectives = Objectives(model, SIDES)
    count = 0
    for seen in (RAGGED[1], pair((4, 3), (6, 2, 3))):
        objectives.at(seen)
        for _ in range(2):  # extra looks, with and without a graph
            objectives.losses()
            objectives.gradients()
            objectives.backward(torch.ones(2))
            objectives.hvp(RETAIN, [torch.ones_like(p) for p in objectives.parameters])
            objectives.contract(FORGET, [torch.ones_like(p) for p in objectives.parameters])
        for b in (*seen.forget, *seen.retain):  # what training would do
            twin(b[0])
        for key, value in twin.state_dict().items():
            torch.testing.assert_close(model.state_dict()[key], value, rtol=1e-12, atol=1e-12)
            count += 1
    assert count == 18
    assert int(model[1].num_batches_tracked) == 7
    assert model[1].track_running_stats


@pytest.mark.parametrize("training", [True, False])
def test_instancenorm_keeps_its_statistics_and_its_mode(training: bool) -> None:
    """With running statistics it normalises with them in eval mode, and must go on doing so on an extra look."""

    class Rows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.InstanceNorm1d(1, track_running_stats=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(x[:, None])[:, 0]

    model = network(Rows()).train(training)
    model[1].norm.running_var.fill_(4.0)
    before = copy.deepcopy(model.state_dict())
    objectives = Objectives(model, SIDES).at(pair())
    looked = objectives.losses()
    assert all(value.equal(before[key]) for key, value in model.state_dict().items())
    assert_close([looked], [objectives.gradients()[0]])
    assert training != all(value.equal(before[key]) for key, value in model.state_dict().items())


def test_a_discarded_pair_leaves_no_statistics() -> None:
    model = network(nn.BatchNorm1d(6)).train()
    before = copy.deepcopy(model.state_dict())
    x, y = batch(4, 0)
    x[1] = torch.nan
    objectives = Objectives(model, SIDES).at(Pair([(x, y)], [batch(4, 1)]))
    assert objectives.backward(torch.ones(2))[0].isnan().tolist() == [True, False]
    assert model[1].running_mean.isnan().all()
    objectives.discard()
    assert all(value.equal(before[key]) for key, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_hvp_is_the_double_backward() -> None:
    model = network()
    objectives = Objectives(model, SIDES).at(RAGGED[2])
    vector = [torch.randn_like(p) for p in objectives.parameters]
    before = objectives.snapshot()
    for side, whole in ((FORGET, WHOLE_FORGET), (RETAIN, WHOLE_RETAIN)):
        loss = SIDES[side](model, whole).mean()
        first = torch.autograd.grad(loss, objectives.parameters, create_graph=True)
        inner = sum((g * v).sum() for g, v in zip(first, vector, strict=True))
        expected = torch.autograd.grad(inner, objectives.parameters)
        assert_close(objectives.contract(side, vector), expected)
        assert_close(objectives.hvp(side, vector), expected, 1e-8)
        _, gradient = objectives.gradient(side)
        kept = [g.clone() for g in gradient]
        assert_close(objectives.hvp(side, vector, gradient), expected, 1e-5)
        assert all(a.equal(b) for a, b in zip(gradient, kept, strict=True))
        assert all(a.equal(b) for a, b in zip(objectives.parameters, before, strict=True))
        tiny = [v * 1e-9 for v in vector]  # the step is relative to the vector
        assert_close([h * 1e9 for h in objectives.hvp(side, tiny)], expected, 1e-7)
    zeros = objectives.hvp(RETAIN, [torch.zeros_like(p) for p in objectives.parameters])
    assert all(not z.any() for z in zeros)


def test_hvp_in_float32_sees_the_same_dropout_masks() -> None:
    """With fresh masks the two ends of the difference would differ by far more than the curvature."""
    model = network(nn.Dropout(0.1)).float().train()
    seen = Pair([(x.float(), y) for x, y in RAGGED[2].forget], [(x.float(), y) for x, y in RAGGED[2].retain], 5)
    objectives = Objectives(model, SIDES).at(seen)
    vector = [torch.randn_like(p) for p in objectives.parameters]
    exact, finite = objectives.contract(RETAIN, vector), objectives.hvp(RETAIN, vector)
    error = sum((a - b).square().sum() for a, b in zip(exact, finite, strict=True)).sqrt()
    assert error < 1e-2 * sum(a.square().sum() for a in exact).sqrt()


def test_contract_with_two_vectors_is_the_third_derivative() -> None:
    """L = sum x^3 a / 3: H v = 2 x a v, and its derivative along w in turn 2 a v w."""

    class Cubic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.x = nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))

    model, a = Cubic(), torch.tensor([[3.0, 5.0], [1.0, 1.0]], dtype=torch.float64)
    objectives = Objectives(model, (None, lambda m, b: (m.x**3 * b).sum(-1) / 3)).at(Pair([], [a[:1], a[1:]]))
    v, w = torch.tensor([1.0, 2.0]).double(), torch.tensor([-1.0, 0.5]).double()
    assert_close(objectives.contract(RETAIN, [v]), [2 * model.x.detach() * a.mean(0) * v])
    assert_close(objectives.contract(RETAIN, [v], [w]), [2 * a.mean(0) * v * w])
    assert_close(objectives.contract(RETAIN, [v], [w], [v]), [torch.zeros(2).double()])
    assert_close(objectives.contract(FORGET, [v]), [torch.zeros(2).double()])


class Odd(nn.Module):
    """A tied, a frozen and an unused parameter, and one that only one side uses."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.out = nn.Linear(5, 5), nn.Linear(5, 5)
        self.out.weight = self.inner.weight
        self.frozen, self.unused = nn.Linear(5, 3), nn.Linear(2, 2)
        self.frozen.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.frozen(self.out(self.inner(x).tanh()))


@pytest.mark.parametrize("name", RULES)
def test_tied_frozen_and_unused_parameters(name: str) -> None:
    model = Odd().double()
    fixed = [p.detach().clone() for p in (*model.frozen.parameters(), *model.unused.parameters())]
    before = model.inner.weight.detach().clone()
    trace = descend(model, RULES[name](), RAGGED[2])
    assert all(t.isfinite().all() for t in trace)
    after = [*model.frozen.parameters(), *model.unused.parameters()]
    assert all(a.equal(b) for a, b in zip(after, fixed, strict=True))
    assert model.out.weight is model.inner.weight and not model.inner.weight.equal(before)


def test_a_tied_parameter_counts_once_and_a_frozen_one_not_at_all() -> None:
    model = Odd().double()
    objectives = Objectives(model, SIDES).at(pair())
    assert objectives.names == ["inner.weight", "inner.bias", "out.bias", "unused.weight", "unused.bias"]
    _, (forget, _) = objectives.gradients()
    loss = SIDES[FORGET](model, WHOLE_FORGET).mean()
    assert_close(forget, torch.autograd.grad(loss, objectives.parameters, materialize_grads=True))
    assert all(p.grad is None for p in model.parameters())


def test_a_side_without_a_loss_is_the_constant_zero() -> None:
    count = 0
    for side in (FORGET, RETAIN):
        sides = tuple(None if s == side else loss for s, loss in enumerate(SIDES))
        objectives = Objectives(network(), sides).at(RAGGED[2])
        losses, gradients = objectives.gradients()
        assert losses[side] == 0 == objectives.losses()[side] and losses[1 - side] != 0
        assert all(not g.any() for g in gradients[side]) and any(g.any() for g in gradients[1 - side])
        for weights in (torch.ones(2), lambda losses: torch.ones(2)):
            objectives.backward(weights)
            assert_close(objectives.direction(), gradients[1 - side])
            count += 1
    assert count == 4


def test_a_side_of_weight_zero_is_looked_at_without_a_graph() -> None:
    model = Counting(network())
    losses, _ = Objectives(model, SIDES).at(pair()).backward(torch.tensor([0.0, 1.0]))
    assert (model.forwards, model.graphs) == (2, 1)
    assert losses.isfinite().all()


@pytest.mark.parametrize("wrong", [lambda m, b: nll(m, b).mean(), lambda m, b: nll(m, b)[:, None]])
def test_a_loss_that_is_not_per_example_is_refused(wrong: Callable[..., Tensor]) -> None:
    with pytest.raises(ConfigurationError, match=r"one value per example, \[b\]; the retain loss returned"):
        Objectives(network(), (Ascent(nll), wrong)).at(pair()).losses()


def test_a_loss_with_too_few_values_is_refused_where_it_would_be_weighted_wrongly() -> None:
    objectives = Objectives(network(), (None, lambda m, b: nll(m, b)[:1])).at(RAGGED[3])
    with pytest.raises(ConfigurationError, match="6 examples gave 1"):
        objectives.gradients()


def test_what_cannot_be_unlearned_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="all are frozen"):
        Objectives(network().requires_grad_(False), SIDES)
    with pytest.raises(ConfigurationError, match="Neither a forget nor a retain loss"):
        Objectives(network(), (None, None))
    with pytest.raises(ConfigurationError, match="no retain micro-batch"):
        Objectives(network(), SIDES).at(Pair([batch(2, 0)], [])).losses()


def test_the_probe_is_the_retain_loss_on_examples_of_its_own() -> None:
    model = network()
    objectives = Objectives(model, SIDES, probe=[batch(4, 8), batch(3, 9)]).at(pair())
    expected = torch.cat([nll(model, batch(4, 8)), nll(model, batch(3, 9))]).mean()
    assert objectives.probe_loss() == pytest.approx(float(expected.detach()), rel=1e-12)
    with pytest.raises(ConfigurationError, match="probe="):
        Objectives(model, SIDES).probe_loss()


def test_move_and_restore() -> None:
    objectives = Objectives(network(), SIDES)
    before = objectives.snapshot()
    direction = [torch.randn_like(p) for p in before]
    objectives.move(direction, -0.1)
    assert_close(objectives.parameters, [p - 0.1 * d for p, d in zip(before, direction, strict=True)])
    objectives.restore(before)
    assert all(a.equal(b) for a, b in zip(objectives.parameters, before, strict=True))
