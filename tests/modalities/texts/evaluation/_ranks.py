"""What each of two processes does in `test_collect.py`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from tests._gloo import group
from tests.modalities.texts.evaluation import _tiny as tiny
from unweave.errors import UnsupportedError
from unweave.modalities.texts.evaluation import sheet
from unweave.modalities.texts.evaluation.collect import Part, collect
from unweave.modalities.texts.evaluation.forward import batch_of
from unweave.tasks import Language


def shares() -> dict[str, Part]:
    return {"forget": Part(tiny.some(7)), "holdout": Part(tiny.some(3, 0), gradient=True)}


def written() -> dict[str, Part]:
    """So unequal that the processes do not run as many passes."""
    return {"forget": Part(tiny.some(5), generate=6), "retain": Part(tiny.some(1, 0))}


def sharded_and_wrapped(folder: Path) -> dict[str, Any]:
    """A Llama under FSDP2 and under DDP; a sharded one is trained on afterwards."""
    model = tiny.llama()
    for block in model.model.layers:
        fully_shard(block)
    fully_shard(model)
    found: dict[str, Any] = {"FSDP2": collect(model, tiny.Characters(), written(), folder=folder / "sharded")}
    assert isinstance(next(model.parameters()), DTensor), "sharded again"
    Language().nll(model, batch_of([e.answer for e in tiny.some(2)])).mean().backward()
    assert all(isinstance(p.grad, DTensor) for p in model.parameters()), "and trains as before"
    found["again"] = collect(model, tiny.Characters(), written(), folder=folder / "sharded", batch_tokens=64)
    found["DDP"] = collect(DistributedDataParallel(tiny.llama()), tiny.Characters(), written())
    try:
        sheet(model, tiny.Characters(), written())
    except UnsupportedError as error:
        found["refused"] = str(error)
    return found


def worker(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    with group(Path(folder), rank, world):
        on_disk = collect(tiny.Plain(), tiny.Characters(), shares(), folder=Path(folder, "values"))
        in_memory = collect(tiny.Plain(), tiny.Characters(), shares())
        torch.save((on_disk, in_memory), f"{folder}/rank{rank}.pt")
        torch.save(sharded_and_wrapped(Path(folder)), f"{folder}/whole{rank}.pt")
