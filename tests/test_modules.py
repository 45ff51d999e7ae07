"""Copies, memory that parameters share, and looks that leave no trace, over layers of many kinds."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from unweave.errors import ConfigurationError
from unweave.modules import Buffers, check, check_memory, copied, evaluating, joined, still


class Tied(nn.Module):
    """Two linear layers and a buffer over one memory; `how` makes the second weight of the first."""

    def __init__(self, how: Callable[[Tensor], Tensor] = lambda t: t) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)
        self.b.weight = nn.Parameter(how(self.a.weight.data))
        self.register_buffer("row", self.a.weight.data[2])
        self.alias = self.a.weight.data

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).tanh())


class Odd(nn.Module):
    """Keeps something of each pass, whatever the mode: a count, a quantile, a table that grows, a first sight."""

    count: Tensor
    table: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.length = nn.Linear(6, 6), 1
        self.register_buffer("count", torch.zeros((), dtype=torch.long))
        self.register_buffer("quantile", torch.ones(6), persistent=False)
        self.register_buffer("table", torch.zeros(1), persistent=False)
        self.register_buffer("first", None)
        self.register_buffer("mask", torch.ones(1).expand(6))
        self.quantile: Tensor
        self.first: Tensor | None

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        with torch.no_grad():
            self.quantile.lerp_(x.abs().quantile(0.9, 0).to(self.quantile), 0.1)
            if len(x) > self.length:
                self.length, self.table = len(x), torch.arange(float(len(x)))
            if self.first is None:
                self.first = x.mean(0)
        assert len(self.table) == self.length, "the table and its length belong together"
        return self.linear(x) * self.mask / self.quantile


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "BatchNorm": lambda: nn.BatchNorm1d(6),
    "BatchNorm, cumulative": lambda: nn.BatchNorm1d(6, momentum=None),
    "spectral_norm": lambda: nn.utils.spectral_norm(nn.Linear(6, 6)),
    "parametrised spectral_norm": lambda: parametrizations.spectral_norm(nn.Linear(6, 6)),
    "InstanceNorm": lambda: nn.Sequential(
        nn.Unflatten(1, (2, 3)), nn.InstanceNorm1d(2, affine=True, track_running_stats=True), nn.Flatten()
    ),
    "own": Odd,
}


def state(model: nn.Module) -> dict[str, Tensor | None]:
    """All buffers with their values, the ones that are not saved too."""
    found = {}
    for name, module in model.named_modules():
        found |= {f"{name}.{key}": None if b is None else b.clone() for key, b in module._buffers.items()}
    return found


def same(a: dict[str, Tensor | None], b: dict[str, Tensor | None]) -> bool:
    alike = [x is y if x is None or y is None else torch.equal(x, y) for x, y in ((a[k], b[k]) for k in a)]
    return a.keys() == b.keys() and all(alike)


@pytest.mark.parametrize("name", LAYERS)
def test_a_look_leaves_every_buffer(name: str) -> None:
    model, x = nn.Sequential(LAYERS[name](), nn.Linear(6, 2)).double(), torch.randn(9, 6).double()
    model.train()(x[:4])
    before, objects = state(model), list(model.buffers())
    with still(model):
        model(3 * x).sum().backward()
        moved = not same(state(model), before)
    assert moved and same(state(model), before)
    assert all(a is b for a, b in zip(model.buffers(), objects, strict=True))
    with evaluating(model), torch.no_grad():
        assert not model.training
        model(3 * x)
    assert model.training and same(state(model), before)
    model(x)  # and goes on


def test_a_scripted_layer_too() -> None:
    model = old(lambda: torch.jit.script(nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6))))
    before = state(model)
    with still(model):
        model(torch.randn(9, 6))
        assert not same(state(model), before)
    assert same(state(model), before)


def test_buffers_that_no_pass_can_write_into_are_left_alone() -> None:
    model = Odd()
    kept = Buffers(model)
    kept.restore()
    assert model.mask.tolist() == [1.0] * 6


class Keeps(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.seen = nn.Linear(6, 2), dict[str, Any]()

    def forward(self, x: Tensor) -> Tensor:
        self.seen["last"] = [self.linear(x)]
        return self.seen["last"][0]


def pruned() -> nn.Module:
    layer = nn.Linear(6, 2)
    prune.random_unstructured(layer, "weight", amount=0.5)
    return layer


def old(make: Callable[[], nn.Module]) -> nn.Module:
    """What torch warns of, and people have."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make()


