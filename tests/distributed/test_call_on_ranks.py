"""The one call on two ranks gives what it gives in one process: labels, texts, adapters and denoisers.

The model is sharded (FSDP2) and copied by the call, as the losses that need the original copy it; or wrapped in DDP; or
neither, where every rank loaded the same weights.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import TensorDataset

import unweave
from tests._denoising import linear
from tests._gloo import group, ranks
from tests._texts import llama, lora
from tests.catalogue.test_methods_on_diffusion import CLASSES, Plain, called, sets
from tests.catalogue.test_methods_on_text import rows
from unweave.tasks import Diffusion

WORLD = 2
ROWS: dict[str, list[str]] = {  # of the catalogue, what copies the original, masks, looks inside, or draws
    "labels": ["bad_teacher", "hamu_q", "kl", "random_label", "salun", "scrub", "undial"],
    "texts": ["dpo", "hamu_q", "npo", "rmu", "salun"],
    "adapters": ["npo"],
    "new adapters": ["npo"],
    "denoiser": ["esd", "relabel_condition"],
}
UNSHARDED = (
    ("ddp", "labels", "hamu_q"),
    ("plain", "labels", "salun"),
    ("ddp", "texts", "rmu"),
    ("plain", "texts", "dpo"),
)
CASES = [("fsdp2", kind, name) for kind, names in ROWS.items() for name in names] + list(UNSHARDED)
BATCHES: dict[str, Any] = {"forget_batch": 5, "retain_batch": 7, "micro": 2}
ASKED: dict[str, dict[str, Any]] = {  # of every kind what else the call can be told
    "labels": {"parameters": ["2.*", "4.*"], "repair": True},
    "texts": {"step": lambda parameters: torch.optim.SGD(parameters, 0.05)},
    "adapters": {"step": lambda parameters: torch.optim.SGD(parameters, 0.05)},
    "new adapters": {"step": lambda parameters: torch.optim.SGD(parameters, 0.05)},
    "denoiser": {},
}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 3))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "labels": network,
    "texts": lambda: llama().requires_grad_(True),
    "adapters": lambda: lora(llama(), started=True),
    "new adapters": lambda: lora(llama()),
    "denoiser": Plain,
}


def labelled() -> tuple[TensorDataset, TensorDataset]:
    generator = torch.Generator().manual_seed(1)
    x, y = torch.randn(60, 5, dtype=torch.float64, generator=generator), torch.randint(3, (60,), generator=generator)
    return TensorDataset(x[:20], y[:20]), TensorDataset(x[20:], y[20:])


def outcome(wrap: Callable[[nn.Module], nn.Module], kind: str, name: str) -> list[Tensor]:
    """The weights that the call leaves in its copy; the model itself has not moved."""
    torch.manual_seed(0)
    model = wrap(MODELS[kind]().double())
    before = [p.detach().clone() for p in model.parameters()]
    task: Any = "classification" if kind == "labels" else "language"
    if kind == "denoiser":
        task = Diffusion(linear(10), null=CLASSES, dropout=0.3, looks=2, call=called)
        forget, retain = sets()[:2]
    else:
        forget, retain = labelled() if kind == "labels" else (rows(8, 1), rows(16, 2))
    asked = {} if (kind, name) == ("labels", "salun") else ASKED[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = unweave.unlearn(
            model, forget=forget, retain=retain, task=task, method=name, steps=2, progress=False, **BATCHES, **asked
        )
    assert all(a.equal(b) for a, b in zip(map(part, model.parameters()), map(part, before), strict=True))
    return [(p.full_tensor() if hasattr(p, "full_tensor") else p).detach().clone() for p in result.model.parameters()]


def part(tensor: Any) -> Tensor:
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def sharded(model: nn.Module) -> nn.Module:
    """One layer by itself, the rest with the root."""
    mesh = init_device_mesh("cpu", (WORLD,))
    inner = next(m for m in list(model.modules())[1:] if isinstance(m, nn.Linear) or "DecoderLayer" in type(m).__name__)
    fully_shard(inner, mesh=mesh)
    return fully_shard(model, mesh=mesh)


WRAPS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "ddp": DistributedDataParallel,
    "fsdp2": sharded,
    "plain": copy.deepcopy,
}


def worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    with group(Path(folder), rank, WORLD):
        torch.save({case: outcome(WRAPS[case[0]], *case[1:]) for case in CASES}, Path(folder, f"rank{rank}.pt"))


@pytest.mark.slow
def test_two_ranks_are_one_process(tmp_path: Path) -> None:
    ranks(worker, str(tmp_path), world=WORLD)
    found = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=False) for rank in range(WORLD)]
    alone: dict[tuple[str, str], list[Tensor]] = {}
    for case in CASES:
        _, kind, name = case
        if (kind, name) not in alone:
            alone[kind, name] = outcome(lambda model: model, kind, name)
            start = [p.detach() for p in MODELS[kind]().double().parameters()]
            moved = zip(alone[kind, name], start, strict=True)
            assert not all(a.equal(b) for a, b in moved), f"{name} on {kind} moved nothing"
        for rank in range(WORLD):
            for a, b in zip(found[rank][case], alone[kind, name], strict=True):
                rounding = 1e-9 if kind in ("labels", "denoiser") else 1e-6  # a Llama's norms are float32 throughout
                torch.testing.assert_close(
                    a, b, rtol=1e-6, atol=rounding, msg=lambda m, c=case, r=rank: f"{c} on rank {r}: {m}"
                )
    assert len(alone) == sum(map(len, ROWS.values()))
