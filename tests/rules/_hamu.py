"""HAMU's worked examples, and how to ask the rule for a step on flat raw gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unweave.gramian import gramian
from unweave.rules import HAMU

GUARANTEE = {"hamu-q": "forget", "hamu-u": "retain"}
VARIANTS = tuple(GUARANTEE)
SPLITS = ("norm_product", "uniform", "softmax", "joint")

# Three tensors of a model; the values are those of the specification's worked example, lr .1, Q = U = .02.
G_R = [np.array([0.3, 0.4]), np.array([0.1, -0.2, 0.2]), np.array([-0.6])]
G_F = [np.array([0.4, 0.3]), np.array([-0.2, 0.1, 0.2]), np.array([0.3])]


def hamu(variant: str, **options: Any) -> HAMU:
    """The rule of one variant."""
    return HAMU(guarantee=GUARANTEE[variant], **options)


def tensors(vectors: Sequence[Any]) -> list[Tensor]:
    """float64 tensors."""
    return [torch.as_tensor(np.asarray(v), dtype=torch.float64) for v in vectors]


def gram_of(g_r: Sequence[Any], g_f: Sequence[Any], index: Sequence[int]) -> Tensor:
    """The Gramian the rule sees under plain ascent: `g_u = -g_f`."""
    return gramian(([-f for f in tensors(g_f)], tensors(g_r)), index)


def steps(rule: HAMU, g_r: Sequence[Any], g_f: Sequence[Any], lr: float, index: Sequence[int]) -> list[Tensor]:
    """The weight change `-lr (w_f g_u + w_r g_r)` of every tensor."""
    w = rule.weights(gram_of(g_r, g_f, index))
    pairs = zip(tensors(g_r), tensors(g_f), index, strict=True)
    return [-lr * (w[b, 0] * -f + w[b, 1] * r) for r, f, b in pairs]
