"""Hardness of the whole request, of each example and of groups: from gradients over the sets, not over a batch."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unweave.data.pairs import Pair
from unweave.diagnosis.examples import Along, along, length, risen
from unweave.diagnosis.hardness import TOLERANCE, validity
from unweave.diagnosis.quote import Example, Forecast, Group, Range
from unweave.errors import ConfigurationError
from unweave.gramian import gramian, norm
from unweave.objectives import FORGET, RETAIN, Loss, Objectives
from unweave.samples import Rows, Sample

RISES = (0.5, 1.0, 2.0, 4.0)  # of the forget loss, nats: the points of the forecast


@dataclass(frozen=True, eq=False)
class Conflict:
    """The two sides' gradients of one loss, and what they mean for each example.

    Args:
        gramian: per block `[B, 2, 2]`, order forget, retain; the forget side is ascended (`g_u = -grad L_f`).
        forget: of each forget example, its loss along the retain gradient `grad L_r`; None if that is zero.
        payers: of each retain example, its loss along the forget gradient `grad L_f`; None if that is zero.
        fastest: of each forget example, its loss along the forget gradient; None likewise.
        ranges: how far first order holds along `grad L_f`, forget and retain; None if it is zero.
        forwards: examples that went through the model, a backward pass counted as two.
    """

    gramian: Tensor
    forget: Along | None
    payers: Along | None
    fastest: Along | None
    ranges: tuple[Range, Range] | None
    forwards: int

    @property
    def lengths(self) -> tuple[float, float]:
        """`|grad L_f|` and `|grad L_r|`."""
        b, a = self.gramian.sum(0).diagonal().sqrt().tolist()
        return b, a

    @property
    def hardness(self) -> Tensor:
        """`<grad l_i, grad L_r> / (|grad L_f| |grad L_r|)` of each forget example, `[n]`.

        Above 0: what keeps the retained examples keeps this one too, and forgetting it costs. Their mean is the
        request's: the cosine of `grad L_f` and `grad L_r`.
        """
        return torch.zeros(0) if self.forget is None else self.forget.slope / (self.lengths[0] or math.inf)

    @property
    def prices(self) -> Tensor:
        """`<grad l_j, grad L_f> / |grad L_f|^2` of each retain example, `[n]`.

        By how much its loss rises where the forget loss rises by 1 on the fastest way, to first order.
        """
        return torch.zeros(0) if self.payers is None else self.payers.slope / self.lengths[0]

    @property
    def error(self) -> float:
        """Standard error of the cosine, both sets taken as samples: what another draw of examples would change.

        `kappa` is a mean over all pairs of a forget and a retain example; to first order its variance is that of the
        means over either side (Hoeffding's projection). The lengths are taken as known.
        """
        if self.forget is None or self.payers is None or not all(self.lengths):
            return 0.0
        parts = (self.hardness, self.prices * self.lengths[0] / self.lengths[1])
        return math.sqrt(sum(float(x.var()) / len(x) if len(x) > 1 else 0.0 for x in parts))


def conflict(objectives: Objectives, loss: Loss, forget: Sample, retain: Sample, index: Sequence[int]) -> Conflict:
    """Both gradients over all examples of the samples, and each example's slope along the other side's.

    Costs a forward and a backward pass over both samples, and eight forward passes: five over the forget sample, three
    over the retain sample. Weights are put back to the bit.

    Args:
        objectives: of the losses `(loss, loss)`, both minimised.
        loss: the same loss.
        forget: examples to forget.
        retain: examples to keep.
        index: the block of each parameter.
    """
    _, gradients = objectives.at(Pair(forget, retain)).gradients()
    g = gramian(gradients, index)
    g[:, 0, 1] *= -1
    g[:, 1, 0] *= -1
    lengths = g.sum(0).diagonal().sqrt()
    forwards = 3 * (forget.examples + retain.examples)
    if not bool(g.isfinite().all()):
        raise ConfigurationError("A loss or gradient is not finite. Look for NaN in the data and in the weights.")
    ranges, of_forget, of_retain, fastest = None, None, None, None
    if lengths[FORGET] > 0:
        fastest = along(objectives, loss, forget, gradients[FORGET])
        of_retain = along(objectives, loss, retain, gradients[FORGET])
        size = float(norm([p.detach() for p in objectives.parameters])) or 1.0
        ranges = _range(fastest, size), _range(of_retain, size)
        forwards += 3 * (forget.examples + retain.examples)
    if lengths[RETAIN] > 0:
        known = None if fastest is None else fastest.value
        of_forget = along(objectives, loss, forget, gradients[RETAIN], value=known)
        forwards += (2 if known is not None else 3) * forget.examples
    return Conflict(g, of_forget, of_retain, fastest, ranges, forwards)


def forecasts(found: Conflict, size: float) -> tuple[Forecast, ...]:
    """What rises of the forget loss will cost; `size` is the parameters' norm."""
    if found.fastest is None or found.payers is None or found.ranges is None:
        return ()
    made = []
    for rise in RISES:
        t = length(found.fastest, rise)
        if math.isnan(t):
            made.append(Forecast(rise, None, None, False))
        else:
            holds = all(r.radius is None or t / size <= r.radius for r in found.ranges)
            made.append(Forecast(rise, risen(found.payers, t), t / size, holds))
    return tuple(made)


def _range(found: Along, size: float) -> Range:
    slope, curvature = float(found.slope.mean()), float(found.curvature.mean())
    radius = validity(slope, curvature)
    return Range(slope * size, curvature * size**2, None if radius is None else radius / size, TOLERANCE)


def ranked(values: Tensor, losses: Tensor, rows: Rows, groups: Sequence[Hashable] | None) -> tuple[Example, ...]:
    """One `Example` each, the largest value first."""
    order = values.argsort(descending=True, stable=True).tolist()
    columns = values.tolist(), losses.tolist(), rows.tolist()
    return tuple(Example(columns[2][i], columns[0][i], columns[1][i], groups and groups[i]) for i in order)


def grouped(values: Tensor, groups: Sequence[Hashable] | None) -> tuple[Group, ...]:
    """The mean of each group with its standard error, the largest first; nothing without groups."""
    members: dict[Hashable, list[int]] = {}
    for i, name in enumerate(groups or ()):
        members.setdefault(name, []).append(i)
    found = []
    for name, rows in members.items():
        own = values[rows]
        error = float(own.std()) / math.sqrt(len(rows)) if len(rows) > 1 else None
        found.append(Group(name, len(rows), float(own.mean()), error))
    return tuple(sorted(found, key=lambda group: -group.mean))
