"""Which weights may move: all, by name, or those that the forget loss is most sensitive to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from unweave.arguments import check
from unweave.errors import ConfigurationError, suggest

_SHOWN = 8  # names in a message


@contextmanager
def choose(model: nn.Module, selection: str | Sequence[str] | None = None) -> Iterator[nn.Module]:
    """Lets only the chosen parameters move inside the block; leaves `requires_grad` as it was found.

    Args:
        model: the model to unlearn.
        selection: None keeps the model's own `requires_grad`; "all" is every floating-point parameter;
            otherwise a shell-style pattern, or several, on the names of `named_parameters`: `"classifier.*"`,
            `["*.bias"]`.

    Raises:
        ConfigurationError: a pattern is no text or matches no parameter, or nothing may move.
    """
    check({"parameters": patterns}, {"parameters": selection})
    named = [(n, p) for n, p in model.named_parameters() if p.is_floating_point()]
    before = [p.requires_grad for _, p in named]
    chosen = before if selection is None else _matches([n for n, _ in named], selection)
    if not any(chosen):
        raise ConfigurationError(
            "All parameters are frozen: nothing can be unlearned. Set requires_grad_(True) on those that may "
            'move, or choose them by name, for example parameters="all".'
        )
    _allow(named, chosen)
    try:
        yield model
    finally:
        _allow(named, before)


@dataclass(frozen=True)
class Mask:
    """Which entries of each parameter may move.

    Args:
        tensors: one bool tensor per trainable parameter, in the order of `named_parameters`.
    """

    tensors: tuple[Tensor, ...]

    @property
    def share(self) -> float:
        """The part of all entries that may move, in [0, 1]."""
        return sum(int(t.sum()) for t in self.tensors) / sum(t.numel() for t in self.tensors)

    @torch.no_grad()
    def apply(self, gradients: Sequence[Tensor]) -> None:
        """Sets the entries that may not move to 0, in place."""
        for gradient, mask in zip(gradients, self.tensors, strict=True):
            gradient.mul_(mask)


def saliency_mask(
    model: nn.Module,
    loss: Callable[[nn.Module, Any], Tensor],
    batches: Iterable[Any],
    share: float = 0.5,
) -> Mask:
    """The entries to which the forget loss is most sensitive: `m = 1[ |grad L_f(theta)| >= gamma ]`.

    gamma is the magnitude that leaves `share` of all entries: at 0.5 their median. Entries with a gradient of
    0 are never salient. The gradient is taken at the current weights, in eval mode, over all of `batches`.

    Args:
        model: its parameters with `requires_grad` are ranked together.
        loss: per-example forget loss `(model, batch) -> [b]`; its sign does not matter.
        batches: the forget set.
        share: part of the entries to keep, in (0, 1].

    Raises:
        ConfigurationError: the share is out of range, all parameters are frozen, there is no batch, or the gradient is
            zero everywhere or not finite somewhere.

    SalUn, Fan et al., ICLR 2024 (arXiv:2310.12508), equation 4; the authors' default is the median. Differs
    from the authors' code: ties at gamma are all kept, and dead entries never are, where a sort keeps an
    arbitrary part of both.
    """
    if not 0 < share <= 1:
        raise ConfigurationError(f"share must be in (0, 1]; found {share}.")
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ConfigurationError("All parameters are frozen: none can be salient. Choose some with `choose`.")
    total = [torch.zeros_like(p) for p in parameters]
    for gradients, _ in batch_gradients(model, loss, batches, parameters):
        torch._foreach_add_(total, gradients)
    sizes = torch.cat([g.abs().flatten() for g in total])
    if not (sizes.isfinite().all() and sizes.any()):
        raise ConfigurationError(
            "mask: the gradient of the forget loss is zero everywhere or not finite somewhere: no weight is salient. "
            "Look for NaN in the data, and for a model that is certain of all of it."
        )
    kept = max(1, round(share * sizes.numel()))
    threshold = sizes.kthvalue(sizes.numel() - kept + 1).values
    return Mask(tuple((g.abs() >= threshold) & (g != 0) for g in total))


def batch_gradients(
    model: nn.Module,
    loss: Callable[[nn.Module, Any], Tensor],
    batches: Iterable[Any],
    parameters: Sequence[nn.Parameter],
) -> Iterator[tuple[list[Tensor], int]]:
    """The gradient of each batch's summed loss, and its number of examples; in eval mode, undone at the end.

    Raises:
        ConfigurationError: there is no batch.
    """
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    empty = True
    try:
        for batch in batches:
            empty, values = False, loss(model, batch)
            total = values.sum()
            yield list(torch.autograd.grad(total, parameters, materialize_grads=True)), values.numel()
    finally:
        for module, training in modes:
            module.training = training
    if empty:
        raise ConfigurationError("There is no batch to take a gradient of: the data set is empty.")


def patterns(name: str, selection: object) -> str:
    """What is wrong with a selection, whatever the model's parameters are called; nothing where nothing is."""
    if selection is None or isinstance(selection, str):
        return ""
    several = selection if isinstance(selection, Sequence | Set) else [selection]
    odd = [type(each).__name__ for each in several if not isinstance(each, str)]
    return f"{name} must be 'all' or patterns on names, such as 'head.*'; found {odd[0]}." if odd else ""


def _matches(names: Sequence[str], selection: str | Sequence[str]) -> list[bool]:
    wanted = [selection] if isinstance(selection, str) else list(selection)
    if wanted == ["all"]:
        return [True for _ in names]
    unmatched = [p for p in wanted if not any(fnmatchcase(n, p) for n in names)]
    if unmatched:
        known = f" Known: {', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}."
        raise ConfigurationError([f"No parameter is named {p!r}.{suggest(p, names) or known}" for p in unmatched])
    return [any(fnmatchcase(n, p) for p in wanted) for n in names]


def _allow(named: Sequence[tuple[str, nn.Parameter]], may_move: Sequence[bool]) -> None:
    for (_, parameter), allowed in zip(named, may_move, strict=True):
        parameter.requires_grad_(allowed)
