"""What each of two processes does in `test_collect.py`."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from tests.evaluation.text import _tiny as tiny
from unweave.evaluation.text.collect import Part, collect


def shares() -> dict[str, Part]:
    return {"forget": Part(tiny.some(7)), "holdout": Part(tiny.some(3, 0), gradient=True)}


def worker(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/rendezvous", world)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=timedelta(seconds=120))
    on_disk = collect(tiny.Plain(), tiny.Characters(), shares(), folder=Path(folder, "values"))
    in_memory = collect(tiny.Plain(), tiny.Characters(), shares())
    torch.save((on_disk, in_memory), f"{folder}/rank{rank}.pt")
    dist.destroy_process_group()