COPIES: dict[str, Callable[[], nn.Module]] = {
    **LAYERS,
    "weight_norm": lambda: old(lambda: nn.utils.weight_norm(nn.Linear(6, 2))),
    "parametrised weight_norm": lambda: parametrizations.weight_norm(nn.Linear(6, 2)),
    "pruned": pruned,
    "a kept activation, nested": Keeps,
    "scripted": lambda: old(lambda: torch.jit.script(nn.Sequential(nn.Linear(6, 6), nn.ReLU()))),
    "tied": Tied,
    "lstm": lambda: nn.LSTM(6, 3),
}


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_computes_the_same_and_shares_nothing(name: str) -> None:
    model, x = COPIES[name](), torch.randn(9, 6)
    model(x)
    model.eval()
    next(model.parameters()).requires_grad_(False)
    made = copied(model)
    assert type(made) is type(model) and not made.training
    pairs = list(zip(made.named_parameters(), model.named_parameters(), strict=True))
    assert pairs and all(a == b and p.equal(q) and p.is_leaf for (a, p), (b, q) in pairs)
    assert [p.requires_grad for (_, p), _ in pairs] == [False, *[True] * (len(pairs) - 1)]
    with still(model), still(made):
        outputs = [m(x)[0] for m in (model, made)]
        assert outputs[0].equal(outputs[1])
        outputs[1].sum().backward()
    assert all(q.grad is None for _, (_, q) in pairs) and any(p.grad is not None for (_, p), _ in pairs)
    with torch.no_grad():
        for (_, p), _ in pairs:
            p.add_(1.0)
    assert model(x)[0].equal(outputs[0])


HOWS: dict[str, Callable[[Tensor], Tensor]] = {
    "whole": lambda t: t,
    "transposed": lambda t: t.T,
    "one row": lambda t: t[3:4],
    "columns": lambda t: t[:, ::2],
}


@pytest.mark.parametrize("how", HOWS)
def test_what_is_one_memory_is_one_memory_in_the_copy(how: str) -> None:
    made = copied(Tied(HOWS[how]))
    with torch.no_grad():
        made.a.weight.mul_(-2.0)
    assert made.b.weight.equal(HOWS[how](made.a.weight))
    assert made.row.equal(made.a.weight[2]) and made.alias.equal(made.a.weight)


class Locked(nn.Linear):
    def __init__(self) -> None:
        super().__init__(2, 2)
        self.lock = threading.Lock()


class Itself(nn.Linear):
    def __deepcopy__(self, memo: dict[int, Any]) -> Itself:
        return self


@pytest.mark.parametrize(
    ("part", "says"), [(Locked, "1.lock is lock"), (lambda: Itself(2, 2), "shares weights with it")]
)
def test_what_cannot_be_copied_is_named(part: Callable[[], nn.Module], says: str) -> None:
    with pytest.raises(ConfigurationError, match=f"cannot be copied: .*{says}.* inplace=True"):
        copied(nn.Sequential(nn.Linear(2, 2), part()))


def test_parameters_that_are_one_memory_are_one_inside() -> None:
    model, lstm = Tied(), nn.LSTM(4, 4, num_layers=2)
    lstm.weight_ih_l1 = nn.Parameter(lstm.weight_ih_l0.data)
    for net, twin in ((model, "b.weight"), (lstm, "weight_ih_l1")):
        before, count = net.get_parameter(twin), len(list(net.parameters()))
        with pytest.raises(ConfigurationError, match=f"and {twin} share numbers in memory"):
            check_memory(net)
        with joined(net):
            check_memory(net)
            assert len(list(net.parameters())) == count - 1
            net(torch.randn(3, 6 if net is model else 4))[0].sum().backward()
        assert net.get_parameter(twin) is before and before.grad is None
    frozen = Tied()
    frozen.a.weight.requires_grad_(False)
    with joined(frozen):  # what may move may move under both names
        assert frozen.a.weight is frozen.b.weight and frozen.a.weight.requires_grad


@pytest.mark.parametrize("how", ["transposed", "one row", "columns"])
def test_a_part_of_another_parameter_is_refused_unless_both_are_frozen(how: str) -> None:
    model = Tied(HOWS[how])
    with joined(model), pytest.raises(ConfigurationError, match=r"a\.weight and b\.weight|b\.weight and a\.weight"):
        check_memory(model)
    check_memory(model.requires_grad_(False))


def test_parameters_side_by_side_in_one_memory_are_none_of_another() -> None:
    """Slices of a flat vector, and interleaved columns of a matrix."""
    flat, wide = torch.randn(30), torch.randn(4, 9)
    views = [*flat.split(10), wide[:, :3], wide[:, 3:5], wide[:, 5::2], wide[:, 6::2]]
    model = nn.ParameterList(nn.Parameter(view) for view in views)
    check_memory(model)
    with joined(model):
        assert len(list(model.parameters())) == len(views)
    assert all(a.equal(b) for a, b in zip(copied(model), model, strict=True))


def inference() -> nn.Module:
    with torch.inference_mode():
        return nn.Linear(2, 2)


BAD: dict[str, tuple[Callable[[], object], str]] = {
    "lazy": (
        lambda: nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d()),
        r"0.weight \(and 5 more\) has no shape yet",
    ),
    "lazy buffer": (lambda: nn.LazyBatchNorm1d(affine=False), r"running_mean \(and 1 more\) has no shape yet"),
    "meta": (lambda: nn.Linear(2, 2, device="meta"), "on the meta device"),
    "inference": (inference, "inference_mode"),
    "sparse": (lambda: nn.ParameterList([nn.Parameter(torch.eye(3).to_sparse())]), "0 is sparse"),
    "expanded": (lambda: nn.ParameterList([nn.Parameter(torch.ones(1).expand(3))]), "one number for several"),
    "no module": (lambda: print, "must be a torch.nn.Module; found builtin"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_model_without_weights_to_move_is_refused(name: str) -> None:
    make, says = BAD[name]
    with pytest.raises(ConfigurationError, match=says):
        check(make())
    check(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
