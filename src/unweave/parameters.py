"""Which weights may move: all, by name, or those that the forget loss is most sensitive to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from unweave.arguments import check
from unweave.errors import ConfigurationError, suggest
from unweave.modules import bare, differentiable, evaluating
from unweave.sharded import is_sharded, local, packed, sum_over_shards

_SHOWN = 8  # names in a message


UNTRAINED = "support_avx512bf16_for_cpu"
"""What a `Linear4bit` of bitsandbytes says where its pass on a CPU repacks weights, after which gradients are wrong."""


@contextmanager
def choose(model: nn.Module, selection: str | Sequence[str] | None = None) -> Iterator[nn.Module]:
    """Lets only the chosen parameters move inside the block; leaves `requires_grad` as it was found.

    Args:
        model: the model to unlearn.
        selection: None keeps the model's own `requires_grad`; "all" is every real or complex parameter;
            otherwise a shell-style pattern, or several, on the names of `named_parameters`: `"classifier.*"`,
            `["*.bias"]`.

    Raises:
        ConfigurationError: a pattern is no text, matches no parameter or only another name of one, nothing may move, or
            there is nothing that could: the weights are quantised, and no adapters are on them.
    """
    check({"parameters": patterns}, {"parameters": selection})
    own = bare(model)  # names as the user has them, not those of a wrapper
    named = [(n, p) for n, p in own.named_parameters() if p.is_floating_point() or p.is_complex()]
    before = [p.requires_grad for _, p in named]
    if not named:
        raise ConfigurationError(_none(own))
    chosen = before if selection is None else _matches([n for n, _ in named], selection, tied(own))
    if not any(chosen):
        raise ConfigurationError(
            "All parameters are frozen: nothing can be unlearned. Set requires_grad_(True) on those that may "
            'move, or choose them by name, for example parameters="all".'
        )
    if selection is None and (what := _quantised(own)) and not any("peft" in type(m).__module__ for m in own.modules()):
        raise ConfigurationError(
            f"The model is quantised ({what}) and has no adapters: only what was left in floating point, such as "
            "norms, could move. Put adapters on it (unweave.pretrained.adapt(model, Lora())), unlearn what it was made "
            "from and quantise the result, or name what may move: parameters=[...]."
        )
    packing = (m for m in own.modules() if getattr(m, UNTRAINED, False) and not m.training)
    if any(next(m.parameters()).device.type == "cpu" for m in packing):
        raise ConfigurationError(
            "bitsandbytes computes wrong gradients through 4-bit weights on this CPU in eval mode. Load the model with "
            "unweave.pretrained.load(..., quantised='nf4'), which turns that path off, or do so yourself: "
            f"m.{UNTRAINED} = False on every Linear4bit, before its first forward pass."
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
    sizes = torch.cat([local(g).abs().flatten() for g in total])

    def count(which: Tensor) -> int:
        found = which.sum()
        sum_over_shards(found, total[0])
        return int(found)

    if count(~sizes.isfinite()):
        raise ConfigurationError("mask: the gradient of the forget loss is not finite. Look for NaN in the data.")
    if not count(sizes != 0):
        raise ConfigurationError(
            "mask: the gradient of the forget loss is exactly 0, so no weight is salient: the model is certain of "
            "every forget example, beyond what its precision can tell. Run it in float64 (model.double(), and the "
            "inputs), or use a method without a mask, with a loss that does not saturate (random_label)."
        )
    # gamma by bisection over the bits of the magnitudes, which are in their order: nothing is sorted or gathered.
    bits = sizes.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[sizes.element_size()])
    kept = max(1, round(share * sum(g.numel() for g in total)))
    low, high = 0, torch.iinfo(bits.dtype).max
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if count(bits >= middle) >= kept else (low, middle - 1)
    gamma = float(torch.tensor(low, dtype=bits.dtype).view(sizes.dtype))
    return Mask(tuple((g.abs() >= gamma) & (g != 0) for g in total))


def batch_gradients(
    model: nn.Module,
    loss: Callable[[nn.Module, Any], Tensor],
    batches: Iterable[Any],
    parameters: Sequence[nn.Parameter],
) -> Iterator[tuple[list[Tensor], int]]:
    """The gradient of each batch's summed loss, and its number of examples; in eval mode, modes and buffers put back.

    Raises:
        ConfigurationError: there is no batch.
    """
    empty, sharded = True, is_sharded(model)
    with evaluating(model):
        for batch in batches:
            empty, values = False, loss(model, batch)
            differentiable(values, "given")
            total = values.sum()
            gradients = (
                _of_shards(total, parameters)
                if sharded
                else torch.autograd.grad(total, parameters, materialize_grads=True)
            )
            yield [g.to_dense().resolve_conj() for g in gradients], values.numel()
    if empty:
        raise ConfigurationError("There is no batch to take a gradient of: the data set is empty.")


def _of_shards(loss: Tensor, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """The gradient of FSDP2's parameters, which only a backward pass reduces: `autograd.grad` would give zeros."""
    before = [p.grad for p in parameters]
    for p in parameters:
        p.grad = None
    loss.backward()
    found = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    for p, gradient in zip(parameters, before, strict=True):
        p.grad = gradient
    return found


