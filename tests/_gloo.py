"""A process group of tests, and a way out of it that neither hangs nor aborts."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

PATIENCE = timedelta(seconds=120)  # ranks that decide differently wait for ever


@contextmanager
def group(folder: Path, rank: int, world: int) -> Iterator[None]:
    """Ranks that talk by gloo inside; models over them must be gone at the end.

    A DDP model that is freed after the group was destroyed ends gloo's threads while it holds Python's lock, for which
    one of them may wait, to free what it sent last (torch 2.13): the process hangs, or aborts where the interpreter
    ends. So models go first. After an error nobody waits for anybody.
    """
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world, timeout=PATIENCE)
    yield
    gc.collect()
    left = [each for each in gc.get_objects() if isinstance(each, DistributedDataParallel)]
    assert not left, f"{len(left)} models are still there"
    dist.destroy_process_group()
