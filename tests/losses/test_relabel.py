from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from unweave.data.pairs import Pair
from unweave.errors import UnsupportedError
from unweave.losses import Flattening, RandomLabels
from unweave.objectives import Objectives
from unweave.tasks import Vision


class Table(nn.Module):
    """Logits that identify the class that a loss asks for: the cross-entropy of class k is k + const."""

    def __init__(self, classes: int):
        super().__init__()
        self.logits = nn.Parameter(-torch.arange(float(classes)))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits.expand(len(x), -1)


def drawn(loss: RandomLabels, batch: tuple[Tensor, Tensor], classes: int) -> Tensor:
    """The labels that a look at the batch drew."""
    values = loss(Table(classes), batch)
    return (values - (-torch.arange(float(classes))).logsumexp(0)).round().long()


BATCH = torch.zeros(3000, 1), torch.arange(3000) % 5


@pytest.mark.parametrize("exclude_true", [False, True])
def test_labels_are_uniform_over_what_is_allowed(exclude_true: bool) -> None:
    """With 5 classes the true label comes up in 1/5 of 3000 draws (sd 22), or never; the shifts are even."""
    torch.manual_seed(0)
    labels = drawn(RandomLabels(Vision(), exclude_true), BATCH, 5)
    shifts = torch.bincount((labels - BATCH[1]) % 5, minlength=5)
    assert shifts.sum() == 3000
    allowed = shifts[int(exclude_true) :]
    assert ((allowed - 3000 / len(allowed)).abs() < 110).all()
    assert not exclude_true or shifts[0] == 0


def test_cross_entropy_by_hand() -> None:
    """Two classes with the true one excluded leave no choice: the label flips. p = (3/4, 1/4): -log 1/4."""
    model = Table(2)
    model.logits.data = torch.tensor([math.log(3), 0.0])
    found = RandomLabels(Vision(), exclude_true=True)(model, (torch.zeros(1, 1), torch.tensor([0])))
    torch.testing.assert_close(found, torch.tensor([math.log(4)]))


def test_every_look_at_a_pair_sees_the_same_labels_and_the_next_pair_others() -> None:
    seen: list[Tensor] = []
    loss = RandomLabels(Vision())

    def watched(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        values = loss(model, batch)
        seen.append(values.detach())
        return values

    model = Table(5)
    objectives = Objectives(model, (watched, None))
    state = torch.random.get_rng_state()
    for seed in (11, 12, 11):
        objectives.at(Pair([BATCH], [], seed=seed))
        objectives.losses()
        objectives.gradients()
    assert len(seen) == 6
    assert seen[0].equal(seen[1]) and seen[2].equal(seen[3]) and seen[4].equal(seen[0])
    assert not seen[0].equal(seen[2])
    assert torch.random.get_rng_state().equal(state)


def test_labels_of_a_pair_are_those_of_its_examples() -> None:
    """Divided into micro-batches, and at every look, an example has the label that its draw says."""
    classes, draws = 5, torch.randint(2**62, (3000,))
    seen: list[Tensor] = []
    loss = RandomLabels(Vision(), exclude_true=True)

    def watched(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        values = loss(model, batch)
        seen.append(values.detach())
        return values

    objectives = Objectives(Table(classes), (watched, None))
    parts = [tuple(t[:1700] for t in BATCH), tuple(t[1700:] for t in BATCH)]
    for pair in (Pair([BATCH], [], 1, ([draws], [])), Pair(parts, [], 2, ([draws[:1700], draws[1700:]], []))):
        objectives.at(pair).losses()
        objectives.gradients()
    assert [len(values) for values in seen] == [3000, 3000, 1700, 1300, 1700, 1300]
    assert seen[0].equal(seen[1]) and torch.cat(seen[2:4]).equal(seen[0]) and torch.cat(seen[4:]).equal(seen[0])
    counts = torch.bincount((seen[0] - seen[0].min()).round().long())
    assert len(counts) == classes and bool((counts > 400).all())


def test_flattening_by_hand() -> None:
    """z = (3, 0, 0): (3 - 1)^2 = 4; equal logits: 0."""
    model = Table(3)
    model.logits.data = torch.tensor([3.0, 0.0, 0.0])
    assert Flattening(Vision())(model, (torch.zeros(2, 1), torch.zeros(2).long())).tolist() == [4.0, 4.0]
    model.logits.data = torch.full((3,), 7.0)
    assert Flattening(Vision())(model, (torch.zeros(1, 1), torch.zeros(1).long())).tolist() == [0.0]


@pytest.mark.parametrize("loss", [RandomLabels, Flattening])
def test_a_task_without_logits_is_refused(loss: type) -> None:
    with pytest.raises(UnsupportedError, match="needs a task with predictions"):
        loss(object())
