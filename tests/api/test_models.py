"""Models of other kinds: each runs as it is, or is refused in one message; what is tied stays tied."""

from __future__ import annotations

import copy
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.utils.data import DataLoader

import unweave
from tests._toys import CLASSES, memorised, network, same, weights
from tests.api._problems import FEW, rng
from unweave.errors import ConfigurationError

KEEP = unweave.Contract(keep=[unweave.Keep("loss", absolute=5.0)], forget=())


def old(change: Callable[[nn.Module], Any]) -> Callable[[], nn.Module]:
    """The network of the tests, changed by what torch warns of, and people have."""

    def make() -> nn.Module:
        model = memorised()[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            changed = change(model)
        return changed if isinstance(changed, nn.Module) and changed is not model[2] else model

    return make


class Around(nn.Module):
    """Something around the network of the tests that has a state, or keeps what it saw."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.kept = memorised()[0], list[Tensor]()
        self.register_buffer("calls", torch.zeros(()), persistent=False)
        self.register_buffer("mask", torch.ones(1).expand(CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.kept = [self.inner(x) * self.mask]
        return self.kept[0]


class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.rest = nn.Parameter(torch.randn(8, 64, dtype=torch.complex64) / 3), network()[1:]

    def forward(self, x: Tensor) -> Tensor:
        return self.rest((x.to(self.first.dtype) @ self.first).abs())


class Looked(nn.Module):
    """Sparse embeddings of the signs of the inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.rest = nn.Embedding(16, 64, sparse=True), network()[1:]

    def forward(self, x: Tensor) -> Tensor:
        return self.rest(self.words(torch.arange(8) + 8 * (x > 0)).mean(1))


def tied(by: str) -> nn.Module:
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, CLASSES))
    model[2].weight = nn.Parameter(model[0].weight.data) if by == "memory" else model[0].weight
    return model


KINDS: dict[str, Callable[[], nn.Module]] = {
    "weight_norm": old(lambda m: nn.utils.weight_norm(m[2])),
    "spectral_norm": old(lambda m: nn.utils.spectral_norm(m[2])),
    "parametrised": old(lambda m: parametrizations.spectral_norm(m[2])),
    "pruned": old(lambda m: prune.l1_unstructured(m[2], "weight", amount=0.3)),
    "scripted": old(torch.jit.script),
    "a state": Around,
    "complex": Complex,
    "sparse": Looked,
    "tied": lambda: tied("memory"),
}


@pytest.mark.filterwarnings("ignore::unweave.GuardWarning")
@pytest.mark.parametrize("name", KINDS)
def test_it_moves_and_the_original_does_not(name: str) -> None:
    _, forget, retain = memorised()
    ran = 0
    for method, contract in (("hamu_q", None), ("kl", KEEP), ("salun", None), ("ssd", None)):
        torch.manual_seed(0)
        model = KINDS[name]()
        model(forget.tensors[0])
        before, buffers = weights(model), [b.clone() for b in model.buffers()]
        data: dict[str, Any] = {"forget": forget, "retain": retain, **FEW}
        data |= {
            "contract": contract,
            "train_mode": name in ("spectral_norm", "a state"),
            "micro": 1 + (method == "salun"),
        }
        made = unweave.unlearn(model, method=method, **data).model
        assert same(weights(model), before) and all(a.equal(b) for a, b in zip(model.buffers(), buffers, strict=True))
        assert not same(weights(made), before), method
        assert all(bool(p.isfinite().all()) for p in made.parameters())
        ran += 1
    assert ran == 4


@pytest.mark.filterwarnings("ignore::unweave.GuardWarning")
def test_a_tie_by_memory_is_a_tie_by_object() -> None:
    """In the copy and in place, whatever rule and step length: a step that counted twice would be seen."""
    _, forget, retain = memorised()
    ran = 0
    for method in ("hamu_q", "gradient_ascent", "ssd"):
        for step in ("trust", lambda ps: torch.optim.Adam(ps, lr=0.01)):
            if method == "ssd" and step != "trust":
                continue
            found = []
            for by, inplace in (("object", False), ("memory", False), ("memory", True)):
                torch.manual_seed(0)
                asked: dict[str, Any] = {"forget": forget, "retain": retain, **FEW, "step": step, "inplace": inplace}
                found.append(unweave.unlearn(tied(by), method=method, **asked).model)
            assert all(m[0].weight.equal(m[2].weight) for m in found)
            assert found[1][0].weight is not found[1][2].weight
            assert found[1][0].weight.data_ptr() == found[1][2].weight.data_ptr()
            for made in found[1:]:
                assert all(made.state_dict()[key].equal(value) for key, value in found[0].state_dict().items())
            ran += 1
    assert ran == 5


