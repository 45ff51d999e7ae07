"""Every argument of the call and of other entries is checked at once: what was expected, what was found, what to do."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

import unweave
from tests._toys import each_step, memorised, same, unseen, weights
from tests.api._problems import FEW, Stream
from unweave import ConfigurationError, rules
from unweave.callbacks import TensorBoard
from unweave.data.pairs import Pairs
from unweave.objectives import Objectives
from unweave.oneshot import OneShot

NLL = unweave.Vision().nll
X, Y = unseen().tensors
WRONG: dict[str, list[tuple[Any, str]]] = {
    "model": [
        (nn.Linear, r"model must be a torch.nn.Module; found the class Linear. Pass an object of it"),
        (nn.Linear(2, 2).state_dict(), r"model must be .* found OrderedDict.*load_state_dict"),
        (None, "found None"),
        (lambda x: x, "found function"),
    ],
    "forget": [
        ((X, Y), r"forget must be a torch Dataset or DataLoader; found tuple. For example: .*TensorDataset\(inputs"),
        ("data.csv", "forget must be .* found 'data.csv'"),
        ({"x": X}, "found dict"),
        ((row for row in unseen()), "found generator. A list of examples will do, too"),
        (TensorDataset, "found the class TensorDataset"),
        (Dataset(), "forget must be a data set with a length and an index; found Dataset. Put it into a DataLoader"),
    ],
    "guard": [(Y[0], "guard must be a torch Dataset")],
    "retrained": [("model.pt", "retrained must be a torch.nn.Module; found 'model.pt'")],
    "task": [(unweave.Vision, "task must be .* nll and divergence .*; found the class Classification"), (3, "found 3")],
    "method": [
        (unweave.METHODS["npo"], "method must be the name of a method or an unweave.Method; found function"),
        (unweave.Method, "found the class Method"),
        (["hamu_q"], r"found \['hamu_q'\]"),
    ],
    "step": [(unweave.TrustRegion, "step must be .* found the class TrustRegion"), (0.1, "found 0.1")],
    "contract": [(unweave.Contract, "contract must be an unweave.Contract or None; found the class Contract")],
    "stop": [
        (lambda record: None, "stop must be a list of functions of one Record; found function"),
        ([lambda: None], r"stop\[0\] must be a function of one Record"),
        ([None], r"stop\[0\] must be .* found None"),
    ],
    "callbacks": [
        (
            [each_step(print), print],
            r"callbacks\[1\] must be an object with on_step, on_reading or on_end; found .* Make the function",
        ),
        ([each_step(lambda record: None)], r"callbacks\[0\].on_step must be a function of a Record and the Objectives"),
        ([TensorBoard], r"found the class TensorBoard. Pass one of it: TensorBoard\(...\)."),
        (each_step(print), "callbacks must be a list of callbacks: each an object with on_step"),
    ],
    "progress": [("yes", "progress must be True or False or 'auto'; found 'yes'|progress must be .*found 'yes'")],
    "parameters": [(3, "parameters must be 'all' or patterns on names, .* found int"), (["a", 2], "found int")],
    "steps": [(2.5, "steps must be an integer"), (True, "found True"), ("3", "found '3'"), (10**5000, "found int")],
    "micro": [("2", r"micro must be an integer in \[1, inf\); found '2'"), (None, "found None")],
    "seed": [(None, "seed must be an integer"), (1.0, "found 1.0"), (torch.tensor(1), r"found tensor\(1\)")],
    "train_mode": [("no", "train_mode must be True or False; found 'no'"), (1, "found 1")],
    "inplace": [(None, "inplace must be True or False; found None")],
    "accelerator": [("cpu", "accelerator must be an accelerate.Accelerator or None; found 'cpu'")],
    "guards": [("pixels", "guards must be an unweave.Guards or None; found 'pixels'")],
    "probe": [(4, "probe must be a torch Dataset or DataLoader; found 4")],
}


def test_each_is_named_with_what_was_expected_and_found() -> None:
    ran = 0
    for name, cases in WRONG.items():
        for value, says in cases:
            model, forget, retain = memorised()
            with pytest.raises(ConfigurationError, match=says) as caught:
                unweave.unlearn(**{"model": model, "forget": forget, "retain": retain, **FEW, name: value})
            assert len(caught.value.faults) == 1, "and none follows from it"
            ran += 1
    assert ran and not WRONG.keys() - set(unweave.unlearn.__annotations__)


def test_all_at_once() -> None:
    """Sets that can be read are read, whatever else is wrong."""
    _, forget, _ = memorised()
    wrong: dict[str, Any] = {name: cases[0][0] for name, cases in WRONG.items()} | {"forget": forget, "retain": forget}
    with pytest.raises(ConfigurationError) as caught:
        unweave.unlearn(**wrong)
    told = "\n".join(caught.value.faults)
    assert not [name for name in WRONG.keys() - {"forget"} if f"{name} must be" not in told.replace("[1]", "")], told
    assert "must share no example, found 30 of 30" in told


def test_what_is_right_in_other_words() -> None:
    model, forget, retain = memorised()
    plain = unweave.unlearn(model, forget=forget, retain=retain, seed=3, **FEW)
    seen: list[int] = []
    other = unweave.unlearn(
        model,
        forget=list(forget),
        retain=retain,
        seed=np.int64(3),  # type: ignore[arg-type]
        callbacks=deque([each_step(lambda record, objectives: seen.append(record.number))]),
        stop={lambda record: None},  # type: ignore[arg-type]
        parameters=("*",),
        **{name: np.int32(size) for name, size in FEW.items()},  # type: ignore[arg-type]
    )
    assert same(weights(plain.model), weights(other.model)) and seen == [1, 2, 3]


def test_a_stop_that_is_true_ends_the_run_and_says_so() -> None:
    model, forget, retain = memorised()
    for answer in (True, 3, np.bool_(True), torch.tensor(1.5)):
        result = unweave.unlearn(model, forget=forget, retain=retain, stop=[lambda record, a=answer: a], **FEW)  # type: ignore[misc]
        assert result.steps == 1 and result.reason.startswith("a stop returned ")


def test_what_a_function_of_the_callers_raises_says_where() -> None:
    model, forget, retain = memorised()

    def fail(*_: object) -> Any:
        raise KeyError("mine")

    where = {"stop": (fail, "a stop"), "callbacks": (each_step(fail), "the callback each_step.on_step")}
    for name, (given, said) in where.items():
        with pytest.raises(KeyError) as caught:
            unweave.unlearn(model, forget=forget, retain=retain, **{name: [given]}, **FEW)
        assert caught.value.__notes__ == [f"raised in {said}, after step 1"]
    method = unweave.Method(fail, NLL, rules.Fixed(), "")
    with pytest.raises(KeyError) as caught:
        unweave.unlearn(model, forget=forget, retain=retain, method=method, **FEW)
    assert caught.value.__notes__ == ["raised in the forget loss"]
    with pytest.raises(ConfigurationError, match="step: the optimizer refuses its settings: KeyError 'mine'") as told:
        unweave.unlearn(model, forget=forget, retain=retain, step=fail, **FEW)
    assert isinstance(told.value.__cause__, KeyError)


ENTRIES: list[tuple[Any, str]] = [
    (lambda: unweave.Method(3, None, rules.Fixed(), ""), r"forget must be a function \(model, batch\)"),  # type: ignore[arg-type]
    (lambda: unweave.Method(lambda m: m, NLL, rules.Fixed(), ""), "forget must be a function"),  # type: ignore[arg-type, misc]
    (lambda: unweave.Method(NLL, None, rules.Fixed, ""), "rule must be a rule, .* found the class Fixed"),  # type: ignore[arg-type]
    (lambda: OneShot(["ssd"]), "no method without steps"),  # type: ignore[arg-type]
    (lambda: OneShot("ssd", 3), "arguments must be a mapping"),  # type: ignore[arg-type]
    (lambda: unweave.Guards(distance="near"), "distance must be a number"),  # type: ignore[arg-type]
    (lambda: unweave.Guards(["pixels"]), "near_duplicates must be"),  # type: ignore[arg-type]
    (lambda: unweave.Language("median"), "reduction must be"),  # type: ignore[arg-type]
    (lambda: unweave.TrustRegion(mask=3), "mask must be"),  # type: ignore[arg-type]
    (lambda: Pairs(3, unseen()), "forget must be a torch Dataset"),  # type: ignore[arg-type]
    (lambda: Pairs(unseen(), unseen(), seed=0.5, rank=9), "seed must be(.|\n)*rank must be"),  # type: ignore[arg-type]
    (lambda: Pairs(Stream(), unseen()), "found Stream: put it into a DataLoader"),
    (lambda: Objectives(nn.Linear, (NLL, None)), "found the class Linear"),  # type: ignore[arg-type]
    (lambda: Objectives(nn.Linear(2, 2), NLL), "losses must be two functions"),  # type: ignore[arg-type]
    (lambda: unweave.METHODS["graddiff"]("vision", nn.Linear(2, 2)), "task must be .*found 'vision'"),
    (lambda: unweave.METHODS["scrub"](unweave.Vision(), {}), "original must be the original model"),
    (lambda: unweave.diagnose(3, "x", [], unweave.Vision, batches="1"), r"^(.+\n){3}.+$"),  # type: ignore[arg-type]
]


def test_other_entries() -> None:
    for make, says in ENTRIES:
        with pytest.raises(ConfigurationError, match=says):
            make()
