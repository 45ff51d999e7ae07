"""What is wrong is said in one message, before a weight moves."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import unweave
from tests._toys import memorised, network, same, weights
from tests.api._problems import FEW, Stream, rng, sgd
from unweave import ConfigurationError


class Summed(unweave.Vision):
    """A task that reduces over the batch."""

    def nll(self, model: nn.Module, batch: Any) -> Tensor:
        return super().nll(model, batch).mean()


TIGHT = unweave.Contract(keep=[unweave.Keep("accuracy", absolute=0.01)], forget=())


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("method", "hamu-q", r"There is no method 'hamu-q'. Did you mean 'hamu_q'\? Known: hamu_q, hamu_u"),
        (
            "task",
            "langage",
            r"There is no task 'langage'. Did you mean 'language'\? Known: auto, regression, .*; or pass",
        ),
        (
            "step",
            "trsut",
            "step must be 'trust', a TrustRegion, or a function from parameters to an optimizer; found 'trsut'",
        ),
        ("step", lambda parameters: None, "step must be .* it returned None"),
        ("step", lambda ps: torch.optim.SGD(ps, lr=-1.0), "step: the optimizer refuses .*Invalid learning rate: -1.0"),
        ("step", lambda ps: torch.optim.Adam(ps, lr=0.1, betas=(2.0, 0.9)), "step: the optimizer refuses .*beta"),
        ("contract", unweave.Contract(), "never trained on: pass holdout=..."),
        ("contract", unweave.Contract(forget=[unweave.Forget("retrained")]), "pass retrained=..."),
        ("contract", TIGHT, r"a limit of 0.01 cannot be decided with 52 guard examples: .* needs 516 examples"),
        ("contract", 0.05, "contract must be an unweave.Contract or None; found 0.05"),
        (
            "guard",
            memorised()[2],
            r"guard: read by a contract alone, and there is none. Pass contract=unweave.Contract",
        ),
        ("parameters", "0.wieght", "No parameter is named '0.wieght'. Did you mean '0.weight'"),
        ("parameters", "haed.*", "No parameter is named 'haed.*'. Known: 0.weight, 0.bias"),
        ("parameters", [torch.nn.Parameter(torch.zeros(2))], "patterns on names, such as 'head.*'; found Parameter"),
        ("task", Summed(), r"nll must return one value per example, \[b\]; it returned \(\). Do not reduce"),
        ("seed", -1, r"seed must be an integer in \[0, 9223372036854775808\); found -1"),
        ("forget_batch", 0, "forget_batch must be at least 1, found 0"),
        ("micro", 0, "micro must be at least 1, found 0"),
        ("steps", -1, r"steps must be an integer in \[0, inf\); found -1"),
    ],
)
def test_a_wrong_argument_is_named(name: str, given: Any, message: str) -> None:
    model, forget, retain = memorised()
    before, random = weights(model), rng()
    with pytest.raises(ConfigurationError, match=message):
        unweave.unlearn(model, forget=forget, retain=retain, inplace=True, **{**FEW, name: given})
    assert same(weights(model), before) and rng().equal(random)
    assert all(p.requires_grad for p in model.parameters()) and not model.training


def empty() -> TensorDataset:
    return TensorDataset(torch.empty(0, 8), torch.empty(0, dtype=torch.long))


def relabelled(data: TensorDataset, label: int) -> TensorDataset:
    inputs, labels = data.tensors
    return TensorDataset(inputs, labels.clone().index_fill_(0, torch.tensor([4]), label))


BAD_DATA: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "empty forget": (lambda: {"forget": empty()}, "forget set must hold at least one example"),
    "empty retain": (lambda: {"retain": empty()}, "retain set must hold at least one example"),
    "empty loader": (lambda: {"forget": DataLoader(empty())}, "forget set must hold at least one example"),
    "overlap": (lambda: {"retain": memorised()[1]}, "must share no example, found 30 of 30"),
    "overlap of loaders": (
        lambda: {"forget": DataLoader(memorised()[1], shuffle=True), "retain": DataLoader(memorised()[1])},
        "must share no example, found 30 of 30",
    ),
    "label too large": (lambda: {"forget": relabelled(memorised()[1], 7)}, r"below 4 .*found 1 outside .*has 7"),
    "label negative": (lambda: {"retain": relabelled(memorised()[2], -100)}, r"below 4 .*found 1 outside .*has -100"),
    "labels of floats": (
        lambda: {"forget": TensorDataset(torch.randn(9, 8), torch.rand(9))},
        r"class indices \[b\] as labels; found \(9,\) of torch.float32",
    ),
    "no labels": (lambda: {"forget": TensorDataset(torch.randn(9, 8))}, r"batches \(inputs, labels\).* of 1 parts"),
    "no length": (lambda: {"forget": Stream()}, "a length and an index, found Stream: put it into a DataLoader"),
}  # fmt: skip


@pytest.mark.parametrize("fault", BAD_DATA)
def test_bad_data_gets_one_message(fault: str) -> None:
    model, forget, retain = memorised()
    make, message = BAD_DATA[fault]
    given = {"forget": forget, "retain": retain, **make()}
    before, random = weights(model), rng()
    batches = {"forget_batch": 30, "retain_batch": 210}  # the first step sees everything
    with pytest.raises(ConfigurationError, match=message):
        unweave.unlearn(model, inplace=True, steps=2, **batches, **given)
    assert same(weights(model), before) and rng().equal(random)


class Wrapped(nn.Module):
    def __init__(self, change: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.inner, self.change = network(), change

    def forward(self, x: Tensor) -> Any:
        return self.change(self.inner(x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda z: {"scores": z}, "forget: .*return logits, a tensor or an object with .logits; it returned dict"),
        (lambda z: z[:, 0], r"it returned \(30,\)"),
        (lambda z: z[1:], r"it returned \(29, 4\)"),
        (lambda z: z[:, :2], "labels must be at least 0 and below 2"),
    ],
)
def test_an_output_that_does_not_fit_the_labels(change: Callable[[Tensor], Any], message: str) -> None:
    _, forget, retain = memorised()
    with pytest.raises(ConfigurationError, match=message):
        unweave.unlearn(Wrapped(change), forget=forget, retain=retain, **FEW)


def test_nothing_may_move() -> None:
    model, forget, retain = memorised()
    cases = (model.requires_grad_(False), "All parameters are frozen"), (nn.Flatten(), "The model has no parameter")
    for frozen, message in cases:
        with pytest.raises(ConfigurationError, match=message):
            unweave.unlearn(frozen, forget=forget, retain=retain, **FEW)
    moved = unweave.unlearn(model, forget=forget, retain=retain, parameters="all", **FEW).model
    assert not same(weights(moved), weights(model)) and not any(p.requires_grad for p in moved.parameters())


def test_nan_in_the_data_is_refused_before_a_weight_moves() -> None:
    model, forget, retain = memorised()
    before = weights(model)
    inputs, labels = forget.tensors
    broken = TensorDataset(torch.full_like(inputs, math.nan), labels)
    for step in ("trust", sgd):
        with pytest.raises(ConfigurationError, match="forget: the inputs of 30 of 30 examples hold NaN or infinity"):
            unweave.unlearn(model, forget=broken, retain=retain, step=step, inplace=True, **FEW)
        assert same(weights(model), before)


def test_inputs_of_another_width_are_named_with_their_batch() -> None:
    model, forget, retain = memorised()
    narrow = TensorDataset(forget.tensors[0][:, :-1], forget.tensors[1])
    width = narrow.tensors[0].shape[1]
    says = rf"^forget: the model \(float32 weights\) cannot run .* \[\d+, {width}\].*mat1"
    with pytest.raises(ConfigurationError, match=says) as caught:
        unweave.unlearn(model, forget=narrow, retain=retain, **FEW)
    assert isinstance(caught.value.__cause__, RuntimeError) and "retain" not in str(caught.value)


class Named(torch.utils.data.Dataset[Any]):
    """Labels as words; the inputs of two sets with a `first` of their own have nothing in common."""

    def __init__(self, first: int) -> None:
        self.first = first

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> tuple[Tensor, str]:
        return torch.randn(4, generator=torch.Generator().manual_seed(self.first + index)), "cat"


@pytest.mark.parametrize("kind", ["words", "one-hot", "shares"])
def test_labels_of_the_wrong_kind_are_named(kind: str) -> None:
    model, x = nn.Sequential(nn.Linear(4, 3)), torch.arange(48.0).view(12, 4)
    labels = {"one-hot": torch.eye(3).repeat(4, 1), "shares": torch.rand(12)}
    sides = [Named(0), Named(99)] if kind == "words" else [TensorDataset(x + shift, labels[kind]) for shift in (0, 99)]
    before = weights(model)
    with pytest.raises(ConfigurationError, match="class indices") as caught:
        unweave.unlearn(model, forget=sides[0], retain=sides[1], contract=None, steps=2)
    assert len(caught.value.faults) == 2 and same(weights(model), before)
