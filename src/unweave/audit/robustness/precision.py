r"""What is left of a small update when the weights are rounded: fake quantisation to a few bits.

    s = max |w| / (2^(bits - 1) - 1)  over a group of weights,    q = round(w / s),    w' = s q

Groups of 128 along a row of `[outputs, inputs ...]`, the last of a row shorter; symmetric, to the nearest even. Tensors
with one axis (biases, normalisation) and buffers keep their precision, as in weight-only quantisation.

An update smaller than half a bucket rounds away: the quantised unlearned model is the quantised original. 83 % of what
language models had "forgotten" came back at 4 bits (arXiv:2410.16454).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from unweave.errors import ConfigurationError
from unweave.evaluation.evidence import Metric
from unweave.gramian import real
from unweave.modules import copied

GROUP = 128
UNCHANGED = Metric(
    "unchanged",
    "share of the weights that, rounded, are in the bucket of the original's grid that the original's are in",
    *("share", "lower", (0, 1), "run", "the original's and the unlearned model's matrices", "one model by its weights"),
    *(
        "arXiv:2410.16454",
        "a retrained model's, from another start: 0.11 to 0.12 at int4 in docs/how-to-read-the-evidence.md",
    ),
)


@torch.no_grad()
def quantised(model: nn.Module, bits: int, group: int = GROUP) -> nn.Module:
    """A copy of the model whose matrices and kernels hold only `2^bits - 1` values per group.

    Args:
        model: any module; it stays as it is.
        bits: of a weight, 2 to 8.
        group: weights that share a scale.

    Raises:
        ConfigurationError: bits or group out of range.
    """
    if not (2 <= bits <= 8 and group >= 1):
        raise ConfigurationError(f"bits must be 2 to 8 and group at least 1; found bits={bits}, group={group}.")
    made = copied(model)
    for weight in _matrices(made):
        scale = _scale(weight, bits, group)
        weight.copy_(torch.where(scale > 0, (weight / scale).round() * scale, weight))
    return made


@torch.no_grad()
def unchanged(original: nn.Module, unlearned: nn.Module, bits: int, group: int = GROUP) -> float:
    """Share of the quantised weights that are in the bucket, of the original's grid, that the original's are in.

    Raises:
        ConfigurationError: the two models have different matrices.
    """
    same = total = 0
    pairs = list(_matrices(original)), list(_matrices(unlearned))
    if [w.shape for w in pairs[0]] != [w.shape for w in pairs[1]]:
        raise ConfigurationError("Buckets can be compared between models of one architecture only.")
    for before, after in zip(*pairs, strict=True):
        scale = _scale(before, bits, group)
        own, other = ((w / scale).round() for w in (before, after))
        same += int(torch.where(scale > 0, own == other, before == after).sum())
        total += before.numel()
    return same / total if total else 1.0


def _matrices(model: nn.Module) -> Iterator[Tensor]:
    return (real(p) for p in model.parameters() if p.ndim >= 2)


def _scale(weight: Tensor, bits: int, group: int) -> Tensor:
    """The scale of every weight, in its shape; 0 where a group is all zero."""
    rows = weight.flatten(1)
    width = rows.shape[1]
    padded = nn.functional.pad(rows.abs(), (0, -width % group)).unflatten(1, (-1, group))
    scale = padded.amax(2, keepdim=True).expand_as(padded).flatten(1)[:, :width]
    return (scale / (2 ** (bits - 1) - 1)).reshape(weight.shape)
