"""The moving parts of one unlearning, which a checkpoint holds."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from unweave import stopping
from unweave.data.pairs import Pairs
from unweave.errors import ConfigurationError
from unweave.loop import Stop
from unweave.methods import METHODS, Method
from unweave.parameters import Mask, choose, saliency_mask
from unweave.run import checkpoint
from unweave.run.prepare import Request
from unweave.run.recipe import Recipe
from unweave.run.steps import stepper
from unweave.trust import TrustRegion

SECTIONS = ("data", "forget", "model", "training", "method", "step")
"""What must be as it was for a run to be resumed."""


@dataclass(eq=False)
class Session:
    """Model, method, step length and stream of pairs, at some step of a run.

    Attributes:
        before: steps that the run had made when this session began.
        seconds: how long they took.
    """

    recipe: Recipe
    model: nn.Module
    method: Method
    optimizer: torch.optim.Optimizer | TrustRegion
    pairs: Pairs
    mask: Mask | None = None
    before: int = 0
    seconds: float = 0.0

    @classmethod
    def start(cls, recipe: Recipe, request: Request, original: nn.Module) -> Session:
        """At step 0, on a copy of the original."""
        model = copy.deepcopy(original).train(recipe.run.train_mode)
        settings = recipe.run
        pairs = Pairs(
            request.forget,
            request.retain,
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
            return cls(recipe, model, method, stepper(recipe.step, model, mask), pairs, mask)

    def criteria(self, request: Request) -> list[Stop]:
        """When forgetting is enough."""
        until = self.recipe.run.until
        if until is None:
            return []
        if until == "unseen":
            return [stopping.membership(self.model, request.task, request.forget, request.test)]
        return [stopping.forget_accuracy(self.model, request.task, request.forget, until)]

    def state(self, steps: int, seconds: float) -> dict[str, dict[str, Any]]:
        """Everything that continuing after `steps` more steps needs."""
        return {
            "model": self.model.state_dict(),
            "step": self.optimizer.state_dict(),
            "rule": self.method.rule.state_dict(),
            "pairs": self.pairs.state_dict(),
            "random": checkpoint.rng_state(),
            "run": {
                "steps": self.before + steps,
                "seconds": self.seconds + seconds,
                "recipe": self._identity(),
            },
        }

    def restore(self, states: Mapping[str, dict[str, Any]]) -> None:
        """Continues where `state` was taken.

        Raises:
            ConfigurationError: the recipe is not the one that the checkpoint was made with.
        """
        run = states["run"]
        own = self._identity()
        if changed := [name for name in own if own[name] != run["recipe"][name]]:
            raise ConfigurationError(
                f"the checkpoint was made with another recipe: {', '.join(changed)} changed since. "
                "Use the recipe of the run directory, or start again with --overwrite."
            )
        self.model.load_state_dict(states["model"])
        self.optimizer.load_state_dict(states["step"])
        self.method.rule.load_state_dict(states["rule"])
        self.pairs.load_state_dict(states["pairs"])
        checkpoint.set_rng_state(states["random"])
        self.before, self.seconds = run["steps"], run["seconds"]

    def _identity(self) -> dict[str, Any]:
        return self.recipe.model_dump(mode="json", by_alias=True, include=set(SECTIONS))