def _none(model: nn.Module) -> str:
    """What to say of a model without a parameter that could move."""
    whole = [n for n, t in (*model.named_parameters(), *model.named_buffers()) if not t.is_floating_point()]
    if what := _quantised(model) or next(iter(whole), ""):
        return (
            f"The model has no parameter that could move: its weights are quantised ({what}), and no gradient reaches "
            "integers. Unlearn the model that it was made from, in floating point, and quantise the result; or train "
            "adapters (LoRA) over it."
        )
    return "The model has no parameter: there is nothing to unlearn. Pass the trained module itself."


def _quantised(model: nn.Module) -> str:
    """A weight that is quantised, and how (torchao, bitsandbytes, torch.ao); nothing where none is."""
    for name, p in model.named_parameters():
        if packed(p):
            return f"{name} is {type(p).__name__}"
    return next((type(m).__name__ for m in model.modules() if ".quantized." in f"{type(m).__module__}."), "")


def tied(model: nn.Module) -> dict[str, str]:
    """Other names of parameters, as of a head that is the embedding, and the names that they go by."""
    first, tied = dict[int, str](), dict[str, str]()
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if (known := first.setdefault(id(parameter), name)) != name:
            tied[name] = known
    return tied


def patterns(name: str, selection: object) -> str:
    """What is wrong with a selection, whatever the model's parameters are called; nothing where nothing is."""
    if selection is None or isinstance(selection, str):
        return ""
    several = selection if isinstance(selection, Sequence | Set) else [selection]
    odd = [type(each).__name__ for each in several if not isinstance(each, str)]
    return f"{name} must be 'all' or patterns on names, such as 'head.*'; found {odd[0]}." if odd else ""


def _matches(names: Sequence[str], selection: str | Sequence[str], tied: Mapping[str, str]) -> list[bool]:
    wanted = [selection] if isinstance(selection, str) else list(selection)
    if wanted == ["all"]:
        return [True for _ in names]
    unmatched = [p for p in wanted if not any(fnmatchcase(n, p) for n in names)]
    if unmatched:
        raise ConfigurationError([_unknown(p, names, tied) for p in unmatched])
    return [any(fnmatchcase(n, p) for p in wanted) for n in names]


def _unknown(pattern: str, names: Sequence[str], tied: Mapping[str, str]) -> str:
    """What to say of a pattern that matches no parameter."""
    if found := [name for name in tied if fnmatchcase(name, pattern)]:
        own = tied[found[0]]
        return (
            f"No parameter is named {pattern!r} alone: {found[0]} is tied, one tensor shared with {own}. Choose "
            f"{own!r}, which moves both, or untie them first (tie_word_embeddings=False and a copy of the weight)."
        )
    known = f" Known: {', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}."
    return f"No parameter is named {pattern!r}.{suggest(pattern, names) or known}"


def _allow(named: Sequence[tuple[str, nn.Parameter]], may_move: Sequence[bool]) -> None:
    for (_, parameter), allowed in zip(named, may_move, strict=True):
        parameter.requires_grad_(allowed)
