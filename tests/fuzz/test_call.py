"""The one call and the other public entries, with arguments of every wrong kind: an answer, or all that is wrong."""

from __future__ import annotations

import inspect
import math
import random
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset

import unweave
from tests._toys import each_step, memorised, unseen
from tests.fuzz._cases import cases
from unweave import rules
from unweave.errors import UnweaveError
from unweave.losses import Ascent
from unweave.oneshot import OneShot
from unweave.parameters import Mask
from unweave.trust import TrustRegion

Given = dict[str, Any]
NLL = unweave.Vision().nll


class Own(Exception):
    """What a function of the caller's raises."""


def raising(*_: Any) -> Any:
    raise Own


class Unspeakable:
    """An object that cannot say what it is."""

    def __repr__(self) -> str:
        raise ValueError

    def __bool__(self) -> bool:
        raise ValueError

    def __eq__(self, other: object) -> bool:
        raise ValueError

    __hash__ = object.__hash__


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        yield from (unseen()[row] for row in range(7))


class Half:
    """A task that cannot compare two models."""

    def nll(self, model: nn.Module, batch: Any) -> Tensor:
        return NLL(model, batch)


class Broken(nn.Module):
    def __init__(self, what: Any) -> None:
        super().__init__()
        self.inner, self.what = nn.Linear(8, 4), what

    def forward(self, x: Tensor) -> Any:
        if isinstance(self.what, Exception):
            raise self.what
        return self.what


def odd() -> list[Any]:
    """Values that are right for no argument, or for few."""
    return [
        *(None, True, False, 0, 1, -1, 3, 2**63 - 1, 2**64, 10**400, 10**5000, 0.0, 0.5, -1.5, math.nan, math.inf),
        *(1j, Decimal(2), Fraction(3, 2), np.int64(2), np.float32(0.5), np.bool_(True), np.zeros(0), np.ones((3, 8))),
        *("", "trust", "vision", "hamu_q", "ssd", "all", "x" * 3000, "\0", "é", b"", b"trust", bytearray(b"ab")),
        *([], [None], [[]], [0, 1, 2], ["a"], (), (1,), {}, {"a": 1}, set(), {1, 2}, range(3), iter([1])),
        *(torch.tensor(1), torch.zeros(0), torch.randn(3, 8), torch.ones(2, dtype=torch.long), object(), object, int),
        *(len, raising, lambda: None, lambda *_: None, lambda a: a, lambda a, b: True, lambda a, b, c: 3),
        *(nn.Linear, nn.Linear(8, 4), nn.Module(), nn.Sequential(), nn.ModuleList(), nn.Parameter(torch.ones(2))),
        *(OrderedDict(nn.Linear(8, 4).state_dict()), torch.optim.SGD, torch.optim.SGD([torch.ones(1)], lr=0.1)),
        *(Path("x"), types, Unspeakable(), Unspeakable, Exception("no"), Ellipsis, NotImplemented, slice(3)),
        *(unweave.Vision, unweave.Vision(), unweave.Language(), unweave.Contract, unweave.Contract(), unweave.Guards),
        *(unweave.Guards(), unweave.Keep, unweave.Forget("unseen"), TrustRegion, TrustRegion(), rules.Fixed),
        *(rules.Fixed(), unweave.Method, unweave.METHODS, unweave.METHODS["hamu_q"], OneShot, OneShot("ssd")),
        *(Mask(()), unweave.Pair((), ()), (x for x in ())),
    ]


def sets() -> list[Any]:
    """Data of every kind, right ones among them."""
    inputs, labels = (t[:9] for t in unseen().tensors)
    few = TensorDataset(inputs, labels)
    none = TensorDataset(inputs[:0], labels[:0])
    nan = torch.full_like(inputs, math.nan)
    return [
        *(few, none, list(few), tuple(few), (inputs, labels), [inputs, labels], inputs, inputs.numpy(), {"x": inputs}),
        *(DataLoader(few, 4), DataLoader(few, None), DataLoader(none), DataLoader(Stream(), 3)),
        *(DataLoader(few, 2, True), DataLoader(few, 4, drop_last=True), DataLoader(list(few), 3, collate_fn=list)),
        *(Stream(), Dataset(), Dataset, DataLoader, ConcatDataset([few, few]), iter(few), iter(DataLoader(few))),
        *(
            Subset(few, [1, 3]),
            Subset(few, []),
            Subset(few, [99]),
            TensorDataset(inputs),
            TensorDataset(labels, inputs),
        ),
        *(TensorDataset(inputs, labels.float()), TensorDataset(inputs, labels - 9), TensorDataset(nan, labels)),
        *(TensorDataset(inputs[:, :3], labels), TensorDataset(inputs, labels, labels), "data.csv", ["abc"] * 3),
        *(TensorDataset(inputs.double(), labels), [(inputs[0], 1), inputs[0]], [(inputs[0], "a")] * 3),
        *([(inputs[0], None)] * 3, [({"x": inputs[0]}, 1)] * 3, [inputs[0]] * 3),
    ]


