"""Runs of the toy problem under a contract, through the loop itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils.data import TensorDataset

from tests._toys import memorised, unseen
from unweave.contract import Contract, Keeper
from unweave.contract.bounds import level, upper
from unweave.contract.sets import Sets, hold_out
from unweave.data.pairs import Pairs
from unweave.loop import Result, unlearn
from unweave.losses import Ascent
from unweave.methods import METHODS, Method
from unweave.rules import Fixed
from unweave.tasks import Vision
from unweave.trust import TrustRegion

task = Vision()


def ascent(weight: float = 1.0) -> Method:
    """Gradient ascent, with nothing that protects the retain set."""
    return Method(Ascent(task.nll), task.nll, Fixed(weight, 0.0), "ours")


@dataclass(eq=False)
class Run:
    """Model, method, stepper, stream and keeper; the toy's wrong labels are to be forgotten."""

    contract: Contract
    method: str | Method = "hamu_q"
    lr: float | None = None
    seed: int = 0
    retrained: nn.Module | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.model, self.forget, retain = memorised()
        self.original = memorised()[0]
        keeps = self.contract.keeps("accuracy")
        self.train, self.sets = hold_out(
            self.contract, keeps, retain, forget=self.forget, holdout=wrong(unseen()), seed=self.seed
        )
        made = METHODS[self.method](task, self.original) if isinstance(self.method, str) else self.method
        self.made = made
        self.pairs = Pairs(self.forget, self.train, forget_batch=15, retain_batch=70, seed=self.seed)
        self.stepper: Any = TrustRegion()
        if self.lr is not None:
            self.stepper = torch.optim.SGD(self.model.parameters(), self.lr, momentum=0.9)
        self.keeper = Keeper(
            self.contract, task, self.sets, per_step=85, retrained=self.retrained, seed=self.seed, **self.extra
        )

    def go(self, steps: int = 40, **options: Any) -> Result:
        return unlearn(self.model, self.made, self.pairs, self.stepper, steps=steps, contract=self.keeper, **options)


def wrong(data: TensorDataset) -> TensorDataset:
    """Held-out examples with the wrong labels of the forget set's kind: exchangeable with it."""
    inputs, labels = data.tensors
    return TensorDataset(inputs, (labels + 1) % 4)


@torch.no_grad()
def worse(original: nn.Module, model: nn.Module, data: TensorDataset, metric: str) -> Any:
    """How much worse each example is, without the library's own reading."""
    inputs, labels = data.tensors
    found = []
    for each in (original, model):
        logits = each.eval()(inputs)
        loss = nn.functional.cross_entropy(logits, labels, reduction="none")
        found.append(-(logits.argmax(1) == labels).double() if metric == "accuracy" else loss.double())
    return (found[1] - found[0]).numpy()


def bound(run: Run, result: Result, metric: str) -> float:
    """The guard set's bound of the model that the run left."""
    alpha = level(run.contract.confidence, run.contract.shrinks + 1)
    assert isinstance(run.sets, Sets) and isinstance(run.sets.guard, TensorDataset)
    change = worse(run.original, result.model, run.sets.guard, metric)
    (clip,) = {
        clause.clip for clause in run.contract.keeps("accuracy") if metric in (clause.metric, "loss") and clause.clip
    } or {None}
    return upper(change, alpha, clip if metric != "accuracy" else None)
