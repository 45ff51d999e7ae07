"""A process group of tests, and a way out of it that neither hangs nor aborts."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch.multiprocessing import start_processes
from torch.nn.parallel import DistributedDataParallel

PATIENCE = timedelta(seconds=120)  # ranks that decide differently wait for ever


@contextmanager
def group(folder: Path, rank: int, world: int) -> Iterator[None]:
    """Ranks that talk by gloo inside; models over them must be gone at the end.

    A DDP model that is freed after the group was destroyed ends gloo's threads while it holds Python's lock, for which
    one of them may wait, to free what it sent last (torch 2.13): the process hangs, or aborts where the interpreter
    ends. So models go first. After an error nobody waits for anybody.
    """
    warnings.simplefilter("default")  # FSDP2 has some, that are no faults of ours
    others = {id(each) for each in _wrapped()}  # of the process that this is a fork of
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world, timeout=PATIENCE)
    yield
    gc.collect()
    left = [each for each in _wrapped() if id(each) not in others]
    assert not left, f"{len(left)} models are still there"
    dist.destroy_process_group()


def ranks(worker: Callable[..., None], *arguments: Any, world: int = 2) -> None:
    """Runs `worker(rank, *arguments)` in so many forks of this process, which need not import torch once more."""
    start_processes(worker, arguments, nprocs=world, start_method="fork")


def _wrapped() -> list[DistributedDataParallel]:
    return [each for each in gc.get_objects() if issubclass(type(each), DistributedDataParallel)]
