"""One model of each kind and seed: from the cache, or trained or unlearned now."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unweave.audit import store
from unweave.audit.origin import Own, alone
from unweave.errors import ConfigurationError
from unweave.modalities.images.job import ImageJob
from unweave.modalities.images.recipe import ImageRecipe
from unweave.modalities.images.tensors import TensorImages
from unweave.modalities.images.training import record, with_weights
from unweave.run.environment import peak_memory
from unweave.run.identity import identity, resolve
from unweave.run.session import Session
from unweave.store import tensors_sha256

STRIDE = 1000
"""Between the seeds of two originals: far from those of the retrained models, which follow each other."""
UNDECIDING = ("evaluation.", "evidence.", "sequence.", "requests")


@dataclass(frozen=True, eq=False)
class World:
    """A recipe with its data: what every job of `unweave evidence` needs, in whatever process.

    Args:
        recipe: what to do.
        request: its data.
        references: weights of models that never saw the forget set, in the place of retraining.
        own: the run that is judged; it is number 0. None: all models are made.
    """

    recipe: ImageRecipe
    request: ImageJob
    references: tuple[Path, ...] = ()
    own: Own | None = None

    @property
    def originals(self) -> int:
        """Original models: one, where the recipe brings the weights."""
        return 1 if self.recipe.model.weights is not None else self.recipe.evidence.runs

    @property
    def retrained(self) -> int:
        """Models that never saw the forget set."""
        return len(self.references) or self.recipe.evidence.references

    def count(self, kind: str) -> int:
        """How many models of a kind."""
        runs = self.recipe.evidence.runs
        return {"original": self.originals, "retrained": self.retrained, "unlearned": runs}[kind]

    def seed(self, kind: str, number: int) -> int:
        """The seed of a model: of its training, or of its unlearning."""
        start = self.request.training.seed
        originals, retrained = start + STRIDE * number, start + 1 + number
        return {"original": originals, "retrained": retrained, "unlearned": self.recipe.run.seed + number}[kind]

    def told_seed(self, kind: str, number: int) -> int | None:
        """The same; None where a file holds the model."""
        given = self.weights(number) if kind == "original" else self.references if kind == "retrained" else None
        return None if given else self.seed(kind, number)

    def is_own(self, number: int) -> bool:
        """The original of this number is the one that the run started from."""
        return self.own is not None and (number == 0 or self.originals == 1)

    def weights(self, number: int) -> Path | None:
        """Those of an original that is not trained here."""
        return self.own.weights if self.own is not None and self.is_own(number) else self.recipe.model.weights

    def trained_with(self, number: int) -> ImageJob:
        """The request whose original model has this number."""
        number = number if self.originals > 1 else 0
        request = self.request if self.own is None or self.is_own(number) else alone(self.request)
        return replace(request, training=replace(request.training, seed=self.seed("original", number)))

    @cached_property
    def holdout_rows(self) -> Tensor:
        """Rows of the test set that are the holdout."""
        holdout = self.request.holdout
        return torch.arange(len(self.request.test)) if holdout is None else rows_of(holdout, self.request.test)

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


@dataclass(frozen=True, eq=False)
class Made:
    """A model, and how it came about: `{"kind", "seed", "sha256", "seconds", "cached"}`, more if it was unlearned."""

    model: nn.Module
    about: Mapping[str, Any]


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


def make(world: World, kind: str, number: int) -> Made:
    """The model of a kind and number.

    Raises:
        ConfigurationError: weights that the user gave do not fit.
    """
    return {"original": _original, "retrained": _retrained, "unlearned": _unlearned}[kind](world, number)


def is_there(world: World, kind: str, number: int) -> Mapping[str, Any] | None:
    """What the cache notes of a model (its `seconds` among it), or None if it has to be made."""
    request = world.request
    if kind == "unlearned" and number == 0 and world.own is not None:
        return world.own.about
    if kind == "original":
        if (file := world.weights(number)) is not None:
            return {"seconds": None, "sha256": tensors_sha256(with_weights(request.network, file).state_dict())}
        made = world.trained_with(number)
        return record(made.network, made.train, made.training)
    if kind == "retrained":
        if world.references:
            return {"seconds": None}
        training = replace(request.training, seed=world.seed(kind, number))
        return record(request.network, request.retain, training)
    first = is_there(world, "original", number)
    if first is None:
        return None
    return store.read_json(_key(world, number, str(first.get("sha256"))))


def _original(world: World, number: int) -> Made:
    there = is_there(world, "original", number)
    if world.own is not None and world.is_own(number):
        model = world.own.original(world.request)
    else:
        model = world.trained_with(number).opened(world.weights(number))
    return Made(model, _about(world, "original", number, model, is_there(world, "original", number), there))


def _retrained(world: World, number: int) -> Made:
    there = is_there(world, "retrained", number)
    if world.references:
        model = with_weights(world.request.network, world.references[number])
    else:
        model = world.request.retrained(world.seed("retrained", number))
    return Made(model, _about(world, "retrained", number, model, is_there(world, "retrained", number), there))


def _about(
    world: World, kind: str, number: int, model: nn.Module, noted: Mapping[str, Any] | None, there: Any
) -> dict[str, Any]:
    return {
        "kind": kind,
        "seed": world.told_seed(kind, number),
        "sha256": tensors_sha256(model.state_dict()),
        "seconds": None if noted is None else noted.get("seconds"),
        "cached": there is not None,
    }


def _unlearned(world: World, number: int) -> Made:
    """The unlearned model of an original, by the recipe's method, from a seed of its own."""
    if world.own is not None and number == 0:
        return Made(world.own.unlearned(world.request), {**world.own.about, "cached": True})
    original = make(world, "original", number).model
    noted = is_there(world, "original", number)
    key = _key(world, number, str((noted or {}).get("sha256")))
    kept = store.read_tensors(key)
    if kept is not None:
        model = world.request.network.build()
        model.load_state_dict(kept)
        return Made(model.eval(), (store.read_json(key) or {}) | {"cached": True})
    recipe, request = _seeded(world, number), world.trained_with(number)
    contract = recipe.contract
    asks = contract is not None and contract.asks_retrained
    begin = time.perf_counter()
    session = Session.start(recipe, request, original, make(world, "retrained", 0).model if asks else None)
    with session.parts.ready():
        result = session.parts.run(recipe.run.steps, repair=session.repair)
    seconds = time.perf_counter() - begin
    before, after = (tensors_sha256(m.state_dict()) for m in (original, session.model))
    outcome = result.contract
    about = {
        "kind": "unlearned",
        "seed": recipe.run.seed,
        "sha256": after,
        "changed": before != after,
        "seconds": seconds,
        "steps": result.progress.made,
        "ended": result.reason,
        "contract": [] if outcome is None else outcome.of(seconds).clauses(),
        "peak_memory_bytes": peak_memory(),
    }
    state = {name: tensor.detach() for name, tensor in session.model.state_dict().items()}
    store.keep_tensors(key, state, about)
    return Made(session.model.eval(), about | {"cached": False})


def _seeded(world: World, number: int) -> ImageRecipe:
    run = world.recipe.run.model_copy(update={"seed": world.seed("unlearned", number)})
    return world.recipe.model_copy(update={"run": run})


def _key(world: World, number: int, original: str) -> str:
    """Of an unlearned model: all that decides it."""
    resolved = resolve(_seeded(world, number), world.trained_with(number), Path())
    decides = {k: v for k, v in identity(resolved).items() if not k.startswith(UNDECIDING)}
    return store.fingerprint({"decides": decides, "original": original, "torch": torch.__version__.split("+")[0]})
