"""One training set that several requests name records of: what a sequence and the ledger ask for beyond one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from unweave.contract.sets import halves
from unweave.data import sources
from unweave.data.images import Source, TensorImages
from unweave.data.text import Text
from unweave.evaluation.attacks import signals
from unweave.evaluation.outputs import predict
from unweave.evaluation.value import Array
from unweave.run import prepare
from unweave.run.job import Data, Job
from unweave.run.modality import IMAGES
from unweave.run.prepare import Request
from unweave.run.recipe import Recipe

Rows = NDArray[np.int64]
J = TypeVar("J", bound=Job)


@dataclass(frozen=True)
class Membership:
    """What an attacker reads of forget and unseen examples; higher says "was trained on".

    Attributes:
        forget, holdout: one signal of the model per example, `[n]` and `[h]`; no step was steered by the holdout.
        blind: features that no model made, `[n, ...]` and `[h, ...]`.
    """

    forget: Array
    holdout: Array
    blind: tuple[Array, Array]


class Records(Protocol[J]):
    """Of images `ImageRecords`, of texts `text.records.TextRecords`; `records` chooses."""

    def fingerprint(self) -> str:
        """SHA-256 of all records in their order: it says whether a row number means the same record."""
        ...

    def named(self, recipe: Recipe) -> Rows:
        """The rows that `recipe.forget` names, whatever earlier requests took."""
        ...

    def job(self, recipe: Recipe) -> J:
        """The recipe's request; earlier ones (`already`) have left neither side their rows."""
        ...

    def rows(self, job: J) -> Rows:
        """The rows that a job forgets."""
        ...

    def holding(self, jobs: Sequence[J], rows: tuple[Rows, Rows]) -> list[J]:
        """The same jobs with one guard and one final set: those rows of the last one's retain set."""
        ...

    def once_more(self, last: J, others: Sequence[J]) -> J:
        """The forget sets of others as one request; all else is the last one's."""
        ...

    def records(self, rows: Rows) -> TensorImages | Sequence[Text]:
        """The records in these rows, as they were given."""
        ...

    def apart(self, job: J) -> Sequence[Data]:
        """The sets that no forget example may be in."""
        ...

    def membership(self, job: J, model: nn.Module, seed: int) -> Membership | None:
        """What an attack reads; None without a holdout."""
        ...


@dataclass(frozen=True)
class ImageRecords:
    """The training images of a source."""

    source: Source

    def fingerprint(self) -> str:
        """Of the training images."""
        return self.source.train.fingerprint()

    def named(self, recipe: Recipe) -> Rows:
        """As the recipe's own splitting has it."""
        assert recipe.forget is not None
        return prepare.split_of(recipe.forget, self.source)[2].forget

    def job(self, recipe: Recipe) -> Request:
        """On the images that are there."""
        return prepare.request(recipe, self.source)

    def rows(self, job: Request) -> Rows:
        """Of the split."""
        return job.split.forget

    def holding(self, jobs: Sequence[Request], rows: tuple[Rows, Rows]) -> list[Request]:
        """By row of the training set."""
        guard, final = (jobs[-1].split.retain[part] for part in rows)
        return [replace(job, held=(guard, final)) for job in jobs]

    def once_more(self, last: Request, others: Sequence[Request]) -> Request:
        """With a holdout of the labels of all."""
        rows = np.unique(np.concatenate([other.split.forget for other in others]))
        return replace(
            last,
            text=f"{len(others)} earlier requests once more",
            split=replace(last.split, forget=rows),
            holdout=prepare.exchangeable(last.test, last.train.labels[rows]),
        )

    def records(self, rows: Rows) -> TensorImages:
        """Images and labels."""
        return self.source.train.subset(rows)

    def apart(self, job: Request) -> Sequence[Data]:
        """Retain and test set."""
        return job.retain, job.test

    def membership(self, job: Request, model: nn.Module, seed: int) -> Membership | None:
        """The loss, and the pixels."""
        if job.holdout is None:
            return None
        rows = halves(job.holdout, seed)[1]
        holdout = job.holdout if rows is None else job.holdout.subset(rows)
        outputs = [predict(model, job.task, data) for data in (job.forget, holdout)]
        forget, unseen = (signals(o.logits.numpy(), o.labels.numpy())["loss"] for o in outputs)
        return Membership(forget, unseen, (job.forget.images.numpy(), holdout.images.numpy()))


def records(recipe: Recipe) -> Records[Any]:
    """The training set that a recipe names.

    Raises:
        ConfigurationError: it cannot be read.
    """
    if recipe.data.source in IMAGES:
        return ImageRecords(sources.load(recipe.data.source, recipe.data.path))
    from unweave.run.text.records import text_records

    return text_records(recipe.data)
