"""Random numbers by name: the n-th number of a seed, whoever asks for it, in whatever order."""

from __future__ import annotations

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # as signed 64-bit integers, whose products wrap around
_FIRST, _SECOND = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64


def numbers(seed: int | Tensor, place: Tensor) -> Tensor:
    """The numbers at some places of the stream of a seed, uniform in [0, 2^63): int64, of the shape of `place`.

    splitmix64, whose state after n draws is known without making them: `mix(seed + (n + 1) gamma)`.

    Args:
        seed: of one stream, or of each place's own.
        place: int64, at least 0.

    Steele, Lea and Flood, Fast splittable pseudorandom number generators, OOPSLA 2014.
    """
    z = seed + (place + 1) * _GOLDEN
    z = (z ^ _shifted(z, 30)) * _FIRST
    z = (z ^ _shifted(z, 27)) * _SECOND
    return (z ^ _shifted(z, 31)) & torch.iinfo(torch.int64).max


def _shifted(z: Tensor, bits: int) -> Tensor:
    """To the right, zeros coming in: that of int64 would repeat the sign."""
    return (z >> bits) & (2 ** (64 - bits) - 1)
