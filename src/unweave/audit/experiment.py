"""A recipe and its data as an experiment: which models it takes, from which seeds, and what is read of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unweave.audit.attacks import OUT, UNLEARNED, thirds
from unweave.audit.attacks.ulira import Layout
from unweave.audit.finished_run import Own, Request
from unweave.audit.robustness import Relearning
from unweave.audit.runs import Margins
from unweave.data.splits import Split
from unweave.errors import ConfigurationError
from unweave.modalities.images.job import ImageJob
from unweave.modalities.images.tensors import TensorImages
from unweave.modalities.texts.job import TextJob
from unweave.run.environment import code_sha256
from unweave.store import cache_folder

KINDS = ("original", "retrained", "unlearned")
STRIDE = 1000
"""Between the seeds of two originals: far from those of the retrained models, which follow each other."""
SHADOWS = 500
"""Where the seeds of the shadows' trainings begin: between those of the originals."""


@dataclass(frozen=True, eq=False)
class Experiment:
    """What every piece of work of `unweave evidence` needs, in whatever process.

    Args:
        recipe: what to do.
        request: its data.
        references: weights of models that never saw the forget set, in the place of retraining.
        own: the run that is judged; it is number 0. None: all models are made.
    """

    recipe: Any
    request: Request
    references: tuple[Path, ...] = ()
    own: Own | None = None

    def count(self, kind: str) -> int:
        """How many models of a kind: one original, where the recipe brings the weights."""
        asked = self.recipe.evidence
        originals = 1 if self.recipe.model.weights is not None else asked.runs
        retrained = len(self.references) or asked.references
        return {"original": originals, "retrained": retrained, "unlearned": asked.runs, "shadow": asked.shadows}[kind]

    def seed(self, kind: str, number: int) -> int:
        """The seed of a model: of its training, or of its unlearning."""
        assert self.request.training is not None, "it is known how models are trained"
        start = self.request.training.seed
        originals, retrained = start + STRIDE * number, start + 1 + number
        return {"original": originals, "retrained": retrained, "unlearned": self.recipe.run.seed + number}[kind]

    def told_seed(self, kind: str, number: int) -> int | None:
        """The same; None where a file holds the model."""
        given = self.weights(number) if kind == "original" else self.references if kind == "retrained" else None
        return None if given else self.seed(kind, number)

    def is_own(self, number: int) -> bool:
        """The original of this number is the one that the run started from."""
        return self.own is not None and (number == 0 or self.count("original") == 1)

    def weights(self, number: int) -> Path | None:
        """Those of an original that is not trained here."""
        return self.own.weights if self.own is not None and self.is_own(number) else self.recipe.model.weights

    def trained_with(self, number: int) -> Request:
        """The request whose original model has this number."""
        number = number if self.count("original") > 1 else 0
        request = self.request if self.own is None or self.is_own(number) else alone(self.request)
        return request.seeded(self.seed("original", number))

    def shadow(self, number: int) -> Experiment:
        """That of one of U-LiRA's shadows: the original is trained on the records with coins IN and UNLEARNED."""
        fate, records = self.layout[number], np.asarray(self.request.split.forget)
        request = among(self.request, records[fate != OUT], records[fate == UNLEARNED])
        request = request.seeded(self.seed("original", 0) + SHADOWS + number)
        run = self.recipe.run.model_copy(update={"seed": self.recipe.run.seed + STRIDE + number})
        return Experiment(self.recipe.model_copy(update={"run": run}), request)

    @property
    def layout(self) -> Layout:
        """The coins of the shadows, `[shadows, records]`: a third of the models for each fate of every record."""
        return thirds(self.count("shadow"), len(self.request.forget), seed=self.recipe.evaluation.seed)

    @property
    def margins(self) -> Margins:
        """The gaps to retraining that do not matter."""
        points = self.recipe.evidence.margins.model_dump()
        return Margins(points, next(iter(points)))

    @property
    def relearning(self) -> Relearning:
        """The attacker who trains the model a little.

        Raises:
            ConfigurationError: the numbers of the recipe do not fit each other.
        """
        return Relearning(**self.recipe.evidence.relearning.model_dump(), seed=self.recipe.evaluation.seed)

    @property
    def sizes(self) -> dict[str, int]:
        """Of the two sets that attacks compare."""
        return {"forget set": len(self.request.forget), "holdout": len(holdout_of(self.request))}

    @cached_property
    def holdout_rows(self) -> Tensor:
        """Rows of the test set that are the holdout."""
        request = self.request
        assert isinstance(request, ImageJob), "of others nobody asks"
        return torch.arange(len(request.test)) if request.holdout is None else rows_of(request.holdout, request.test)

    @cached_property
    def retain_rows(self) -> Tensor:
        """Rows of the retain set that enter where not all of them can: as many as `evidence.retain_examples`."""
        n, most = len(self.request.retain), self.recipe.evidence.retain_examples
        generator = torch.Generator().manual_seed(self.recipe.evaluation.seed)
        return torch.arange(n) if n <= most else torch.randperm(n, generator=generator)[:most].sort().values

    @cached_property
    def prints(self) -> Mapping[str, str]:
        """Fingerprints of what is scored."""
        sets = {"train": self.request.train, "test": self.request.test, "forget": self.request.forget}
        return {name: data.fingerprint() for name, data in sets.items()}


def kept_at(about: Mapping[str, Any]) -> Path:
    """Where the cache keeps the tensors that plain data and this package's code decide; plain data beside it."""
    text = json.dumps({"code": code_sha256(), **about}, sort_keys=True, default=str)
    return cache_folder("evidence") / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.safetensors"


def holdout_of(request: Any) -> Any:
    """Unseen examples that are exchangeable with the forget set; the test set, where nobody made any.

    Of texts, those that steer no run.
    """
    return request.test if isinstance(request, TextJob) or request.holdout is None else request.holdout


def rows_of(part: TensorImages, whole: TensorImages) -> Tensor:
    """The row of `whole` that holds the image of each example of `part`, `[len(part)]`.

    Raises:
        ConfigurationError: an image that is not there.
    """
    place = {image.tobytes(): row for row, image in enumerate(whole.images.numpy())}
    rows = [place.get(image.tobytes(), -1) for image in part.images.numpy()]
    if missing := rows.count(-1):
        raise ConfigurationError(f"the holdout must be part of the test set; {missing} of {len(part)} are not in it")
    return torch.tensor(rows, dtype=torch.int64)


def alone(request: Request) -> Request:
    """The request on its own forget and retain set: rows that earlier requests took are in no training set."""
    return among(request, np.asarray(request.split.forget), np.asarray(request.split.forget))


def among(request: Request, trained: np.ndarray, forget: np.ndarray) -> Request:
    """A request whose training set is the retain set and some of the forget rows.

    Args:
        request: whose rows they are.
        trained: rows of its forget set that the original is trained on.
        forget: those of them that are to be forgotten.
    """
    rows = np.sort(np.concatenate([np.asarray(request.split.retain), trained]))
    gone = np.searchsorted(rows, np.sort(forget))
    split = Split(gone, np.setdiff1d(np.arange(len(rows)), gone))
    return request.within(rows, split)