def special() -> dict[str, list[Any]]:
    """What is nearly right, for each argument."""
    fixed, keep = rules.Fixed(), unweave.Keep("loss", absolute=9.0)
    failing = [kind("no") for kind in (TypeError, KeyError, AttributeError, IndexError, ZeroDivisionError)]
    models = [*map(Broken, [None, 3, "x", {}, [], torch.ones(9, 3), torch.ones(3), *failing]), nn.Flatten()]
    losses = (raising, lambda m, b: 3, lambda m, b: None, lambda m, b: torch.ones(()), lambda m, b: torch.ones(99))
    methods = [*(unweave.Method(loss, NLL, fixed, "") for loss in (*losses, NLL, None)), "npo", "gru", "hamu", 3]
    stops = [
        lambda r: True,
        lambda r: 3,
        lambda r: [],
        lambda r: "enough",
        lambda r: torch.ones(2),
        lambda: "x",
        raising,
    ]
    steps = [
        lambda ps: None,
        lambda ps: 3,
        lambda ps: torch.optim.SGD(ps, lr=-1),
        lambda ps: torch.optim.SGD(ps, lr="x"),
    ]
    steps += [lambda ps: torch.optim.Adam([ps[0]], 0.1), torch.optim.SGD, raising, TrustRegion(budget=0.1), "trsut"]
    contracts = [
        *(unweave.Contract((), ()), unweave.Contract((keep,), ()), unweave.Contract(None, (unweave.Forget("unseen"),))),
        unweave.Contract((unweave.Keep(lambda m, b: torch.ones(len(b[1])), absolute=1.0, better="lower"),), ()),
        unweave.Contract((unweave.Keep(raising, absolute=1.0, better="lower"),), ()),
        unweave.Contract((unweave.Keep("loss", absolute=9.0, by=[1, 2]),), ()),
        unweave.Contract((unweave.Keep("accuracy", absolute=0.9, by="class"),), (unweave.Forget("retrained"),)),
    ]
    return {
        "model": models,
        "retrained": models,
        "method": methods,
        "task": [Half(), Half, "visoin", "language"],
        "step": steps,
        "stop": [stops, *([each] for each in stops), stops[0], "stop"],
        "callbacks": [
            [each_step(lambda r: 1)],
            [each_step(lambda r, o: 1)],
            [each_step(raising)],
            raising,
            [len],
            [None],
        ],
        "progress": [True, False, "auto", None, "yes", 1],
        "parameters": ["*", "0.*", "x.*", ["0.*", 3], [""], [["0.*"]], b"0.*", "*.bias", nn.Linear(2, 2).parameters()],
        "contract": contracts,
        "guards": [unweave.Guards("pixels"), unweave.Guards("features")],
        "accelerator": ["cpu", torch.device("cpu")],
    }


SIDES = ("forget", "retain", "holdout", "guard", "final", "probe")
NAMES = [name for name in inspect.signature(unweave.unlearn).parameters if name != "seed"] + ["seed"]


def settled(call: Callable[[], Any], what: str) -> bool:
    """Whether a call gave an answer; what the caller's own function raised is the caller's, and says where.

    Raises:
        AssertionError: it ended in anything else.
    """
    try:
        call()
        return True
    except UnweaveError as error:
        assert str(error).strip() and "object at 0x" not in str(error), what
    except Own as error:
        assert getattr(error, "__notes__", ()), f"{what}: no note says where it was raised"
    except Exception as error:
        raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
    return False


@pytest.mark.filterwarnings("ignore")
def test_the_one_call() -> None:
    drawn, ran, answers = random.Random(13), 0, 0
    for number in range(cases(100)):
        model, forget, retain = memorised()
        few = TensorDataset(*(t[:40] for t in retain.tensors))
        given: Given = {"model": model, "forget": forget, "retain": few, "steps": 1}
        given |= {"forget_batch": 9, "retain_batch": 12}
        pools = special()
        for name in drawn.sample(NAMES, drawn.choice((1, 1, 2, 3))):
            kinds = [odd(), *([sets()] * 3 if name in SIDES else []), *([pools[name]] * 3 if name in pools else [])]
            given[name] = drawn.choice(drawn.choice(kinds))
        if given["steps"] is None or (isinstance(given["steps"], int) and given["steps"] > 3):
            given["steps"] = 2
        if drawn.random() < 0.2:
            given["contract"] = unweave.Contract((unweave.Keep("loss", absolute=99.0),), ())
        answers += settled(lambda given=given: unweave.unlearn(given.pop("model"), **given), f"case {number}")  # type: ignore[misc]
        ran += 1
    assert ran == cases(100) and 0 < answers < ran


ENTRIES: dict[str, Callable[..., Any]] = {
    name: getattr(unweave, name)
    for name in ("Guards", "Language", "Method", "Objectives", "Pairs", "TrustRegion", "Vision", "diagnose")
}
ENTRIES |= {name: unweave.METHODS[name] for name in unweave.METHODS}
ENTRIES |= {name: getattr(rules, name) for name in rules.__all__ if inspect.isclass(getattr(rules, name))}
ENTRIES |= {"OneShot": OneShot, "Ascent": Ascent}


@pytest.mark.filterwarnings("ignore")
def test_every_other_entry() -> None:
    drawn, ran, answers = random.Random(14), 0, 0
    for number in range(cases(100)):
        name = drawn.choice(list(ENTRIES))
        model, forget, retain = memorised()
        good = {"model": model, "original": model, "forget": forget, "retain": retain, "task": unweave.Vision()}
        good |= {"losses": (Ascent(NLL), NLL), "batches": 1, "examples": 20, "steps": 1}
        takes = [p for p in inspect.signature(ENTRIES[name]).parameters.values() if p.kind is not p.VAR_KEYWORD]
        given = {p.name: good[p.name] for p in takes if p.name in good and (name == "diagnose" or p.default is p.empty)}
        given |= {p.name: drawn.choice(odd()) for p in takes if p.default is p.empty and p.name not in given}
        for each in drawn.sample(takes, min(len(takes), drawn.choice((1, 1, 2)))):
            given[each.name] = drawn.choice(sets() if each.name in SIDES and drawn.random() < 0.7 else odd())
        if not inspect.isabstract(ENTRIES[name]):
            answers += settled(lambda name=name, given=given: ENTRIES[name](**given), f"case {number}: {name}")  # type: ignore[misc]
            ran += 1
    assert ran > cases(100) // 2 and 0 < answers < ran
