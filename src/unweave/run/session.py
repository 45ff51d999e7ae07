"""The moving parts of one unlearning, which a checkpoint holds."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from unweave.contract import Contract, Keeper, Sets
from unweave.contract.sets import Data, hold_out
from unweave.data.pairs import Pairs
from unweave.loop import Progress
from unweave.methods import METHODS, Method
from unweave.parameters import Mask, choose, saliency_mask
from unweave.run import checkpoint
from unweave.run.identity import check_same, identity
from unweave.run.prepare import Request
from unweave.run.recipe import Recipe
from unweave.run.steps import stepper
from unweave.trust import TrustRegion


@dataclass(eq=False)
class Session:
    """Model, method, step length and stream of pairs, at some step of a run.

    Attributes:
        recipe: resolved, as `identity.resolve` does.
        original: SHA-256 of the weights that it began with.
        progress: steps made so far, those of a resumed run included.
        seconds: how long the steps took that were made before this session.
        ended: why the loop ended; empty while it goes on, and when it was interrupted.
        keeper: of the contract, if the recipe has one.
        warnings: what the guards found.
    """

    recipe: Recipe
    model: nn.Module
    method: Method
    optimizer: torch.optim.Optimizer | TrustRegion
    pairs: Pairs
    original: str
    mask: Mask | None = None
    progress: Progress = field(default_factory=Progress)
    seconds: float = 0.0
    ended: str = ""
    keeper: Keeper | None = None
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def start(
        cls,
        recipe: Recipe,
        request: Request,
        original: nn.Module,
        retrained: nn.Module | None = None,
        first: nn.Module | None = None,
    ) -> Session:
        """At step 0, on a copy of the original.

        Args:
            recipe: resolved.
            request: the data.
            original: what is unlearned.
            retrained: for the forget clause of that name.
            first: what the keep clauses compare with, where it is not the original: the first one of a sequence.
        """
        model = copy.deepcopy(original).train(recipe.run.train_mode)
        settings = recipe.run
        retain, keeper = _kept(recipe, request, retrained, first)
        pairs = Pairs(
            request.forget,
            retain,
            forget_batch=settings.forget_batch,
            retain_batch=settings.retain_batch,
            micro=settings.micro,
            seed=settings.seed,
        )
        method = METHODS[recipe.method.name](request.task, original, **recipe.method.arguments)
        with choose(model, recipe.model.parameters):
            mask = None
            if method.saliency is not None:
                batches = DataLoader(request.forget, batch_size=settings.forget_batch)
                mask = saliency_mask(model, request.task.nll, batches, method.saliency)
            step = stepper(recipe.step, model, mask)
        before = checkpoint.tensors_sha256(original.state_dict())
        return cls(recipe, model, method, step, pairs, before, mask, keeper=keeper)

    def state(self, seconds: float = 0.0) -> dict[str, dict[str, Any]]:
        """Everything that going on from here needs, between two steps; `seconds` is how long this session's took."""
        return {
            "model": self.model.state_dict(),
            "step": self.optimizer.state_dict(),
            "rule": self.method.rule.state_dict(),
            "pairs": self.pairs.state_dict(),
            "contract": {} if self.keeper is None else self.keeper.state_dict(),
            "random": checkpoint.rng_state(),
            "run": {
                "progress": asdict(self.progress),
                "seconds": self.seconds + seconds,
                "ended": self.ended,
                "warnings": list(self.warnings),
                "identity": identity(self.recipe),
                "original": self.original,
                "machine": self._machine(),
            },
        }

    def restore(self, states: Mapping[str, dict[str, Any]]) -> None:
        """Continues where `state` was taken.

        Under other versions, or with other threads, the run goes on with a warning: numbers may differ in the last bit.

        Raises:
            ConfigurationError: the original model is not the one that the run began with.
        """
        run = states["run"]
        check_same({"original model": f"sha256 {run['original']}"}, {"original model": f"sha256 {self.original}"})
        here, there = self._machine(), run["machine"]
        if differs := [f"{key} {there.get(key)} -> {here[key]}" for key in here if here[key] != there.get(key)]:
            warnings.warn(
                f"resumed elsewhere ({', '.join(differs)}): weights may differ in the last bits from those of a run "
                "that was never interrupted",
                stacklevel=2,
            )
        self.model.load_state_dict(states["model"])
        self.optimizer.load_state_dict(states["step"])
        self.method.rule.load_state_dict(states["rule"])
        self.pairs.load_state_dict(states["pairs"])
        if self.keeper is not None:
            self.keeper.load_state_dict(states["contract"])
        self.progress, self.seconds, self.ended = Progress(**run["progress"]), run["seconds"], run["ended"]
        self.warnings = list(run["warnings"])
        checkpoint.set_rng_state(states["random"])

    def _machine(self) -> dict[str, Any]:
        return {key: value for key, value in self.recipe.environment.items() if key not in ("created", "data")}


def _kept(
    recipe: Recipe, request: Request, retrained: nn.Module | None, first: nn.Module | None
) -> tuple[Data, Keeper | None]:
    """What is left of the retain set to train on, and the keeper; all of it and None without a contract."""
    if recipe.contract is None:
        return request.retain, None
    settings, contract = recipe.run, recipe.contract.contract()
    retain, sets = contract_sets(contract, request, settings.seed)
    return retain, Keeper(
        contract,
        request.task,
        sets,
        per_step=settings.forget_batch + settings.retain_batch,
        retrained=retrained,
        first=first,
        seed=settings.seed,
    )


def contract_sets(contract: Contract, request: Request, seed: int) -> tuple[Data, Sets]:
    """What is left of the retain set to train on, and all sets that the contract reads."""
    keeps, retain, given = contract.keeps(logits=True), request.retain, {}
    if request.held is not None:
        rows = np.setdiff1d(request.split.retain, np.concatenate(request.held))
        retain = request.train.subset(rows)
        given = {name: request.train.subset(rows) for name, rows in zip(("guard", "final"), request.held, strict=True)}
    return hold_out(contract, keeps, retain, forget=request.forget, holdout=request.holdout, **given, seed=seed)
