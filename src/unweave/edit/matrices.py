"""The closed form of an edit: what each matrix becomes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unweave.errors import ConfigurationError

_CHUNK = 4096  # rows in float64 at once


@dataclass(frozen=True)
class Edited:
    """What `uce` changed.

    Attributes:
        change: `|W* - W| / |W|` (Frobenius) of each matrix or table that was edited, by the name of its module.
        edited: number of edited rows: tokens, companions included, or classes.
        preserved: number of preserved rows.
        left: how far what the edited rows give is from what their guides gave, as a share of how far it was,
            `sum |W* e_i - W g_i|^2 / sum |W e_i - W g_i|^2` over all matrices: 0 is there, 1 where it was.
    """

    change: dict[str, float]
    edited: int
    preserved: int
    left: float


def closed_form(
    weight: Tensor,
    erase: Tensor,
    guide: Tensor,
    preserve: Tensor,
    *,
    lamb: float = 0.5,
    erase_scale: float = 1.0,
    preserve_scale: float = 1.0,
) -> Tensor:
    """The matrix that gives for `e_i` what W gives for `g_i`, for `p_j` what W gives, and is near W otherwise.

    The minimiser of `s_e sum |W* e_i - W g_i|^2 + s_p sum |W* p_j - W p_j|^2 + lamb |W* - W|^2_F`, which is

        W* = (lamb W + s_e sum W g_i e_i^T + s_p sum W p_j p_j^T) (lamb I + s_e sum e_i e_i^T + s_p sum p_j p_j^T)^-1

    Args:
        weight: W, `[out, in]`.
        erase: `e_i`, `[n, in]`.
        guide: `g_i`, `[n, in]`.
        preserve: `p_j`, `[m, in]`; m may be 0.
        lamb: weight of staying near W; compare it with the squared length of a row.
        erase_scale: `s_e`.
        preserve_scale: `s_p`.

    Returns:
        W*, float64.

    Raises:
        ConfigurationError: lamb is so small beside the rows that float64 finds no solution.

    Gandikota et al., "Unified concept editing in diffusion models", WACV 2024 (arXiv:2308.14761), equation 7. Differs
    from the authors' code: the symmetric system is solved in float64, and nothing is inverted.
    """
    found = solved([weight], erase, guide, [preserve], Scales(lamb, erase_scale, preserve_scale))
    own = weight.double()
    return own + own @ found.shift.to(own)


class Scales(NamedTuple):
    """Of the closed form."""

    lamb: float
    erase: float
    preserve: float


class Solution(NamedTuple):
    """X of `W* = W + W X`, `[D, D]`, the same for every matrix, and the rows that it was solved for; float64, CPU."""

    shift: Tensor
    erase: Tensor
    guide: Tensor


def solved(
    weights: Sequence[Tensor],
    erase: Tensor,
    guide: Tensor,
    preserved: Iterable[Tensor],
    scales: Scales,
    rounds: int = 0,
    ridge: float = 0.1,
) -> Solution:
    """What `closed_form` does to every matrix, `X = s_e sum (g_i - e_i) e_i^T A^-1`; A is its symmetric matrix.

    Args:
        weights: W, `[out, D]` each; only their companions depend on them.
        erase, guide: rows `[n, D]`.
        preserved: rows `[., D]`, in as many parts as there are.
        scales: of the closed form.
        rounds: of companions, as `uce` says.
        ridge: of theirs.

    Raises:
        ConfigurationError: lamb is so small beside the rows that float64 finds no solution.
    """
    unit = torch.eye(erase.shape[1], dtype=torch.float64)
    kept = scales.lamb * unit + scales.preserve * sum(map(_squares, preserved), torch.zeros_like(unit))
    own = wanted = erase.detach().cpu().double()
    guides = taken = guide.detach().cpu().double()
    shift = _shift(wanted, taken, kept, scales)
    squares = sum(map(_squares, weights), torch.zeros_like(unit)) if rounds else unit
    for _ in range(rounds):
        now = unit + shift
        found = torch.linalg.solve(now.T @ squares @ now + ridge * unit, now.T @ squares @ own.T).T
        wanted, taken = torch.cat((wanted, found)), torch.cat((taken, guides))
        shift = _shift(wanted, taken, kept, scales)
    return Solution(shift, wanted, taken)


def _shift(erase: Tensor, guide: Tensor, kept: Tensor, scales: Scales) -> Tensor:
    system = scales.erase * erase.T @ erase + kept
    found, failed = torch.linalg.solve_ex(system, scales.erase * (guide - erase).T @ erase, left=False)
    if int(failed) or not bool(found.isfinite().all()):
        length = float(erase.square().sum(1).max())
        raise ConfigurationError(
            f"lamb={scales.lamb:g} is too small beside rows of squared length {length:.3g}: float64 finds no solution. "
            "Take a larger one."
        )
    return found


def _squares(rows: Tensor) -> Tensor:
    """`sum r r^T`, `[D, D]`, float64, on the CPU."""
    parts = (part.detach().cpu().double() for part in rows.split(_CHUNK))
    return sum((part.T @ part for part in parts), torch.zeros(2 * rows.shape[1:], dtype=torch.float64))


@torch.no_grad()
def edited(maps: Mapping[str, nn.Linear], solution: Solution, preserved: int) -> Edited:
    """Changes the matrices, in place."""
    change, left, before = {}, 0.0, 0.0
    for name, module in maps.items():
        place = torch.device("cpu") if module.weight.device.type == "mps" else module.weight.device  # no float64 there
        shift, erase, guide = (each.to(place) for each in solution)
        own = module.weight.to(place, torch.float64, copy=True)
        module.weight.copy_((own + own @ shift).to(module.weight.dtype))
        new, wanted = module.weight.to(place, torch.float64), guide @ own.T
        change[name] = _change(new, own)
        left += float((erase @ new.T - wanted).square().sum())
        before += float((erase @ own.T - wanted).square().sum())
    return Edited(change, len(solution.erase), preserved, left / before if before else 0.0)


@torch.no_grad()
def replaced(tables: Mapping[str, nn.Embedding], classes: Tensor, guides: Tensor, preserved: int) -> Edited:
    """Changes rows of the tables, in place.

    Raises:
        ConfigurationError: a class is not there.
    """
    most = int(torch.cat((classes, guides)).max())
    for name, table in tables.items():
        if most >= table.num_embeddings:
            last = table.num_embeddings - 1
            raise ConfigurationError(f"{name} knows {last + 1} conditions (0 to {last}); found {most}.")
    change = {}
    for name, table in tables.items():
        before = table.weight.clone()
        table.weight[classes.to(before.device)] = before[guides.to(before.device)]
        change[name] = _change(table.weight.double(), before.double())
    return Edited(change, len(classes), preserved, 0.0)


def _change(new: Tensor, old: Tensor) -> float:
    size = float(old.norm())
    return float((new - old).norm()) / size if size else float(new.any())
