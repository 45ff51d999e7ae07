"""What a run keeps for every number that may move, where, and which memory there is room for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from unweave import devices
from unweave.errors import ConfigurationError
from unweave.execution import device_of
from unweave.gramian import Memory
from unweave.loop import OptimizerStep
from unweave.packs import bytes_of
from unweave.places import Place
from unweave.repair import wanted
from unweave.rules import OFMU, GradientRule, Rule
from unweave.sharded import local
from unweave.trust import TrustRegion

MEMORIES: tuple[Memory, ...] = ("fast", "lean", "least")
AskedMemory = Memory | Literal["auto"]
AskedPlace = Place | Literal["auto"]
ROOM = 0.8  # of a device, for all that is known, where nobody knows the activations


@dataclass(frozen=True)
class Kept:
    """Sizes of what moves that are kept beside it; `elsewhere`: not on its device.

    Attributes:
        gradients: of a rule that compares them 2, 1 or 0, by the memory; of one that adds them 1 or 0; of OFMU 5, of
            others 3.
        optimizer: moments; of the trust region, the weights to go back to.
        contract: the last kept and the best state.
        repair: the averages of both gradients; without a contract the best state too.
    """

    gradients: float
    optimizer: float
    contract: float
    repair: float
    elsewhere: float = 0.0

    @property
    def here(self) -> float:
        """All of it that is on the device."""
        return self.gradients + self.optimizer + self.contract + self.repair


def kept(
    rule: Rule | None, memory: Memory, place: Place, *, states: int | None, judged: bool, averages: float | None
) -> Kept:
    """The sizes that a run keeps.

    Args:
        rule: None of a method without steps.
        memory, place: of the run.
        states: moments of the optimizer; None is a trust region.
        judged: there is a contract.
        averages: sizes of the repair's averages; None: there is no repair.
    """
    compares = isinstance(rule, GradientRule)
    one = rule is not None and (compares or rule.leanest == "least")
    own = 5.0 if isinstance(rule, OFMU) else 3.0  # OFMU: two gradients, a product, and two states to go back to
    gradients = own if not one else {"fast": 2.0 if compares else 1.0, "lean": 1.0, "least": 0.0}[memory]
    before, states_kept = (1.0, 0.0) if states is None else (0.0, float(states))
    contract, repair = 2.0 * judged, 0.0 if averages is None else averages + (not judged)
    if place == "device":
        return Kept(gradients, before + states_kept, contract, repair)
    return Kept(gradients, states_kept, 0.0, 0.0, before + contract + repair)


def packed(rule: Rule | None, memory: Memory, averages: float | None, sizes: Sequence[int]) -> int:
    """Bytes of the copies of small tensors where two gradients are compared and kept, by the tensors' sizes."""
    compares = isinstance(rule, GradientRule) or averages is not None
    return bytes_of(sizes) if compares and memory == "fast" else 0


def placed(asked: AskedPlace, memory: Memory, device: torch.device) -> Place:
    """Where copies lie: "auto" is the device, or where not both gradients are kept on an accelerator, the host."""
    if device.type == "cpu" and asked == "host":
        return "device"  # the same memory
    if asked == "auto":
        return "device" if memory == "fast" or device.type == "cpu" else "host"
    return asked


def fitting(asked: AskedMemory, leanest: Memory, needed: Callable[[Memory], float], available: float | None) -> Memory:
    """The memory of a run: as asked; "auto" is the first that there is room for, else the least that can be."""
    if asked != "auto":
        return asked
    can = MEMORIES[: MEMORIES.index(leanest) + 1]
    if available is None:
        return "fast"
    return next((memory for memory in can if needed(memory) <= available), can[-1])


def settled(
    model: nn.Module,
    rule: Rule,
    step: object,
    masked: bool,
    judged: bool,
    memory: AskedMemory,
    place: AskedPlace,
) -> tuple[Memory, Place]:
    """What a run keeps and where, on the device that the model is on.

    Raises:
        ConfigurationError: the memory that is asked for is too little.
    """
    able, device = leanest(rule, step, masked), device_of(model)
    check(memory, able)
    moving = sum(local(p).numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    whole = sum(local(t).numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))
    sizes = [local(p).numel() for p in model.parameters() if p.requires_grad]
    averages = 2.0 if wanted("auto", contract=judged, trust=isinstance(step, TrustRegion)) else None

    def needed(each: Memory) -> float:
        where = placed(place, each, device)
        found = kept(rule, each, where, states=_states(step), judged=judged, averages=averages)
        return whole + moving * found.here + packed(rule, each, averages, sizes)

    there = devices.memory(device)
    found = fitting(memory, able[0], needed, None if there is None else ROOM * there)
    return found, placed(place, found, device)


def leanest(rule: Rule, step: object = None, masked: bool = False) -> tuple[Memory, str]:
    """The least memory that a run can do with, and why no less.

    Args:
        rule: of the method.
        step: its optimizer or stepper; None of one of a recipe.
        masked: only some elements of each tensor may move.
    """
    name, least = type(rule).__name__, rule.leanest
    if least == "fast":
        return least, f"{name} asks for whole gradients"
    if least == "lean":
        blocks = getattr(rule, "blocks", "")
        return least, f"{name} weighs every {blocks} by itself (blocks={blocks!r}; with 'model' it could)"
    optimizer = step.optimizer if isinstance(step, OptimizerStep) else step
    if masked:
        return "lean", "a mask of single weights (saliency) makes the direction another, whose length nobody knows"
    if isinstance(optimizer, torch.optim.Optimizer) and not type(optimizer).__module__.startswith("torch.optim"):
        return "lean", f"{type(optimizer).__name__} may look at all tensors at once"
    if not isinstance(optimizer, torch.optim.Optimizer | TrustRegion | None):
        return "lean", f"{type(step).__name__} takes the direction as a whole"
    if not _ordered():
        return "lean", f"torch {torch.__version__} cannot go through two graphs side by side"
    return "least", ""


def check(asked: AskedMemory, able: tuple[Memory, str]) -> None:
    """Refuses a memory that is too little.

    Raises:
        ConfigurationError: why, and what would do.
    """
    least, why = able
    if asked != "auto" and MEMORIES.index(asked) > MEMORIES.index(least):
        raise ConfigurationError(f"memory: {asked!r} cannot be: {why}. Use {least!r} or 'auto'.")


def _states(step: object) -> int | None:
    """Numbers for every weight that an optimizer keeps, at most; None of a trust region."""
    if isinstance(step, TrustRegion):
        return None
    if isinstance(step, torch.optim.SGD):
        return int(any(group["momentum"] for group in step.param_groups))
    return 2


def _ordered() -> bool:
    """Whether this torch lets one say in which order a backward pass goes through its graphs."""
    with torch.enable_grad():
        return hasattr(torch.ones((), requires_grad=True).neg().grad_fn, "_set_sequence_nr")
