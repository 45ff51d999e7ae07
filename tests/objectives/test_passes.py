"""How a pass is run: through which module, with which accelerator, when ranks wait for each other and what they add."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tests.objectives._problems import RAGGED, SIDES, WEIGHTS, Counting, assert_close, joint, network, nll, pair
from unweave.data.pairs import Pair
from unweave.errors import UnsupportedError
from unweave.gramian import combine, gramian
from unweave.objectives import FORGET, RETAIN, Objectives


class Accelerator(SimpleNamespace):
    """What one is asked for; notes the backward passes, and whether they wait for the other ranks."""

    def __init__(self, **other: Any) -> None:
        settings = {"scaler": None, "mixed_precision": "no", "gradient_accumulation_steps": 1} | other
        super().__init__(distributed_type=SimpleNamespace(value="MULTI_CPU"), **settings)
        self.passes, self.waits = list[tuple[object, bool]](), True

    def prepare(self, *parts: object) -> None: ...

    def backward(self, loss: Tensor) -> None:
        self.passes.append((self.model, self.waits))
        loss.backward()

    @contextmanager
    def no_sync(self, model: nn.Module) -> Iterator[None]:
        self.model, self.waits = model, False
        yield
        self.model, self.waits = None, True


def test_an_accelerator_takes_every_backward_pass_and_ranks_wait_in_the_last() -> None:
    accelerator, model = Accelerator(model=None), network()
    objectives = Objectives(model, SIDES, accelerator).at(RAGGED[3])
    once = [(model, False), (model, False), (None, True)]
    for ask, passes in (
        (lambda: objectives.gradients(), 2 * once),
        (lambda: objectives.backward(WEIGHTS), 2 * once),
        (lambda: objectives.at(pair(retain=(1, 10))).backward(lambda losses: WEIGHTS), [*once[1:], once[2]]),
        (lambda: objectives.losses(), []),
    ):
        accelerator.passes.clear()
        ask()
        assert accelerator.passes == passes
    objectives.backward(WEIGHTS)
    assert_close(objectives.direction(), joint(model, 0.3, 2.0))


def test_an_accelerator_that_would_spoil_gradients_is_refused_at_once() -> None:
    with pytest.raises(UnsupportedError, match="fp16 scales gradients"):
        Objectives(network(), SIDES, Accelerator(mixed_precision="fp16"))


@pytest.fixture
def lone() -> Iterator[None]:
    """A group of one process."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("lone")
def test_only_a_first_derivative_goes_through_ddp_which_waits_in_the_last_backward() -> None:
    """Its forward expects a backward pass that comes to all parameters' hooks: looks and `autograd.grad` do not."""
    inner = network()
    model = DistributedDataParallel(inner)
    seen: list[nn.Module] = []
    waits: list[bool] = []

    def loss(of: nn.Module, batch: Any) -> Tensor:
        seen.append(of)
        waits.append(model.require_backward_grad_sync)
        return nll(of, batch)

    objectives = Objectives(model, (SIDES[FORGET], loss)).at(RAGGED[3])
    ones = [torch.ones_like(p) for p in objectives.parameters]
    for ask, through in (
        (lambda: objectives.loss(RETAIN), inner),
        (lambda: objectives.gradient(RETAIN), model),
        (lambda: objectives.contract(RETAIN, ones), inner),
    ):
        seen.clear()
        waits.clear()
        ask()
        assert all(each is through for each in seen) and len(seen) == 3
        assert through is inner or waits == [False, False, True]
    assert_close(objectives.gradient(RETAIN)[1], joint(inner, 0.0, 1.0))


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


@pytest.mark.parametrize("view", [True, False, None])
def test_a_gradient_is_copied_only_where_the_next_backward_would_write_over_it(view: bool | None) -> None:
    model = network()
    if view is not None:
        model.gradient_as_bucket_view = view
    places: list[int] = []
    for p in model.parameters():
        p.register_post_accumulate_grad_hook(lambda p: places.append(p.grad.data_ptr()))
    _, gradient = Objectives(model, SIDES).at(pair()).gradient(RETAIN)
    assert [g.data_ptr() in places for g in gradient] == [not view] * 4
    assert_close(gradient, joint(model, 0.0, 1.0))


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
