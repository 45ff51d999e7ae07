"""What the cells will cost, from one epoch and a few steps of every method, taken before the first cell."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from methods import ENDS, unlearned
from world import World

T = TypeVar("T")
FEW, MORE = 2, 8  # steps: what a run costs apart from its steps is told from what they cost


def seconds(one: World, cells: int, methods: Sequence[str]) -> float:
    """Of one core, for all cells, if every method takes all of its steps: runs that end early make it less."""
    torch.set_num_threads(1)
    short = replace(one, training=replace(one.training, epochs=1))
    every = np.ones(len(one.records), dtype=bool)
    short.trained(every, 0)  # the first pass of a process is slow
    training, model = _timed(lambda: short.trained(every, 0))
    each = training * one.training.epochs * (1 + ("retrained" in methods))
    for name in (name for name in methods if name not in ENDS):
        few, more = (_timed(lambda name=name, n=n: _run(short, model, name, n))[0] for n in (FEW, MORE))
        each += few + max(0.0, more - few) / (MORE - FEW) * (one.size.steps - FEW)
    return cells * each


def _run(one: World, model: torch.nn.Module, name: str, steps: int) -> None:
    short = replace(one, size=replace(one.size, steps=steps))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        unlearned(short, model, name, short.records, short.base, seed=0)


def _timed(action: Callable[[], T]) -> tuple[float, T]:
    begin = time.process_time()
    found = action()
    return time.process_time() - begin, found
