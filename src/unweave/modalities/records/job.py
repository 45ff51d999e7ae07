"""All that a recipe of records names, loaded and checked, and records that several requests name some of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from unweave.data.batches import answered, moved
from unweave.data.splits import Split
from unweave.errors import shown
from unweave.evaluation import gaps, score
from unweave.evaluation.gap import GAP_METRICS
from unweave.execution import device_of, seeded
from unweave.modalities import by_row
from unweave.modalities._base import Json, Rows, Scored, Sheet
from unweave.modalities.records.data import Records
from unweave.modalities.records.factories import file_of
from unweave.modalities.records.networks import Mlp, opened
from unweave.modalities.records.recipe import RecordsModel, RecordsRecipe, TaskSection
from unweave.modalities.records.tables import Source
from unweave.modalities.records.training import Trainer, Training
from unweave.modules import copied, evaluating
from unweave.recipe.sections import OpenSection
from unweave.store import atomically
from unweave.tasks import Known, Regression, Task
from unweave.watch import Watch, silent

READ = 512  # examples of one pass
SHORT = 8  # numbers of an example that a page shows


@dataclass(frozen=True, eq=False)
class RecordsJob:
    """Records, what is to be forgotten of them, and how models of them are trained.

    Attributes:
        text: the request in words.
        source: all records, and which of them are for what.
        train: those that rows are numbers of.
        seen: rows of `train` that the original is trained on.
        split: rows of `train` to forget and to retain.
        holdout: examples that no model was trained on, like those to forget; None where there are none.
        test: examples that no model was trained on.
        trainer: of the original and of retrained models; its task is the one that is learned.
        model: the recipe's section.
        stated: the task; None of a regression whose scale is to be estimated.
        retrains: whether it is known how models are trained.
        also: rows of `train` on no side that retrained models learn, too; of a proxy request.
        held: rows of `train` on which no step trains, guard and final set of the contract; None: taken from the retain
            set.
    """

    text: str
    source: Source
    train: Records
    seen: Rows
    split: Split
    holdout: Records | None
    test: Records
    trainer: Trainer
    model: RecordsModel
    stated: Task | None
    retrains: bool = True
    also: Rows | None = None
    held: tuple[Rows, Rows] | None = None
    scoring: int = 0
    notes: tuple[str, ...] = ()
    looked: int = 2000

    @cached_property
    def task(self) -> Task:
        """What the model does; of a regression without a scale, with that of the original's errors on the holdout."""
        if self.stated is not None:
            return self.stated
        return Regression.fitted(self.opened(self.model.weights), self.test if self.holdout is None else self.holdout)

    @property
    def training(self) -> Training:
        """How models are trained."""
        return self.trainer.how

    @property
    def network(self) -> Any:
        """What is trained."""
        return self.trainer.network

    @cached_property
    def forget(self) -> Records:
        """The examples to forget."""
        return self.train.subset(self.split.forget)

    @cached_property
    def retain(self) -> Records:
        """The examples to keep."""
        return self.train.subset(self.split.retain)

    @cached_property
    def without(self) -> Records:
        """What retrained models learn."""
        if self.also is None:
            return self.retain
        return self.train.subset(np.sort(np.concatenate([self.split.retain, self.also])))

    @cached_property
    def learned(self) -> Records:
        """What the original is trained on."""
        return self.train.subset(self.seen)

    def prints(self) -> dict[str, str]:
        """SHA-256 of the training, the test and the forget set, and of what is held out."""
        sets = {"train": self.learned, "test": self.test, "forget": self.forget}
        return by_row.prints(sets if self.holdout is None else {**sets, "holdout": self.holdout}, self.held)

    def resolved(self, recipe: RecordsRecipe) -> dict[str, Any]:
        """Training, task, and the files that were executed."""
        changes: dict[str, Any] = {"training": OpenSection(**asdict(self.training))}
        if recipe.task.factory is None:
            scale = getattr(self.task, "scale", None)
            changes["task"] = TaskSection.model_validate({"name": type(self.task).__name__.lower(), "scale": scale})
        for key in ("data", "model", "task"):
            made = changes.get(key, getattr(recipe, key))
            if made.factory is not None:
                changes[key] = made.model_copy(update={"sha256": file_of(made, key)[1]})
        return changes

    def divided(self) -> tuple[Records, dict[str, Records]]:
        """The retain set without what is held out, and that."""
        return by_row.divided(self.train, self.retain, self.split, self.held)

    def opened(self, path: Path | None, watch: Watch = silent) -> nn.Module:
        """The original, or the network with the weights of a file or folder."""
        if path is None:
            return self.trainer.model(self.learned, "training the original", watch)
        return opened(self.network, path, self.model)

    def movable(self, model: nn.Module) -> nn.Module:
        """A copy."""
        return copied(model)

    def reference(self, number: int, watch: Watch = silent) -> nn.Module | None:
        """Retrained from a seed of its own; None where nobody says how the weights were trained."""
        return self.retrained(self.training.seed + number, watch) if self.retrains else None

    def retrained(self, seed: int, watch: Watch = silent) -> nn.Module:
        """The network trained on the retain set alone, from the cache if it was before."""
        how = f"retraining without the forget set (seed {seed})"
        return self.seeded(seed).trainer.model(self.without, how, watch)

    def reference_seconds(self) -> float | None:
        """Of the first retrained model."""
        return self._seconds(self.training.seed + 1, without=True)

    def retraining(self) -> tuple[float | None, int | None]:
        """Of a retrained model that is there, or of the original by the share of examples."""
        if not self.retrains:
            return None, None
        seed, epochs = self.training.seed, self.training.epochs
        for each in range(seed, seed + 3):
            if (known := self._seconds(each, without=True)) is not None:
                return known, epochs
        known = self._seconds(seed)
        return None if known is None else known * len(self.retain) / len(self.seen), epochs

    def _seconds(self, seed: int, *, without: bool = False) -> float | None:
        found = self.noted(seed, without=without)
        return None if found is None else float(found["seconds"])

    def noted(self, seed: int, *, without: bool = False) -> Mapping[str, Any] | None:
        """What the cache notes of the model of this seed that was trained on all, or without the forget set."""
        return self.seeded(seed).trainer.noted(self.without if without else self.learned)

    def seeded(self, seed: int) -> RecordsJob:
        """The same, whose original is trained from this seed."""
        trainer = replace(self.trainer, how=replace(self.training, seed=seed))
        return replace(self, trainer=trainer, stated=vars(self).get("task", self.stated))

    def within(self, rows: Rows, split: Split) -> RecordsJob:
        """The same among these rows; `split` is of them."""
        whole, every = self.train.subset(rows), np.arange(len(rows))
        return replace(self, stated=self.task, train=whole, seen=every, split=split, held=None)

    def scoring_seconds(self, model: nn.Module) -> None:
        """Nobody looked."""

    def score(self, model: nn.Module, name: str = "", folder: Path | None = None, watch: Watch = silent) -> Scored:
        """On what it should have lost, what it should have kept, and unseen examples; nothing is kept."""
        sides = partial(score, forget=self.forget, retain=self.retain, test=self.test)
        return Scored(sides(model, self.task, seed=self.scoring))

    def gaps(self, sheet: Sheet, retrained: Sheet) -> Sheet:
        """In the scores that are shares; of a classifier in UA, RA, TA and the attack."""
        return gaps(sheet, retrained, compared(sheet))

    def save(self, model: nn.Module, folder: Path) -> None:
        """Writes `model.safetensors`, the state dict, and of a table `encoding.json`, which reads new rows alike."""
        tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
        atomically(folder / "model.safetensors", safetensors.torch.save(tensors))
        if self.source.encoding is not None:
            hidden = self.network.hidden if isinstance(self.network, Mlp) else None
            replace(self.source.encoding, hidden=hidden).save(folder)

    def rows(self, side: str) -> list[int]:
        """Those of the table, or of the factory's data set; of the holdout, their places."""
        if side == "holdout":
            return list(range(len(self.holdout or ())))
        return [int(row) for row in (self.split.forget if side == "forget" else self.split.retain)]

    def odds(self, model: nn.Module, side: str, places: Sequence[int]) -> Tensor:
        """As the task has them."""
        data = self._side(side)
        found = read(Known(self.task).odds, model, data.subset(np.asarray(places, dtype=np.int64)))
        return torch.from_numpy(found)

    def shown(self, side: str, place: int) -> Json:
        """What is read of a row, so not whose it is; of other data the answer, and what there is to see of the rest."""
        number = int(self._side(side).numbers[place])
        if self.source.rows and self._side(side).data is self.source.records.data:
            cells = self.source.rows[number]
            told = (f"{name} {'' if cells.get(name) is None else cells[name]}" for name in self.source.read)
            return {"text": ", ".join(told)}
        example = self._side(side)[place]
        pair = answered(example)
        inputs, answer = (example, "") if pair is None else pair
        return {"text": f"{_brief(inputs)} -> {_brief(answer)}"}

    def memory(self) -> None:
        """Nobody knows how much a network of the user's keeps."""

    def leave(self, folder: Path) -> None:
        """Records are in `examples.json` already."""

    def _side(self, side: str) -> Records:
        sides = {"forget": self.forget, "retain": self.retain, "holdout": self.holdout or self.test}
        return sides[side]


