"""How a pass is run: with which accelerator, what ranks add, and what is left gathered."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from tests.objectives._problems import RAGGED, SIDES, WEIGHTS, Counting, assert_close, joint, network, pair
from unweave.data.pairs import Pair
from unweave.errors import UnsupportedError
from unweave.gramian import combine, gramian
from unweave.objectives import FORGET, RETAIN, Objectives


class Accelerator(SimpleNamespace):
    """What one is asked for; counts the backward passes."""

    def __init__(self, **other: Any) -> None:
        settings = {"scaler": None, "mixed_precision": "no", "gradient_accumulation_steps": 1} | other
        super().__init__(distributed_type=SimpleNamespace(value="MULTI_CPU"), **settings)
        self.passes = 0

    def prepare(self, *parts: object) -> None: ...

    def backward(self, loss: Tensor) -> None:
        self.passes += 1
        loss.backward()


def test_an_accelerator_takes_every_backward_pass() -> None:
    accelerator, model = Accelerator(), network()
    objectives = Objectives(model, SIDES, accelerator).at(RAGGED[3])
    for ask, passes in (
        (lambda: objectives.gradients(), 6),
        (lambda: objectives.backward(WEIGHTS), 6),
        (lambda: objectives.at(pair(retain=(1, 10))).backward(lambda losses: WEIGHTS), 3),
        (lambda: objectives.losses(), 0),
    ):
        accelerator.passes = 0
        ask()
        assert accelerator.passes == passes
    objectives.backward(WEIGHTS)
    assert_close(objectives.direction(), joint(model, 0.3, 2.0))


def test_an_accelerator_that_would_spoil_gradients_is_refused_at_once() -> None:
    with pytest.raises(UnsupportedError, match="fp16 scales gradients"):
        Objectives(network(), SIDES, Accelerator(mixed_precision="fp16"))


def test_two_ranks_with_the_same_examples_answer_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every sum over ranks is twice a rank's own, and the mean that DDP takes of their gradients is a rank's own."""
    objectives = Objectives(network(), SIDES).at(pair(retain=(1, 10)))
    ones = [torch.ones_like(p) for p in objectives.parameters]

    def answers() -> list[Tensor]:
        losses, (forget, retain) = objectives.gradients()
        objectives.backward(WEIGHTS)
        known = objectives.direction()
        objectives.backward(lambda losses: WEIGHTS)
        found = [losses, objectives.losses(), *forget, *retain, *known, *objectives.direction()]
        return [*found, *objectives.contract(FORGET, ones), *objectives.contract(RETAIN, ones)]

    alone = answers()
    monkeypatch.setattr("unweave.execution.world", lambda: 2)
    monkeypatch.setattr("unweave.objectives.world", lambda: 2)
    monkeypatch.setattr(dist, "all_reduce", lambda tensor: tensor.mul_(2))
    assert_close(answers(), alone)


class Gathered(Counting):
    """Like an FSDP2 root: after a pass it stays gathered until it is sharded again; counts how often it is."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__(inner)
        self.times, self.gathered = 0, True

    def forward(self, x: Tensor) -> Tensor:
        self.gathered = True
        return super().forward(x)

    def reshard(self) -> None:
        self.times, self.gathered = self.times + 1, False


def test_a_look_leaves_no_gathered_copy_and_a_graph_keeps_it_for_its_backward() -> None:
    model = Gathered(network())
    objectives = Objectives(model, SIDES).at(RAGGED[2])
    assert not model.gathered
    objectives.losses()
    assert not model.gathered
    times = model.times
    objectives.gradients()
    assert model.gathered and model.times == times


CONJUGATED: dict[str, Callable[[Tensor], Tensor]] = {
    "a product": lambda z: (torch.ones(4, 3, dtype=z.dtype) @ z.conj()).abs().sum(),
    "a power": lambda z: (z.conj() ** 2).real.sum(),
}


@pytest.mark.parametrize("name", CONJUGATED)
def test_gradients_that_torch_conjugates_lazily_are_combined_in_their_own_memory(name: str) -> None:
    """Real and imaginary part of such a tensor are a copy, and what is written there would be lost."""
    model = nn.Module()
    model.z = nn.Parameter(torch.tensor([[1 + 2j, 3 - 1j], [0.5j, 2], [1, 1 - 1j]], dtype=torch.complex128))
    (one,) = torch.autograd.grad(CONJUGATED[name](model.z), model.z)
    assert one.is_conj()
    loss = lambda model, batch: batch * CONJUGATED[name](model.z)  # noqa: E731
    objectives = Objectives(model, (loss, loss)).at(Pair([torch.tensor([3.0])], [torch.ones(2)]))
    _, gradients = objectives.gradients()
    assert_close([*gradients[FORGET], *gradients[RETAIN]], [3 * one, one])
    gram = gramian(gradients, [0])
    square = float(one.abs().square().sum())
    assert_close([gram], [square * torch.tensor([[[9.0, 3.0], [3.0, 1.0]]], dtype=torch.float64)])
    assert_close(combine(gradients, WEIGHTS[None], gram, [0]), [2.9 * one])
