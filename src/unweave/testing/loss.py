"""What every loss promises: one value for each example, of that example alone, and no trace."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from unweave.arguments import callable_with, check, task, wrong
from unweave.data.batches import count, divided
from unweave.data.pairs import Batch, Pair
from unweave.errors import ConfigurationError, UnweaveError
from unweave.execution import reseeded
from unweave.losses._base import Loss
from unweave.objectives import FORGET
from unweave.tasks import Task
from unweave.testing.violation import Checked, alike

RTOL = 1e-4  # float32, in batches of other sizes
SIZE = 6
_FUNCTION = "a function (model, batch) -> [b]"


class _Tokens(nn.Module):
    """The next token's logits, of this token alone."""

    def __init__(self) -> None:
        super().__init__()
        self.row, self.head = nn.Embedding(8, 12), nn.Linear(12, 8)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.head(self.row(input_ids).tanh())


class _Denoiser(nn.Module):
    """A prediction of a 2x2 picture, of its condition and its noise."""

    def __init__(self) -> None:
        super().__init__()
        self.row, self.net = nn.Embedding(16, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor, timestep: Tensor, class_labels: Tensor) -> Tensor:
        inside = x.flatten(1) + self.row(class_labels) + timestep[:, None].to(x) / 10
        return self.net(inside.tanh()).view_as(x)


def _made() -> Iterator[tuple[nn.Module, Batch]]:
    """A model and a batch for each kind of task, those that are told apart by their form first."""
    x, number = torch.randn(SIZE, 5), torch.arange(SIZE)
    ids, lengths = torch.randint(1, 8, (SIZE, 6)), 4 + number % 3
    mask = (torch.arange(6) < lengths[:, None]).long()
    labels = torch.where((mask == 1) & (torch.arange(6) > 1), ids, -100)
    yield _Tokens(), {"input_ids": ids * mask, "attention_mask": mask, "labels": labels, "index": number}
    yield _Denoiser(), {"x0": torch.randn(SIZE, 1, 2, 2), "condition": number % 3}
    net: Callable[[int], nn.Module] = lambda outputs: nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, outputs))  # noqa: E731
    yield net(3), (x, number % 3)
    yield net(4), (x, (torch.rand(SIZE, 4) > 0.5).long())
    yield nn.Sequential(net(12), nn.Unflatten(1, (3, 2, 2))), (x, torch.randint(0, 3, (SIZE, 2, 2)))
    yield nn.Sequential(net(1), nn.Flatten(0)), (x, x.sum(1))


def problem(task: Task) -> tuple[nn.Module, Batch]:
    """A small model of the kind that a task is about, and a batch of six examples, the same at every call.

    A loss that looks at the original model is given this one: `problem(task)[0]`.

    Raises:
        ConfigurationError: it is a task of another kind.
    """
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        for model, batch in _made():
            try:
                values = task.nll(model, batch)
            except (UnweaveError, LookupError, TypeError, ValueError, RuntimeError, AttributeError):
                continue
            if values.shape == (SIZE,):
                return model.eval(), batch
    raise ConfigurationError(
        f"the kit has no model for {type(task).__name__}: give one of yours and a batch of several examples, "
        "model=..., batch=..."
    )


