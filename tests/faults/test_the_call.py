"""Each fault of a user x the one call x methods: one message, and the model and the random states are as they were."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import unweave
from tests._toys import memorised, network
from unweave.errors import UnweaveError

METHODS = ("hamu_q", "salun", "ssd", "scrub", "ofmu")
SIDES = ("forget", "retain")
Given = dict[str, Any]


class Wrapped(nn.Module):
    """A network whose output is something else."""

    def __init__(self, inner: nn.Module, change: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.inner, self.change = inner, change

    def forward(self, x: Tensor) -> Any:
        return self.change(self.inner(x))


class Items(Dataset[Any]):
    """A data set of the user's own, each of whose examples is made when it is asked for."""

    def __init__(self, data: TensorDataset, change: Callable[[Tensor, Tensor], Any]) -> None:
        self.data, self.change = data, change

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, row: int) -> Any:
        return self.change(*self.data[row])


def given() -> Given:
    model, forget, retain = memorised()
    model[0].train()  # modes and requires_grad differ, so that one that was not put back is seen
    model[0].bias.requires_grad_(False)
    return {"model": model, "forget": forget, "retain": retain}


def both(change: Callable[[Tensor, Tensor], Any]) -> Given:
    _, forget, retain = memorised()
    return {"forget": Items(forget, change), "retain": Items(retain, change)}


def changed(side: str, row: int, label: int | None = None, value: float | None = None) -> Given:
    """One label or one number of one example is another."""
    inputs, labels = (t.clone() for t in given()[side].tensors)
    if label is not None:
        labels[row] = label
    if value is not None:
        inputs[row, 0] = value
    return {side: TensorDataset(inputs, labels)}


def nothing() -> TensorDataset:
    return TensorDataset(torch.empty(0, 8), torch.empty(0, dtype=torch.long))


def dictionaries(examples: Any) -> dict[str, Tensor]:
    return {"x": torch.stack([x for x, _ in examples]), "y": torch.stack([y for _, y in examples])}


def long(row: int) -> Given:
    """More retain examples than the guards look at, one of them broken."""
    inputs, labels = (torch.cat([t] * 4) for t in memorised()[2].tensors)
    inputs = inputs + torch.arange(len(inputs))[:, None] * 1e-6
    inputs[row, 0] = math.nan
    return {"retain": TensorDataset(inputs, labels)}


def alone() -> Given:
    return {"model": network(nn.BatchNorm1d(64)), "train_mode": True, "forget_batch": 1}


