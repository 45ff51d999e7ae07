"""How much memory the steps of a run will need, before anything large is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from torch import nn

from unweave import devices
from unweave.footprint import check, fitting, kept, leanest, packed, placed
from unweave.gramian import Memory as Mode
from unweave.methods import Method, made
from unweave.oneshot import ONESHOT, OneShot
from unweave.parameters import choose
from unweave.places import Place
from unweave.recipe.auto import AUTO, HEADLINE
from unweave.recipe.recipe import Recipe
from unweave.repair import wanted
from unweave.tasks import Task

FLOAT, HALF = 4, 2  # bytes of what moves and of all that is kept for it; of bfloat16
_STATES = {"sgd": 0, "adam": 2, "adamw": 2}  # numbers per weight that an optimizer keeps; momentum is one


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak of a step, by what they are for.

    Attributes:
        weights: of the model: float32 where they move, the recipe's type elsewhere.
        gradients: of rules that compare them two, one or none, by `run.memory`; of those that add them one or none;
            with less than fast that of the largest tensor too; without steps, one and two importances.
        packs: copies in float64 of their small tensors, where two are compared, by the rule or by a repair.
        optimizer: its moments; of the trust region, the weights to go back to.
        contract: the last kept and the best state.
        repair: the averages of both gradients, lean in bfloat16; without a contract the best state too.
        relearner: copies of what moves, where a forget loss is read at other weights than the model's.
        reference: a frozen copy, where the method needs one beside a model that moves as a whole.
        activations: of one micro-batch, and its logits; with run.memory least of all of them at once.
        mode, place: `run.memory` and `run.place`, as settled.
        elsewhere: of what would be in `optimizer`, `contract` and `repair` if it were on the device.
    """

    weights: int
    gradients: int
    packs: int
    optimizer: int
    contract: int
    repair: int
    relearner: int
    reference: int
    activations: int
    mode: Mode = "fast"
    place: Place = "device"
    elsewhere: int = 0

    @property
    def total(self) -> int:
        """All of it that is on the device."""
        return sum(self._parts.values())

    @property
    def _parts(self) -> dict[str, int]:
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in own.items() if name not in ("mode", "place", "elsewhere")}

    def text(self, available: int | None, ways: str, page: str) -> str:
        """In words.

        Args:
            available: what the device has; None: nobody says.
            ways: to need less, beside a larger run.micro.
            page: where they are explained.
        """
        parts = ", ".join(f"{name} {_size(value)}" for name, value in self._parts.items())
        if self.mode != "fast":
            parts += f" (run.memory: {self.mode})"
        if self.elsewhere:
            where = "in the host's memory" if self.place == "host" else "on disk"
            parts += f"; {where} {_size(self.elsewhere)}"
        there = "" if available is None else f" of {_size(available)} here"
        short = available is not None and self.total > available
        more = ", run.repair=lean or false" if self.repair else ""
        more += ", run.memory=auto, run.place=auto" if self.mode == "fast" else ""
        end = f". MORE THAN THERE IS: use {ways}{more} or a larger run.micro ({page})"
        return f"memory          about {_size(self.total)}{there} at the peak of a step: {parts}{end if short else ''}"


def method_of(recipe: Recipe, task: Task, empty: nn.Module) -> Method | OneShot:
    """The recipe's method, on a model without numbers."""
    name, arguments = recipe.method.name, recipe.method.arguments
    if name == AUTO:  # of those that may win, the one that keeps two gradients
        name, arguments = HEADLINE[0], {}
    return OneShot(name, arguments) if name in ONESHOT else made(name, task, empty, None, arguments)


def moving_of(empty: nn.Module, parameters: Sequence[str] | None) -> list[int]:
    """Numbers of each tensor of the model that may move."""
    with choose(empty, parameters):
        return [p.numel() for p in empty.parameters() if p.requires_grad]


def kept_by(method: Method | OneShot) -> int:
    """Bytes of the models that a method's losses keep."""
    sides = (method.forget, method.retain) if isinstance(method, Method) else ()
    return sum(map(_kept, sides))


def peak(
    recipe: Recipe,
    method: Method | OneShot,
    tensors: Sequence[int],
    *,
    weights: int,
    reference: int,
    activations: int,
    together: int,
    relearner: int = 0,
) -> Memory:
    """The memory of a recipe's steps, on its device, as its `run.memory` says.

    Args:
        recipe: whose step, repair and contract count.
        method: of the recipe.
        tensors: numbers of each tensor that may move.
        weights, reference, activations, relearner: bytes, as `Memory` has them.
        together: bytes of the activations of all micro-batches of both sides.

    Raises:
        ConfigurationError: the memory that is asked for is too little for the method.
    """
    settings, judged = recipe.run, recipe.contract is not None
    rule = method.rule if isinstance(method, Method) else None
    trust = recipe.step.name == "trust"
    states = None if trust else _STATES[recipe.step.name] + bool(recipe.step.arguments.get("momentum"))
    repairs = wanted(settings.repair, contract=judged, trust=trust and rule is not None)
    averages = (2.0 * (HALF / FLOAT if settings.repair == "lean" else 1.0)) if repairs else None
    device = devices.chosen(settings.device)

    def of(mode: Mode) -> Memory:
        place = placed(settings.place, mode, device)
        sizes = kept(rule, mode, place, states=states, judged=judged, averages=averages)
        own = {name: round(FLOAT * sum(tensors) * value) for name, value in vars(sizes).items()}
        own["gradients"] += 0 if mode == "fast" else FLOAT * max(tensors)
        own["packs"] = packed(rule, mode, averages, tensors)
        alive = together if mode == "least" else activations
        return Memory(
            weights, relearner=relearner, reference=reference, activations=alive, mode=mode, place=place, **own
        )

    if rule is None:
        return of("fast")
    masked = isinstance(method, Method) and method.saliency is not None
    able = leanest(rule, masked=masked)
    check(settings.memory, able)
    return of(fitting(settings.memory, able[0], lambda mode: of(mode).total, devices.memory(device)))


def _kept(loss: object) -> int:
    """Bytes of the models that a loss keeps."""
    held = vars(loss).values() if hasattr(loss, "__dict__") else ()
    return sum(p.numel() * FLOAT for each in held if isinstance(each, nn.Module) for p in each.parameters())


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**29 else f"{count / 2**20:.1f} MiB"
