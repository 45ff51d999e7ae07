"""Random numbers by name: the n-th number of a seed, whoever asks for it, in whatever order."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar

import numpy as np
import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # as signed 64-bit integers, whose products wrap around
_FIRST, _SECOND = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64


_KEPT: ContextVar[bool] = ContextVar("kept", default=False)


@contextmanager
def kept_streams() -> Iterator[None]:
    """The global streams of Python and numpy go on afterwards as they were: `streams` need not see to it inside.

    Around the looks of a step: reading numpy's state takes longer than all else that a look does besides its passes.
    """
    python, other = random.getstate(), np.random.get_state()
    inside = _KEPT.set(True)
    try:
        yield
    finally:
        _KEPT.reset(inside)
        random.setstate(python)
        np.random.set_state(other)


@contextmanager
def streams(seed: int) -> Iterator[None]:
    """The global streams of Python and numpy from a seed; afterwards they go on as they were."""
    with nullcontext() if _KEPT.get() else kept_streams():
        inside = _KEPT.set(False)  # what seeds again inside finds them as it left them
        random.seed(seed)
        np.random.seed(seed & 0xFFFF_FFFF)
        try:
            yield
        finally:
            _KEPT.reset(inside)


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


def uniform(seeds: Tensor, shape: Sequence[int], first: int) -> Tensor:
    """Uniform in [0, 1), `[b, *shape]` in float64: places `first` to `first + d - 1` of each seed's stream.

    Args:
        seeds: one for each of b examples, int64.
        shape: of one example, of d numbers.
        first: place of the first number.
    """
    place = first + torch.arange(math.prod(shape))
    return ((numbers(seeds.cpu()[:, None], place[None]) >> 10).double() / 2**53).reshape(len(seeds), *shape)


def gaussian(seeds: Tensor, shape: Sequence[int], first: int = 1) -> Tensor:
    """Standard normals, `[b, *shape]` in float32, on the CPU: the same for a seed in any batch and for any device.

    Box and Muller: of the 2m uniform numbers from place `first` on, `m = ceil(d / 2)`, the first m give the radius
    `sqrt(-2 log(1 - u))` and the others the angle; cosines come first, then sines.

    Args:
        seeds: one for each of b examples, int64.
        shape: of one example, of d numbers.
        first: place of the first number in each seed's stream.
    """
    size = math.prod(shape)
    half = (size + 1) // 2
    u = uniform(seeds, (2 * half,), first)
    radius, angle = (-2 * torch.log1p(-u[:, :half])).sqrt(), 2 * math.pi * u[:, half:]
    both = torch.cat((radius * angle.cos(), radius * angle.sin()), 1)
    return both[:, :size].reshape(len(seeds), *shape).float()
