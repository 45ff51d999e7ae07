"""Two gloo processes see the timesteps, noise and conditions that one process sees, and end at the same weights."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from tests._denoising import linear
from tests._gloo import group, ranks
from tests.catalogue.test_methods_on_diffusion import CLASSES, Plain, called, sets
from unweave.data.pairs import Pairs
from unweave.loop import unlearn
from unweave.methods import METHODS
from unweave.tasks import Diffusion

WORLD, STEPS = 2, 3
ROWS = ("relabel_condition", "esd", "concept_ablation", "erase_diff", "selective_amnesia", "hamu_q", "kl")


def outcome(wrap: Any, name: str, rank: int, world: int, micro: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    original = Plain().double()
    task = Diffusion(linear(10), null=CLASSES, dropout=0.3, looks=2, call=called)
    method = METHODS[name](task, original)
    model = wrap(copy.deepcopy(original))
    pairs = Pairs(sets()[0], sets()[1], forget_batch=6, retain_batch=12, micro=micro, rank=rank, world=world)
    result = unlearn(model, method, pairs, torch.optim.SGD(model.parameters(), 0.05), steps=STEPS)
    weights = [p.full_tensor() if hasattr(p, "full_tensor") else p.detach() for p in model.parameters()]
    return {
        "losses": torch.stack([r.step.losses for r in result.history]),
        "weights": torch.cat([w.flatten() for w in weights]),
    }


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    with group(Path(folder), rank, WORLD):
        mesh = init_device_mesh("cpu", (WORLD,))
        wraps = {"ddp": DistributedDataParallel, "fsdp2": lambda model: fully_shard(model, mesh=mesh)}
        found = {(kind, name): outcome(wrap, name, rank, WORLD, 2) for kind, wrap in wraps.items() for name in ROWS}
        torch.save(found, Path(folder, f"rank{rank}.pt"))


@pytest.mark.parametrize("name", ROWS)
def test_micro_batches_are_one_batch(name: str) -> None:
    whole = outcome(lambda model: model, name, 0, 1, 1)
    for micro in (2, 4):
        parts = outcome(lambda model: model, name, 0, 1, micro)
        for each in ("losses", "weights"):
            torch.testing.assert_close(
                parts[each], whole[each], rtol=1e-6, atol=1e-9, msg=lambda m, k=micro: f"{k}: {m}"
            )


@pytest.mark.slow
def test_two_ranks_are_one_process(tmp_path: Path) -> None:
    ranks(worker, str(tmp_path), world=WORLD)
    found = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=False) for rank in range(WORLD)]
    assert len(found[0]) == 2 * len(ROWS)
    for name in ROWS:
        alone = outcome(lambda model: model, name, 0, 1, 1)
        assert float(alone["losses"].abs().max()) > 0
        for kind in ("ddp", "fsdp2"):
            for rank in range(WORLD):
                for each in ("losses", "weights"):
                    torch.testing.assert_close(
                        found[rank][kind, name][each],
                        alone[each],
                        rtol=1e-6,
                        atol=1e-9,
                        msg=lambda m, k=kind, n=name: f"{n} under {k}: {m}",
                    )
