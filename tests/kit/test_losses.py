"""A loss that breaks one promise is told by the name of that promise; a right one passes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests._denoising import linear
from unweave.errors import ConfigurationError
from unweave.execution import draws, seeded
from unweave.losses import NPO, RandomLabels, frozen
from unweave.tasks import Classification, Dense, Diffusion, Language, MultiLabel, Regression, Task
from unweave.testing import PROPERTIES, Violation, check_loss, problem

TASK = Classification()
CALLS = itertools.count()
Loss = Callable[[nn.Module, Any], Any]


def nll(model: nn.Module, batch: Any) -> Tensor:
    return TASK.nll(model, batch)


def trains(model: nn.Module, batch: Any) -> Tensor:
    model.train()
    return nll(model, batch)


def writes(model: nn.Module, batch: Any) -> Tensor:
    batch[0].add_(1.0)
    return nll(model, batch)


def moves(model: nn.Module, batch: Any) -> Tensor:
    with torch.no_grad():
        next(model.parameters()).add_(0.1)
    return nll(model, batch)


def backwards(model: nn.Module, batch: Any) -> Tensor:
    nll(model, batch).mean().backward()
    return nll(model, batch)


def by_torch(model: nn.Module, batch: Any) -> Tensor:
    """Noise of torch's random state: another in each micro-batch."""
    values = nll(model, batch)
    return values + torch.rand(len(values))


def by_draw(model: nn.Module, batch: Any) -> Tensor:
    values = nll(model, batch)
    return values + draws(len(values)) % 1000 / 1000


def contrast(model: nn.Module, batch: Any) -> Tensor:
    """InfoNCE: the other examples are the negatives."""
    z = nn.functional.normalize(model(batch[0]), dim=1)
    return -(z @ z.T).log_softmax(1).diagonal()


BROKEN: list[tuple[str, Loss]] = [
    ("per example", lambda m, b: nll(m, b).mean()),
    ("per example", lambda m, b: m(b[0])),
    ("per example", lambda m, b: nll(m, b).long()),
    ("per example", lambda m, b: float(nll(m, b).mean())),
    ("per example", lambda m, b: nll(m, b).squeeze()),
    ("per example", lambda m, b: nll(m, b)[torch.arange(6)]),
    ("finite", lambda m, b: nll(m, b) / (b[1] != 1)),
    ("no trace", trains),
    ("no trace", writes),
    ("no trace", moves),
    ("no trace", backwards),
    ("repeatable", lambda m, b: nll(m, b) + next(CALLS)),
    ("draws", by_torch),
    ("uncoupled", contrast),
    ("uncoupled", lambda m, b: nll(m, b) - nll(m, b).mean()),
    ("differentiable", lambda m, b: nll(m, b).detach()),
    ("differentiable", lambda m, b: m(b[0]).argmax(1) + 0 * nll(m, b)),
]


@pytest.mark.parametrize(("name", "loss"), BROKEN, ids=lambda v: v if isinstance(v, str) else "")
def test_a_broken_loss_is_told_by_name(name: str, loss: Loss) -> None:
    with pytest.raises(Violation) as caught:
        check_loss(loss, TASK)
    assert caught.value.property == name, str(caught.value)
    assert str(caught.value).startswith(f"{name}: {PROPERTIES[name]}") and caught.value.advice


def test_every_property_of_losses_has_a_broken_twin() -> None:
    names = list(PROPERTIES)
    assert {name for name, _ in BROKEN} == {"finite", *names[names.index("per example") : names.index("paper")]}


@pytest.mark.parametrize("loss", [nll, by_draw, RandomLabels(TASK), NPO(TASK, frozen(problem(TASK)[0]))])
def test_right_ones_pass(loss: Loss) -> None:
    assert check_loss(loss, TASK)["uncoupled"] == 6


@pytest.mark.parametrize(
    "task",
    [Classification(), MultiLabel(), Regression(1.0), Dense(), Language(), Diffusion(linear(10), null=3)],
    ids=lambda task: type(task).__name__,
)
def test_the_kit_has_a_model_for_every_task(task: Task) -> None:
    model, batch = problem(task)
    assert not model.training and check_loss(task.nll, task)["uncoupled"] == 6
    with seeded(0):
        first = task.nll(model, batch)
    with seeded(0):
        assert torch.equal(first, task.nll(*problem(task))), "the same at every call"


def test_a_value_by_hand() -> None:
    """Logits (0, 0): -log 1/2."""
    batch = torch.zeros(2, 2), torch.tensor([0, 1])
    given = [(nn.Identity(), batch, [0.693147, 0.693147])]
    assert check_loss(nll, TASK, golden=given)["golden"] == 1
    with pytest.raises(Violation, match=r"^golden"):
        check_loss(nll, TASK, golden=[(nn.Identity(), batch, [0.693147, 0.7])])


def test_a_task_that_the_kit_does_not_know_brings_its_model() -> None:
    class Own:
        def nll(self, model: nn.Module, batch: Any) -> Tensor:
            return model(batch["left"]).square().sum(1)  # type: ignore[no-any-return]

        def divergence(self, model: nn.Module, reference: nn.Module, batch: Any) -> Tensor:
            return self.nll(model, batch)

    own, batch = Own(), {"left": torch.randn(4, 3)}
    with pytest.raises(ConfigurationError, match="the kit has no model for Own: give one of yours and a batch"):
        check_loss(own.nll, own)
    with pytest.raises(ConfigurationError, match="a model needs a batch"):
        check_loss(own.nll, own, batch=batch)
    assert check_loss(own.nll, own, model=nn.Linear(3, 2), batch=batch)["uncoupled"] == 4


def test_what_is_no_loss_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"loss must be a function \(model, batch\) -> \[b\].*\n?.*task must"):
        check_loss("nll", "vision")  # type: ignore[arg-type]