def compared(sheet: Sheet) -> Sequence[str]:
    """The scores of a sheet that models are compared by, all of them shares."""
    if all(name in sheet for name in GAP_METRICS):
        return GAP_METRICS
    return [name for name, each in sheet.items() if each.unit == "share"]


def read(value: Any, model: nn.Module, data: Records) -> np.ndarray:
    """What `(model, batch) -> [b]` says of every record, `[n]` in float64."""
    found = []
    with evaluating(model), torch.no_grad():
        for number, rows in enumerate(torch.arange(len(data)).split(READ)):
            with seeded(0, number):
                batch = moved(data.batch(rows), device_of(model))
                found.append(value(model, batch).cpu().double().numpy())
    return np.concatenate(found) if found else np.zeros(0)


def inputs_of(data: Records) -> np.ndarray:
    """What a model is given of every record but its answer, as numbers, `[n, d]`; no columns where that are none."""
    found = []
    for rows in torch.arange(len(data)).split(READ):
        pair = answered(batch := data.batch(rows))
        parts = _tensors(batch if pair is None else pair[0])
        tensors = [each.double().reshape(len(rows), -1) for each in parts if len(each) == len(rows)]
        found.append(torch.cat(tensors, 1).numpy() if tensors else np.zeros((len(rows), 0)))
    return np.concatenate(found) if found else np.zeros((0, 0))


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value] if value.ndim else []
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple | list) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def _brief(value: Any) -> str:
    if isinstance(value, Tensor):
        return str(value.tolist()) if value.numel() <= SHORT else f"{value.dtype} {list(value.shape)}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_brief(each)}" for name, each in value.items())
    return shown(value)