def check_loss(
    loss: Loss,
    task: Task,
    *,
    model: nn.Module | None = None,
    batch: Batch | None = None,
    golden: Sequence[tuple[nn.Module, Batch, Sequence[float]]] = (),
    seed: int = 0,
) -> Checked:
    """Checks a loss against what all losses promise.

    It is looked at with weights a little off those of the model, as a run does, so that a loss about the original model
    is not at its minimum. What it draws at random it must draw with `unweave.execution.draws`, for each example.

    Args:
        loss: `(model, batch) -> [b]`, minimised.
        task: what the model does; `problem(task)` is the model and batch where none are given.
        model: another model, in the mode that it is to be looked at in.
        batch: another batch, of two examples or more.
        golden: `(model, batch, values)` worked out by hand.
        seed: of the weights and of what is drawn.

    Returns:
        How many cases of each property held, by its name in `PROPERTIES`.

    Raises:
        Violation: the first property that does not hold; an AssertionError.
        ConfigurationError: no function, no task, or a model without a batch.
    """
    check(_RULES, {"loss": loss, "task": task})
    if (model is None) != (batch is None):
        raise ConfigurationError("a model needs a batch, and a batch a model: give both, or neither")
    if model is None:
        model, batch = problem(task)
    found, given = Checked(seed), model
    before = kept(given)
    model = _moved(given, seed)
    now, held = kept(model), copy.deepcopy(batch)
    size = count(batch)
    draws = torch.randint(2**62, (size,), generator=torch.Generator().manual_seed(seed))

    whole = _look(found, loss, model, batch, draws)
    where = f"a batch of {size}"
    _one_each(found, whole, size, where)
    bad = (~whole.isfinite()).nonzero().flatten().tolist()
    found.holds("finite", not bad, where, "finite values", f"{whole.tolist()}", f"look at examples {bad}")
    same = alike(now, kept(model)) and alike(before, kept(given))
    advice = "a loss reads: no train(), no eval() that is not undone, no in-place write, no .backward()"
    found.holds("no trace", same, where, "the model and the original as they were", "another", advice)
    found.holds("no trace", alike(held, batch), where, "the batch as it was", "another", "work on a copy of the batch")
    again = _look(found, loss, model, batch, draws)
    advice = "draw with unweave.execution.draws(count), one number for each example, or with torch from a fixed seed"
    found.holds("repeatable", torch.equal(whole, again), "a second look", str(whole.tolist()), again.tolist(), advice)
    other = _look(found, loss, model, batch, draws, seed=1)
    ok = torch.equal(whole, other)
    found.holds("draws", ok, "another pair's seed", str(whole.tolist()), other.tolist(), advice)

    atol = RTOL * float(whole.abs().max())
    for row, part in enumerate(divided(batch, size)):
        alone = _look(found, loss, model, part, draws[row : row + 1])
        case = f"example {row} alone"
        _one_each(found, alone, 1, case)
        ok = abs(float(alone[0] - whole[row])) <= atol
        advice = "no mean, softmax, rank or negative over the batch: use a fixed bank, or make the pair the example"
        found.holds("uncoupled", ok, case, f"{float(whole[row]):.6g}, as in the batch", float(alone[0]), advice)
    _gradient(found, loss, model, batch, draws, where)
    for model, batch, expected in golden:
        values = _look(found, loss, model, batch, draws[: count(batch)])
        near = torch.allclose(values, values.new_tensor(list(expected)), rtol=1e-5, atol=1e-7)
        advice = "the value by hand and the formula in code are not the same"
        found.holds("golden", near, f"a batch of {len(values)}", str(list(expected)), values.tolist(), advice)
    return found


_RULES = {
    "loss": lambda name, given: "" if callable_with(given, 2) else wrong(name, _FUNCTION, given),
    "task": task,
}


def _look(
    found: Checked, loss: Loss, model: nn.Module, batch: Batch, draws: Tensor, seed: int = 0, graph: bool = False
) -> Tensor:
    """The losses, as `Objectives` asks for them."""
    pair = Pair([batch], [], found.seed + seed, ([draws], []))
    try:
        with reseeded(pair, FORGET, 0), torch.set_grad_enabled(True):
            values = loss(model, batch)
    except Exception as error:
        found.stopped("per example", f"a batch of {count(batch)}", error, "a loss takes batches of every size")
    return values if graph or not isinstance(values, Tensor) else values.detach()


def _one_each(found: Checked, values: Any, size: int, case: str) -> None:
    said = f"{values.dtype} {list(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
    ok = isinstance(values, Tensor) and values.shape == (size,) and values.is_floating_point()
    found.holds("per example", ok, case, f"[{size}]", said, "reduction='none', and a mean over what an example has")


def _gradient(found: Checked, loss: Loss, model: nn.Module, batch: Batch, draws: Tensor, case: str) -> None:
    values = _look(found, loss, model, batch, draws, graph=True)
    advice = "no .detach(), .item(), argmax or no_grad between the weights and the value"
    found.holds("differentiable", values.requires_grad, case, "a graph", "none", advice)
    weights = [p for p in model.parameters() if p.requires_grad]
    grads = torch.autograd.grad(values.sum(), weights, allow_unused=True)
    whole = torch.cat([g.flatten() for g in grads if g is not None])
    told = f"a gradient of length {float(whole.norm()):.3g}"
    found.holds("differentiable", bool(whole.isfinite().all() and whole.any()), case, "finite, not 0", told, advice)


def _moved(model: nn.Module, seed: int) -> nn.Module:
    moved = copy.deepcopy(model).requires_grad_(True)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in moved.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator).to(p))
    return moved


def kept(model: nn.Module) -> list[object]:
    """Weights, buffers, mode, what may move and whether it has a gradient: what a trace would be on."""
    flags = [(p.requires_grad, p.grad is None) for p in model.parameters()]
    return [copy.deepcopy(model.state_dict()), flags, [m.training for m in model.modules()]]