class Locked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.lock = memorised()[0], threading.Lock()

    def forward(self, x: Tensor) -> Tensor:
        with self.lock:
            return self.inner(x)


@pytest.mark.filterwarnings("ignore::unweave.GuardWarning")
def test_what_cannot_be_copied_runs_in_place_also_beside_the_original() -> None:
    _, forget, retain = memorised()
    with pytest.raises(ConfigurationError, match=r"cannot be copied: lock is lock, .* inplace=True"):
        unweave.unlearn(Locked(), forget=forget, retain=retain, **FEW)
    for method in ("hamu_q", "kl"):
        locked, plain = Locked(), memorised()[0]
        for model in (locked, plain):
            unweave.unlearn(model, forget=forget, retain=retain, method=method, inplace=True, **FEW)
        assert same(weights(locked), weights(plain)) and not same(weights(plain), weights(memorised()[0]))


REFUSED: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "lazy": (lambda: {"model": nn.Sequential(nn.LazyLinear(4))}, r"model: 0\.weight .*has no shape yet"),
    "meta": (lambda: {"model": nn.Linear(8, 4, device="meta")}, "on the meta device"),
    "quantised": (
        lambda: {"model": quantised()},
        r"no parameter that could move: its weights are quantised \(Linear\)",
    ),
    "integers": (lambda: {"model": Integers()}, r"its weights are quantised \(packed\)"),
    "one logit": (lambda: {"model": nn.Linear(8, 1)}, r"returned \(30, 1\), and one logit knows the classes 0 and 1"),
    "no axis": (lambda: {"model": nn.Sequential(nn.Linear(8, 1), nn.Flatten(0))}, r"returned \(30,\), and one logit"),
    "complex logits": (lambda: {"model": nn.Linear(8, 4, dtype=torch.complex64)}, "complex64|ComplexFloat"),
    "SparseAdam": (lambda: {"step": lambda ps: torch.optim.SparseAdam(list(ps))}, "step: SparseAdam cannot follow"),
    "LBFGS": (lambda: {"step": torch.optim.LBFGS}, "step: LBFGS cannot follow a direction"),
    "part of another": (lambda: {"model": row()}, r"parameters 2\.bias and 2\.weight share numbers"),
}  # fmt: skip


def quantised() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(8, 4)), {nn.Linear}, dtype=torch.qint8)


class Integers(nn.Module):
    packed: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("packed", torch.randint(-9, 9, (8, 4)))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.packed.to(x.dtype)


def row() -> nn.Module:
    model = memorised()[0]
    model[2].bias = nn.Parameter(model[2].weight.data[0])
    return model


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.filterwarnings("ignore::unweave.GuardWarning")
def test_what_is_refused_says_what_to_do(name: str) -> None:
    make, says = REFUSED[name]
    model, forget, retain = memorised()
    with pytest.raises(ConfigurationError, match=says):
        unweave.unlearn(**({"model": model, "forget": forget, "retain": retain, **FEW} | make()))


def sparse(rows: Any) -> tuple[Tensor, Tensor]:
    return torch.stack([x for x, _ in rows]).to_sparse(), torch.stack([y for _, y in rows])


@pytest.mark.filterwarnings("ignore::unweave.GuardWarning")
def test_sparse_batches_run_and_sparse_examples_are_refused() -> None:
    model, *sides = memorised()
    dense = [DataLoader(side, 30) for side in sides]
    loaders = [DataLoader(side, 30, collate_fn=sparse) for side in sides]
    for micro in (1, 2):
        found = [
            unweave.unlearn(copy.deepcopy(model), forget=f, retain=r, steps=2, micro=micro).model
            for f, r in (dense, loaders)
        ]
        for a, b in zip(weights(found[0]), weights(found[1]), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    guards = unweave.Guards("pixels")
    assert unweave.unlearn(model, forget=loaders[0], retain=loaders[1], guards=guards, steps=1).steps == 1
    rows = [[(x.to_sparse(), int(y)) for x, y in side] for side in sides]
    with pytest.raises(ConfigurationError, match=r"sparse .*to_dense"):
        unweave.unlearn(model, forget=rows[0], retain=rows[1], **FEW)


@pytest.mark.parametrize("name", KINDS)
def test_a_quote_leaves_no_trace(name: str) -> None:
    _, forget, retain = memorised()
    model = KINDS[name]().train()
    before, buffers, random = weights(model), [b.clone() for b in model.buffers()], rng()
    assert unweave.diagnose(model, forget, retain, unweave.Vision()).retain_loss > 0
    assert same(weights(model), before) and all(a.equal(b) for a, b in zip(model.buffers(), buffers, strict=True))
    assert model.training and rng().equal(random) and all(p.grad is None for p in model.parameters())
