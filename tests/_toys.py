"""A small classifier that memorised wrong labels, and the request to forget them: shared by the tests of whole runs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from unweave.objectives import Objectives
from unweave.results import Record
from unweave.tasks import Vision

CLASSES = 4
TORCHJD = {"mgda", "cagrad", "upgrad", "imtl_g", "aligned_mtl"}  # rows that need the package
TEXT_ONLY = {"dpo", "altpo", "rmu", "ce_u"}  # rows that ask for texts: catalogue/test_methods_on_text.py has them
DIFFUSION_ONLY = {"relabel_condition", "esd", "concept_ablation", "erase_diff", "selective_amnesia"}


class each_step:
    """A callback that gives every record and the objectives to a function."""

    def __init__(self, does: Callable[[Record, Objectives], object]) -> None:
        self.on_step = does


def network(*extra: nn.Module, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(8, 64), *extra, nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, CLASSES))


@cache
def _memorised() -> tuple[nn.Module, tuple[TensorDataset, TensorDataset, TensorDataset]]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(360) % CLASSES
    inputs = 2.0 * torch.eye(CLASSES, 8)[labels] + 0.7 * torch.randn(360, 8, generator=generator)
    forget, retain, test = torch.arange(360).split([30, 210, 120])
    labels[forget] = (labels[forget] + 1) % CLASSES  # wrong, and learned by heart
    model, seen = network(), torch.cat([forget, retain])
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        Vision().nll(model, (inputs[seen], labels[seen])).mean().backward()
        optimizer.step()
    model.requires_grad_(True).zero_grad(set_to_none=True)
    return model.eval(), tuple(TensorDataset(inputs[rows], labels[rows]) for rows in (forget, retain, test))


def memorised() -> tuple[nn.Module, TensorDataset, TensorDataset]:
    """A copy of the model, the 30 mislabelled examples and the 210 right ones."""
    model, (forget, retain, _) = _memorised()
    return copy.deepcopy(model), forget, retain


def unseen() -> TensorDataset:
    """120 examples, rightly labelled, that the model never saw."""
    return _memorised()[1][2]


@torch.no_grad()
def loss(model: nn.Module, data: TensorDataset) -> float:
    return float(Vision().nll(model, data.tensors).mean())


@torch.no_grad()
def accuracy(model: nn.Module, data: TensorDataset) -> float:
    inputs, labels = data.tensors
    return float((model(inputs).argmax(1) == labels).double().mean())


def weights(model: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters()]


def same(left: list[Tensor], right: list[Tensor]) -> bool:
    return all(a.equal(b) for a, b in zip(left, right, strict=True))
