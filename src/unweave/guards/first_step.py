"""At the first step: did it move the weights, and are the two sides of comparable size?"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from unweave.execution import summed
from unweave.gramian import local, of_blocks, products
from unweave.guards.finding import SCALES, STUCK
from unweave.modules import still
from unweave.objectives import FORGET, RETAIN, Objectives
from unweave.parameters import Mask

if TYPE_CHECKING:
    from unweave.results import Record, Result

_EACH = 1024  # elements of a tensor that are looked at


class FirstStep:
    """A callback that looks at the first step that was taken, and at no other.

    Args:
        model: before that step; at most 1024 elements of each tensor that may move are remembered.
        mask: what may move of them.
        certain: the original's loss is exactly 0 on every forget example that was looked at.
        begun: the run that is resumed has made its first step.
        warnings: where to add what does not look right, each with what to do.
    """

    def __init__(
        self,
        model: nn.Module,
        mask: Mask | None = None,
        *,
        certain: bool = False,
        begun: bool = False,
        warnings: list[str] | None = None,
    ) -> None:
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._before = _strided(self._parameters).clone()
        self._mask = None if mask is None else _strided(mask.tensors)
        self._certain, self._over, self.warnings = certain, begun, [] if warnings is None else warnings

    def on_end(self, result: Result) -> None:
        """Says what was found."""
        result.warnings = self.warnings

    @property
    def moved(self) -> bool:
        """Whether any of the remembered elements is another now."""
        return not torch.equal(self._before, _strided(self._parameters))

    def on_step(self, record: Record, objectives: Objectives) -> None:
        """Looks once."""
        if self._over or not record.accepted:
            return
        self._over, whole = True, bool(record.step.stop)  # a whole method in one step weighs no gradients
        found = [self._without(record, objectives)]
        if not whole:
            found = [_apart(record, lambda: _norms(objectives)), found[0] or self._stuck(record, objectives)]
        self.warnings += [text for text in found if text]

    def _without(self, record: Record, objectives: Objectives) -> str:
        """Looks for gradients of exactly 0, where the model is certain of the forget set or nothing moved."""
        if self.moved and not self._certain:
            return ""
        zero = [length == 0 for length in _norms(objectives)]
        kind = str(self._parameters[0].dtype).removeprefix("torch.")
        mend = "" if kind == "float64" else "run it in float64 (model.double(), and the inputs), or "
        mend += "use a loss that does not saturate (method 'random_label')"
        if self._certain and zero[FORGET]:
            return (
                "gradient: that of the forget loss is exactly 0: the model is certain of every forget example, beyond "
                f"what {kind} can tell, and what follows this gradient cannot start. To go on, {mend}."
            )
        if not all(zero):
            return ""
        losses = "{:.3g} and {:.3g}".format(*record.step.losses.tolist())
        return (
            f"gradient: it is exactly 0 on both sides, at losses of {losses}. Either the model is certain of these "
            f"examples, beyond what {kind} can tell: {mend}. Or no weight that may move has a part in the losses: let "
            "others move, and look for detach and .data in the model."
        )

    def _stuck(self, record: Record, objectives: Objectives) -> str:
        """Counts elements that stayed because the step, along the gradients, is shorter than their rounding.

        Only where most stayed does it take the gradients to know. They are those after the step: an element that only
        they would move (LoRA's A, until B is no longer zero) is pulled further than its rounding, and not counted.
        """
        free = self._mask.to(self._before.device) if self._mask is not None else torch.ones_like(self._before).bool()
        stayed = (_strided(self._parameters) == self._before) & free
        if _share(stayed, free) <= STUCK:
            return ""
        largest = record.step.weights.abs().amax(0).tolist()
        pull = sum(w * g.abs().float() for w, g in zip(largest, _gradients(objectives), strict=True))
        pulled = (pull > 0) & free
        stuck = _share(pulled & stayed & (record.lr * pull <= _rounding(self._parameters, self._before)), pulled)
        if stuck <= STUCK:
            return ""
        kinds = ", ".join(sorted({str(p.dtype).removeprefix("torch.") for p in self._parameters}))
        return (
            f"step length: the first step left {100 * stuck:.0f} % of the weights that have a gradient exactly as they "
            f"were: it is shorter than the rounding of {kinds}. Use a larger learning rate (or start=... of the trust "
            "region), or keep the weights that may move in float32."
        )


def _rounding(parameters: Sequence[Tensor], values: Tensor) -> Tensor:
    """The least change that each value can show, up to a factor of two."""
    return torch.finfo(parameters[0].dtype).eps * values.abs().float()


def _norms(objectives: Objectives) -> list[float]:
    """Of both sides' gradients, on the batch of the step; buffers are afterwards as they were."""
    found = []
    with still(objectives.model):
        for side in (FORGET, RETAIN):
            squares = torch.zeros(len(objectives.parameters), 3, dtype=torch.float64)

            def take(place: int, gradient: Tensor | None, squares: Tensor = squares) -> None:
                squares[place] = 0.0 if gradient is None else products(gradient, gradient)

            objectives.each(side, take)
            found.append(float(of_blocks(squares, [0] * len(squares), objectives.parameters[0])[0, 0, 0].sqrt()))
    return found


def _gradients(objectives: Objectives) -> list[Tensor]:
    """The remembered elements of both sides' gradients, on the batch of the step; buffers as `_norms` has it."""
    found = []
    with still(objectives.model):
        for side in (FORGET, RETAIN):
            parts = [_strided([p]) for p in objectives.parameters]

            def take(place: int, gradient: Tensor | None, parts: list[Tensor] = parts) -> None:
                parts[place] = torch.zeros_like(parts[place]) if gradient is None else _strided([gradient])

            objectives.each(side, take)
            found.append(torch.cat([part.to(parts[0].device) for part in parts]))
    return found


def _apart(record: Record, norms: Callable[[], list[float]]) -> str:
    """Gradient norms of the two sides, by more than three orders; a zero says nothing.

    A step that knows no Gramian knows the losses. Far apart they are a hint and no proof, as one may be large by a
    constant (NPO begins at 2 ln 2 / beta): then the gradients are asked for.
    """
    if record.step.gramian is not None:
        told, name = record.step.gramian.sum(0).diagonal().clamp_min(0).sqrt().tolist(), "gradient norms"
    else:
        told, name = [abs(value) for value in record.step.losses.tolist()], "losses"
        if not _ratio(told) > SCALES or not _ratio(norms()) > SCALES:
            return ""
    if not _ratio(told) > SCALES:
        return ""
    return (
        f"scales: at the first step the {name} of forget and retain side are {told[0]:.3g} and {told[1]:.3g}, a factor "
        f"of {_ratio(told):.0e} apart. A fixed weighting of the two follows the larger one alone: use a rule that "
        "compares gradients (hamu_q, pcgrad, munba), or other weights."
    )


def _ratio(sides: Sequence[float]) -> float:
    """Of the larger to the smaller; 1 where one is 0 or not finite."""
    return max(sides) / min(sides) if min(sides) > 0 and math.isfinite(sum(sides)) else 1.0


def _strided(tensors: Sequence[Tensor]) -> Tensor:
    """At most so many elements of each tensor, at equal distances, as one vector on the device of the first."""
    parts = [local(t).detach().flatten() for t in tensors]
    found = [part[:: max(1, math.ceil(len(part) / _EACH))] for part in parts]
    return torch.cat([part.to(found[0].device) for part in found]) if found else torch.zeros(0)


def _share(part: Tensor, whole: Tensor) -> float:
    """Over all ranks; 0 of nothing."""
    some, every = summed(torch.stack([part.sum(), whole.sum()])).tolist()
    return some / every if every else 0.0
