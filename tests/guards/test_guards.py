"""Every guard: a case that trips it, and one nearby that does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tests.guards._problems import WIDTH, data, inputs, right, shuffled, task, twins, untrained
from unweave.data.pairs import Batch, Pair
from unweave.errors import ConfigurationError
from unweave.guards import FirstStep, Guards, check
from unweave.guards.first_step import _apart
from unweave.loop import Record, unlearn
from unweave.methods import Method
from unweave.parameters import Mask
from unweave.rules import Fixed
from unweave.rules._base import Step


def found(model: nn.Module, forget: Any, retain: Any, guards: Guards | None = None, **also: Any) -> str:
    """What the guards say: warnings, or the refusal."""
    guards = guards or Guards()
    state, modes = torch.get_rng_state(), [m.training for m in model.modules()]
    try:
        return "\n".join(check(model, task, forget, retain, guards=guards, **also))
    except ConfigurationError as error:
        return f"refused: {error}"
    finally:
        assert torch.equal(state, torch.get_rng_state()) and modes == [m.training for m in model.modules()]


def mask(*shares: bool) -> Mask:
    return Mask(
        tuple(
            torch.full_like(p, share, dtype=torch.bool) for p, share in zip(right().parameters(), shares, strict=True)
        )
    )


class Filled(nn.Module):
    """What is missing is 0."""

    def forward(self, x: Tensor) -> Tensor:
        return x.nan_to_num()


def holed(n: int, row: int) -> TensorDataset:
    """One number of one example is missing."""
    made = data(n)
    made.tensors[0][row, 0] = torch.nan
    return made


def broken(value: float) -> nn.Module:
    model = right()
    with torch.no_grad():
        model[0].weight[0, 0] = value
    return model


PIXELS, FEATURES = Guards("pixels"), Guards("features")
BEFORE: dict[str, tuple[Callable[[], str], str]] = {
    "all is well": (lambda: found(right(), data(20, 1), data()), ""),
    "a class beyond the last": (
        lambda: found(right(), data(20, 1), data(labels=lambda y: y + 1)),
        "refused: retain: labels must be at least 0 and below 4",
    ),
    "a negative label, beyond the sample": (
        lambda: found(
            right(), data(20, 1), data(3000, labels=lambda y: torch.where(torch.arange(3000) == 2999, -1, y))
        ),
        "found 1 outside (first: row 2999 has -1)",
    ),
    "both sides at once": (
        lambda: found(right(), data(20, 1, lambda y: y + 1), data(labels=lambda y: y - 1)),
        "refused: forget: labels must be",
    ),
    "labels as numbers with a point": (
        lambda: found(right(), data(20, 1), data(labels=lambda y: y.float())),
        "refused: retain: task 'classification' expects class indices",
    ),
    "NaN in the weights": (
        lambda: found(broken(torch.nan), data(20, 1), data()),
        "refused: forget: the original's loss is not finite on 20 of 20",
    ),
    "large but finite weights": (lambda: found(broken(1e3), data(20, 1), data()), ""),
    "NaN in the data, beyond the sample": (
        lambda: found(right(), data(20, 1), holed(3000, 2999), broken={"retain": [2999]}),
        "refused: retain: the inputs of 1 of 3000 examples hold NaN or infinity, and the original's loss is not finite "
        "there (first: retain[2999])",
    ),
    "NaN in the data, which the model fills in": (
        lambda: found(nn.Sequential(Filled(), *right()), data(20, 1), holed(3000, 2999), broken={"retain": [2999]}),
        "",
    ),
    "no example": (
        lambda: found(right(), data(0, 1), DataLoader(data(0))),
        "refused: forget: the forget set must hold at least one example, found 0",
    ),
    "one label only": (
        lambda: found(right(), data(20, 1), data(labels=torch.zeros_like)),
        "retain: all 80 labels that were looked at are 0",
    ),
    "two labels": (lambda: found(right(), data(20, 1), TensorDataset(*(t[:80:2] for t in inputs(160, 0)))), ""),
    "shuffled labels": (
        lambda: found(right(), data(20, 1), data(400, labels=shuffled)),
        "no better than always saying one class",
    ),
    "a third of the labels shuffled": (
        lambda: found(
            right(), data(20, 1), data(400, labels=lambda y: torch.where(torch.arange(400) % 3 == 0, shuffled(y), y))
        ),
        "",
    ),
    "a wrong checkpoint": (
        lambda: found(untrained(), data(20, 1), data(400)),
        "There is nothing to keep: check that this is the trained checkpoint",
    ),
    "a forget set that it never learnt": (
        lambda: found(right(), data(40, 1, lambda y: (y + 1) % 4), data()),
        "there is nothing to forget",
    ),
    "classes that are never predicted": (
        lambda: found(right(), TensorDataset(inputs(80, 1)[0][::4], torch.full((20,), 3)), data()),
        "It never predicts 3",
    ),
    "a forget set that it half knows": (
        lambda: found(right(), data(40, 1, lambda y: torch.where(torch.arange(40) < 20, y, (y + 1) % 4)), data()),
        "",
    ),
    "a single example that it knows": (lambda: found(right(), data(1, 1), data()), ""),
    "a whole class": (
        lambda: found(
            right(), TensorDataset(*(t[::4] for t in inputs(80, 1))), TensorDataset(*(t[1::4] for t in inputs(80, 0)))
        ),
        "retain: all 20 labels that were looked at are 1",
    ),
    "near-duplicates by pixels": (
        lambda: found(right(), *twins(5, 0.01), PIXELS),
        "near-duplicates: 5 of 12 forget examples that were compared have one of their label",
    ),
    "which": (lambda: found(right(), *twins(5, 0.01), PIXELS), "forget[4] and retain[84]"),
    "other examples by pixels": (lambda: found(right(), *twins(0, 0.0), PIXELS), ""),
    "alike, but not near": (lambda: found(right(), *twins(5, 1.0), PIXELS), ""),
    "a corrected copy": (lambda: found(right(), *twins(5, 0.01, lambda y: (y + 1) % 4), PIXELS), ""),
    "near-duplicates, not asked for": (lambda: found(right(), *twins(5, 0.01)), ""),
    "near-duplicates by features": (
        lambda: found(right(), *twins(5, 0.01), FEATURES),
        "near-duplicates: 5 of 12 forget examples",
    ),
    "other examples by features": (lambda: found(right(), *twins(0, 0.0), FEATURES), ""),
    "loaders": (
        lambda: found(right(), DataLoader(data(20, 1), 7), DataLoader(data(400, labels=shuffled), 9)),
        "retain: ",
    ),
}


def test_before_a_weight_moves() -> None:
    tripped = 0
    for name, (case, says) in BEFORE.items():
        text = case()
        assert says in text and bool(says) == bool(text), f"{name}: {text or 'nothing'}"
        tripped += bool(says)
    assert (len(BEFORE), tripped) == (29, 17)


def test_both_sides_are_refused_in_one_message() -> None:
    with pytest.raises(ConfigurationError) as caught:
        check(right(), task, data(20, 1, lambda y: y + 1), data(labels=lambda y: y - 1), guards=Guards())
    assert [fault.partition(":")[0] for fault in caught.value.faults] == ["forget", "retain"]


@pytest.mark.parametrize("wrong", [{"near_duplicates": "pixel"}, {"distance": 0.0}, {"distance": 1.5}])
def test_settings_are_checked(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        Guards(**wrong)


def first_step(
    lr: float,
    dtype: torch.dtype = torch.float32,
    weight: float = 1.0,
    mask: Mask | None = None,
    frozen: float = 0.0,
    lora: bool = False,
    constant: float = 0.0,
) -> list[str]:
    """Warnings of a run of two steps; `frozen` sets columns of the input to zero, whose weights have no gradient.

    `lora` has a last layer of zeros: the first one gets no gradient before the second step.
    """
    model, columns = right(dtype), int(frozen * WIDTH)
    sides = [data(20, 1), data()]
    for side in sides:
        side.tensors = (side.tensors[0].to(dtype), side.tensors[1])
        side.tensors[0][:, :columns] = 0
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p), alpha=0.3)
        model[1].weight.mul_(0.0 if lora else 1.0)
    first = FirstStep(model, mask)
    pair = Pair(*([tuple(side.tensors)] for side in sides))

    def ascent(model: nn.Module, batch: Batch) -> Tensor:
        return constant - weight * task.nll(model, batch)

    method = Method(ascent, task.nll, Fixed(), "a test")
    optimizer = torch.optim.SGD(model.parameters(), lr)
    unlearn(model, method, [pair] * 2, optimizer, callbacks=[first], mask=mask)
    return first.warnings


FIRST: dict[str, tuple[Callable[[], list[str]], str]] = {
    "a usual rate": (lambda: first_step(0.01), ""),
    "a rate that rounds to nothing": (lambda: first_step(1e-12), "step length: the first step left"),
    "the smallest rate that float32 follows": (lambda: first_step(1e-4), ""),
    "that rate in bfloat16": (lambda: first_step(1e-4, torch.bfloat16), "than the rounding of bfloat16"),
    "a usual rate in bfloat16": (lambda: first_step(1.0, torch.bfloat16), ""),
    "weights without a gradient": (lambda: first_step(0.01, frozen=0.9), ""),
    "a factor behind zeros": (lambda: first_step(0.1, lora=True), ""),
    "a factor behind zeros, and a rate that rounds to nothing": (lambda: first_step(1e-40, lora=True), "step length"),
    "a mask of one layer": (lambda: first_step(0.01, mask=mask(False, True)), ""),
    "a mask and a rate that rounds to nothing": (lambda: first_step(1e-12, mask=mask(False, True)), "step length"),
    "losses far apart": (lambda: first_step(1e-6, weight=1e5), "scales: at the first step the losses"),
    "losses a little apart": (lambda: first_step(1e-3, weight=10.0), ""),
}


def test_at_the_first_step() -> None:
    tripped = 0
    for name, (case, says) in FIRST.items():
        texts = case()
        assert len(texts) == bool(says) and says in "".join(texts), f"{name}: {texts}"
        tripped += bool(says)
    assert (len(FIRST), tripped) == (12, 5)


def test_gradient_norms_far_apart() -> None:
    texts = []
    for ratio in (1e8, 1e5, 0.0):  # squares of norms
        gramian = torch.diag(torch.tensor([1.0, ratio], dtype=torch.float64))[None]
        step = Step(torch.tensor([-1.0, 0.5]), torch.ones(1, 2), gramian)
        texts.append(_apart(Record(1, step, 0.1, True), lambda: pytest.fail("the Gramian says them")))
    assert [bool(text) for text in texts] == [True, False, False] and "gradient norms" in texts[0]


def test_losses_far_apart_by_a_constant_say_nothing_of_scales() -> None:
    """NPO begins at 2 ln 2 / beta whatever the model: 1386 at beta = 0.001, its gradient that of the likelihood."""
    said = []
    for losses, norms in (([1386.3, 0.5], [1.1, 0.9]), ([1386.3, 0.5], [5e4, 0.9]), ([13.9, 0.5], [0.0, 0.0])):
        record = Record(1, Step(torch.tensor(losses), torch.ones(1, 2), None), 0.1, True)
        said.append(_apart(record, lambda norms=norms: norms))
    assert [bool(text) for text in said] == [False, True, False] and "losses of forget and retain" in said[1]
    assert first_step(1e-3, constant=2e4) == [], "a constant on one side, asked of the model itself"