CALLS: dict[str, tuple[Callable[[], Given], tuple[str, ...]]] = {
    "empty forget set": (lambda: {"forget": nothing()}, ("the forget set must hold at least one example, found 0",)),
    "both sets empty": (lambda: {"forget": nothing(), "retain": nothing()}, ("the forget set", "the retain set")),
    "empty loader": (lambda: {"forget": DataLoader(nothing())}, ("the forget set must hold at least one example",)),
    "overlap": (lambda: {"retain": memorised()[1]}, ("must share no example, found 30 of 30",)),
    "label too large": (lambda: changed("forget", 4, label=7), ("forget: labels must be", "below 4", "row 4 has 7")),
    "labels of both sides": (
        lambda: changed("forget", 4, label=7) | changed("retain", 9, label=-1),
        ("forget: labels must be", "row 4 has 7", "retain: labels must be", "row 9 has -1"),
    ),
    "an unknown class, and frozen": (
        lambda: changed("forget", 4, label=7) | {"model": network().requires_grad_(False)},
        ("All parameters are frozen", "forget: labels must be"),
    ),
    "too few outputs": (lambda: {"model": Wrapped(network(), lambda z: z[:, :2])}, ("below 2", "load the model that")),
    "a dict as output": (lambda: {"model": Wrapped(network(), lambda z: {"z": z})}, ("logits", "it returned dict")),
    "a tuple as output": (lambda: {"model": Wrapped(network(), lambda z: (z, z))}, ("logits", "it returned tuple")),
    "one output": (
        lambda: {"model": Wrapped(network(), lambda z: z[:, 0])},
        ("it returned (30,)", "task='regression'"),
    ),
    "frozen": (lambda: {"model": network().requires_grad_(False)}, ("All parameters are frozen", "requires_grad_(")),
    "NaN in an example": (lambda: changed("forget", 3, value=math.nan), ("forget: the inputs of 1 of 30", "forget[3]")),
    "infinity in an example": (lambda: changed("retain", 3, value=math.inf), ("retain: the inputs of 1 of 210",)),
    "NaN beyond the sample": (lambda: long(800), ("retain: the inputs of 1 of 840", "retain[800]")),
    "NaN in the weights": (
        lambda: {"model": Wrapped(network(), lambda z: z * math.nan)},
        ("the original's loss is not finite on 30 of 30", "on 210 of 210"),
    ),
    "inputs of another width": (lambda: {"forget": TensorDataset(torch.ones(9, 7), torch.arange(9) % 4)}, ("[9, 7]",)),
    "float64": (lambda: both(lambda x, y: (x.double(), y)), ("float32 weights", "float64", "the type that it was")),
    "uint8": (lambda: both(lambda x, y: ((20 * x + 90).byte(), y)), ("float32 weights", "uint8")),
    "a model of half precision": (lambda: {"model": network().half()}, ("float16 weights", "float32")),
    "labels in a column": (lambda: both(lambda x, y: (x, y[None].float())), ("class indices [b]", ".flatten().long()")),
    "one-hot labels": (lambda: both(lambda x, y: (x, torch.eye(4)[y])), ("class indices [b]", "labels.argmax(1)")),
    "examples as dicts": (
        lambda: {"forget": DataLoader(memorised()[1], 10, collate_fn=dictionaries)},
        ("forget: task 'classification' reads batches (inputs, labels)", "the keys x, y", "collate_fn"),
    ),
    "examples of several sizes": (lambda: both(lambda x, y: (x[: 1 + y], y)), ("of one shape", "collate_fn")),
    "pictures": (lambda: both(lambda x, y: (object(), y)), ("must be tensors, arrays or numbers", "ToTensor")),
    "BatchNorm of one example": (alone, ("forget: BatchNorm in training mode", "forget_batch", "train_mode=False")),
    "no module": (lambda: {"model": print}, ("must be a torch.nn.Module; found builtin_function",)),
    "all arguments": (
        lambda: {"task": "visoin", "steps": -1, "forget": nothing()},
        ("no task 'visoin'", "steps must be", "the forget set must hold"),
    ),
    "a contract without its sets": (
        lambda: {"contract": unweave.Contract(forget=[unweave.Forget("unseen"), unweave.Forget("retrained")])},
        ("pass holdout=", "pass retrained="),
    ),
    "a limit that is too sharp": (
        lambda: {"contract": unweave.Contract(keep=[unweave.Keep("accuracy", absolute=0.01)], forget=())},
        ("a limit of 0.01 cannot be decided with 52 guard examples",),
    ),
}  # fmt: skip


def state(model: object) -> list[Any]:
    """What must be as it was: weights and buffers, modes, what may move, and all random states."""
    drawn = [torch.random.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()]  # type: ignore[index]
    if not isinstance(model, nn.Module):
        return drawn
    tensors = [(name, value.dtype, value.tolist()) for name, value in model.state_dict().items()]
    return [*drawn, tensors, [m.training for m in model.modules()], [p.requires_grad for p in model.parameters()]]


@pytest.mark.parametrize("fault", CALLS)
def test_the_one_call(fault: str) -> None:
    make, says = CALLS[fault]
    ran = 0
    for method, inplace in zip(METHODS, itertools.cycle((True, False)), strict=False):
        asked = {"steps": 2, "forget_batch": 15, "retain_batch": 70, **given(), **make()}
        before, model = state(asked["model"]), asked.pop("model")
        with pytest.raises(UnweaveError) as caught:
            unweave.unlearn(model, method=method, inplace=inplace, **asked)
        assert not [words for words in says if words not in str(caught.value)], f"{method}: {caught.value}"
        assert str(state(model)) == str(before), f"{method}: something of the model or a random state is another"
        ran += 1
    assert ran == len(METHODS)


@pytest.mark.filterwarnings("ignore::unweave.GuardWarning")
def test_what_works() -> None:
    """Neither needs a word: numpy, integer labels, lists, one example a batch as it is evaluated, double, half."""
    double = {
        s: TensorDataset(*(t.double() if t.is_floating_point() else t for t in given()[s].tensors)) for s in SIDES
    }
    half = {s: TensorDataset(*(t.half() if t.is_floating_point() else t for t in given()[s].tensors)) for s in SIDES}
    cases: list[Given] = [
        both(lambda x, y: (x.numpy(), int(y))),
        {s: list(given()[s]) for s in SIDES},
        {"model": network(nn.BatchNorm1d(64)), "forget_batch": 1, "retain_batch": 1},
        double | {"model": memorised()[0].double()},
        half | {"model": memorised()[0].half()},
    ]
    ran = 0
    for case, method in itertools.product(cases, METHODS):
        asked = {"steps": 2, "forget_batch": 15, "retain_batch": 70, **given(), **case}
        ran += unweave.unlearn(asked.pop("model"), method=method, **asked).steps > 0
    assert ran == len(cases) * len(METHODS)
