"""How much memory the steps of a run will need, before anything large is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from torch import nn

from unweave.methods import Method, made
from unweave.oneshot import ONESHOT, OneShot
from unweave.parameters import choose
from unweave.recipe.recipe import Recipe
from unweave.repair import wanted
from unweave.rules import GradientRule, LossRule
from unweave.tasks import Task

FLOAT, HALF = 4, 2  # bytes of what moves and of all that is kept for it; of bfloat16
_STATES = {"trust": 1, "sgd": 0, "adam": 2, "adamw": 2}  # numbers per weight that a step length keeps; momentum is one


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak of a step, by what they are for.

    Attributes:
        weights: of the model: float32 where they move, the recipe's type elsewhere.
        gradients: one of each side for rules that compare them, one in all for the others; without steps, one and two
            importances.
        optimizer: its moments; of the trust region, the weights to go back to.
        contract: the last kept and the best state.
        repair: the averages of both gradients, lean in bfloat16; without a contract the best state too.
        relearner: copies of what moves, where a forget loss is read at other weights than the model's.
        reference: a frozen copy, where the method needs one beside a model that moves as a whole.
        activations: of one micro-batch, and its logits.
    """

    weights: int
    gradients: int
    optimizer: int
    contract: int
    repair: int
    relearner: int
    reference: int
    activations: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(getattr(self, field.name) for field in fields(self))

    def text(self, available: int | None, ways: str, page: str) -> str:
        """In words.

        Args:
            available: what the device has; None: nobody says.
            ways: to need less, beside a larger run.micro.
            page: where they are explained.
        """
        parts = ", ".join(f"{field.name} {_size(getattr(self, field.name))}" for field in fields(self))
        there = "" if available is None else f" of {_size(available)} here"
        short = available is not None and self.total > available
        more = ", run.repair=lean or false" if self.repair else ""
        end = f". MORE THAN THERE IS: use {ways}{more} or a larger run.micro ({page})"
        return f"memory          about {_size(self.total)}{there} at the peak of a step: {parts}{end if short else ''}"


def method_of(recipe: Recipe, task: Task, empty: nn.Module) -> Method | OneShot:
    """The recipe's method, on a model without numbers."""
    name, arguments = recipe.method.name, recipe.method.arguments
    return OneShot(name, arguments) if name in ONESHOT else made(name, task, empty, None, arguments)


def moving_of(empty: nn.Module, parameters: Sequence[str] | None) -> int:
    """Numbers of the model that may move."""
    with choose(empty, parameters):
        return sum(p.numel() for p in empty.parameters() if p.requires_grad)


def kept_by(method: Method | OneShot) -> int:
    """Bytes of the models that a method's losses keep."""
    sides = (method.forget, method.retain) if isinstance(method, Method) else ()
    return sum(map(_kept, sides))


def peak(
    recipe: Recipe,
    method: Method | OneShot,
    moving: int,
    *,
    weights: int,
    reference: int,
    activations: int,
    relearner: int = 0,
) -> Memory:
    """The memory of a recipe's steps.

    Args:
        recipe: whose step, repair and contract count.
        method: of the recipe.
        moving: numbers that may move.
        weights, reference, activations, relearner: bytes, as `Memory` has them.
    """
    once = not isinstance(method, Method)
    rule = method.rule if isinstance(method, Method) else None
    gradients = 3 if once else 2 if isinstance(rule, GradientRule) else 1 if isinstance(rule, LossRule) else 3
    states = _STATES[recipe.step.name] + bool(recipe.step.arguments.get("momentum"))
    judged, settings = recipe.contract is not None, recipe.run
    repairs = wanted(settings.repair, contract=judged, trust=recipe.step.name == "trust" and not once)
    averages = moving * (2 * (HALF if settings.repair == "lean" else FLOAT) + (0 if judged else FLOAT))
    return Memory(
        weights=weights,
        gradients=gradients * moving * FLOAT,
        optimizer=states * moving * FLOAT,
        contract=2 * moving * FLOAT if judged else 0,
        repair=averages if repairs else 0,
        relearner=relearner,
        reference=reference,
        activations=activations,
    )


def _kept(loss: object) -> int:
    """Bytes of the models that a loss keeps."""
    held = vars(loss).values() if hasattr(loss, "__dict__") else ()
    return sum(p.numel() * FLOAT for each in held if isinstance(each, nn.Module) for p in each.parameters())


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**29 else f"{count / 2**20:.1f} MiB"
