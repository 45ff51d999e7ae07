"""What a modality is, and what a run asks of it: the runner, the checkpoints and the contract know no more of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from unweave.evaluation import Score
from unweave.evaluation.metric import Array, Metric
from unweave.recipe.recipe import Recipe
from unweave.recipe.sections import ForgetSection, ModelSection
from unweave.recipe.yaml_lines import Document
from unweave.tasks import Task
from unweave.watch import Watch

Data = Dataset[Any]
Sheet = Mapping[str, Score]
Json = dict[str, Any]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Scored:
    """The scores of one model.

    Attributes:
        scores: by name.
        values: what some scores compare with the retrained model's; None where there are no such scores.
        compare: own values and the retrained model's to the scores that need both.
        warnings: what does not look right of a model that a run has moved.
    """

    scores: Sheet
    values: Any = None
    compare: Callable[[Any, Any], Sheet] | None = None
    warnings: tuple[str, ...] = ()

    def beside(self, retrained: Scored | None) -> Sheet:
        """The scores, with those that need a retrained model."""
        if self.compare is None or retrained is None:
            return self.scores
        return {**self.scores, **self.compare(self.values, retrained.values)}


class Job(Protocol):
    """Data, request, models and scores of one run."""

    @property
    def text(self) -> str:
        """The request in words."""
        ...

    @property
    def task(self) -> Task:
        """What the model does."""
        ...

    @property
    def forget(self) -> Data:
        """The examples to forget."""
        ...

    @property
    def retain(self) -> Data:
        """The examples to keep."""
        ...

    @property
    def holdout(self) -> Data | None:
        """Examples like those to forget that no model was trained on."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What the user has to know of the request."""
        ...

    @property
    def looked(self) -> int:
        """Retain examples that the quote looks at, at most."""
        ...

    def prints(self) -> dict[str, str]:
        """Fingerprints of all data, by name."""
        ...

    def resolved(self, recipe: Any) -> dict[str, Any]:
        """Sections of the recipe with what was chosen for the user written out."""
        ...

    def divided(self) -> tuple[Data, Mapping[str, Data]]:
        """The retain set, and guard and final set where those are given."""
        ...

    def opened(self, path: Path | None, watch: Watch) -> nn.Module:
        """The model in a run directory, in its `model` or the one file there; None: the one to unlearn."""
        ...

    def movable(self, model: nn.Module) -> nn.Module:
        """What a run moves: a copy of the model, or the model itself where a second one would cost too much."""
        ...

    def reference(self, number: int, watch: Watch) -> nn.Module | None:
        """A retrained model, the first or the second; None where there is none."""
        ...

    def reference_seconds(self) -> float | None:
        """How long the first retrained model took; None if nobody knows."""
        ...

    def retraining(self) -> tuple[float | None, int | None]:
        """Seconds of a retraining to be expected, and its epochs; None where unknown."""
        ...

    def scoring_seconds(self, model: nn.Module) -> float | None:
        """How long one model's scores will take, from a few passes taken now; None where nobody knows."""
        ...

    def score(self, model: nn.Module, name: str, folder: Path | None, watch: Watch) -> Scored:
        """All scores of a model; `folder` keeps what was computed of them, and is read again."""
        ...

    def gaps(self, sheet: Sheet, retrained: Sheet) -> Sheet:
        """How far a model is from the retrained one, in points."""
        ...

    def save(self, model: nn.Module, folder: Path) -> None:
        """Writes a model in the layout that it came in, all or nothing."""
        ...

    def rows(self, side: str) -> Sequence[int]:
        """The numbers by which reports call the examples of "forget", "retain" or "holdout"."""
        ...

    def odds(self, model: nn.Module, side: str, places: Sequence[int]) -> Tensor:
        """Log-odds of an error of the examples at these places of a side, `[n]`, nats."""
        ...

    def shown(self, side: str, place: int) -> Json:
        """One example for a report: `label` and `png`, or `text`."""
        ...

    def memory(self) -> str | None:
        """How much memory a step will need, in words, before anything large is loaded; None where nobody knows."""
        ...

    def leave(self, folder: Path) -> None:
        """Writes what else a report shows, once all models are scored."""
        ...


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


class TrainingSet(Protocol[J]):
    """One training set that several requests name records of: what a sequence and the ledger ask for beyond one run."""

    def fingerprint(self) -> str:
        """SHA-256 of all records in their order: it says whether a row number means the same record."""
        ...

    def ids(self) -> Sequence[str] | None:
        """Whose record each is, in their order; None where nobody says."""
        ...

    def named(self, recipe: Any) -> Rows:
        """The rows that `recipe.forget` names, whatever earlier requests took."""
        ...

    def job(self, recipe: Any) -> J:
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

    def digests(self, rows: Rows) -> Sequence[bytes]:
        """SHA-256 of the record in each of these rows, as it was given: what a certificate is about."""
        ...

    def apart(self, job: J) -> Sequence[Data]:
        """The sets that no forget example may be in."""
        ...

    def membership(self, job: J, model: nn.Module, seed: int) -> Membership | None:
        """What an attack reads; None without a holdout."""
        ...


@dataclass(frozen=True)
class Card:
    """What a model card says of an unlearned model.

    Attributes:
        task: as the Hugging Face Hub names it.
        scores: of the sheet; split, type and title of each.
        pipeline: whether the task is also said as `pipeline_tag`.
    """

    task: str
    scores: Mapping[str, tuple[str, str, str]]
    pipeline: bool = False


@dataclass(frozen=True)
class Front:
    """Which of its scores pages show first, wherever several stand.

    Attributes:
        figures: scores that most people ask for first, those of what was to be forgotten before what it cost.
        columns: scores of a table with one run a row.
        plane: forgetting and utility, two shares, as score -> title of its axis; empty for none.
    """

    figures: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    plane: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Modality:
    """A kind of data, with all that the rest of the library has to know of it. `MODALITIES` lists them.

    Attributes:
        name: in messages ("images"), and its key in `MODALITIES`.
        sources: what `data.source` of its recipes may be; no two modalities share one.
        recipe: the recipe with its own keys; `Recipe` itself where it has none.
        forget: its requests, `recipe.forget`; they have `indices` where the ledger is to run them.
        task: what the models of a recipe's document do. It says in which unit its loss is, what utility is judged by,
            and what attacks read (`tasks.Known`); recipes are checked against it.
        training: what the keys of a recipe's `training` belong to: called with them, and refuses what they cannot be.
        job: makes what a run works on, from a recipe with `forget`.
        training_set: opens what several requests name records of, for sequences and the ledger.
        faults: of a recipe's document, those that are not about one key alone, each with its file and line.
        left: a recipe's `model` on what a run left in a folder.
        examples: what its examples are called, as in "132 images".
        metrics: of its scores, by name; `unweave metrics` and the tables take direction and definition from here.
        card: what a model card says.
        front: which of its scores pages show first.
        retrained: the keys of a recipe that make a retrained model to compare with.
        places: keys of a recipe that decide no weight, or say where something lies that has a fingerprint: they may
            change before a run is resumed. Those that every recipe has are known.
        classes: whether a request may name a class.
        numbered: sources whose records a request can name by row, and so the ledger.
        over_trainings: whether `unweave evidence` knows how to compare several trainings (`audit.kits`).
        proxy: of a recipe, its job, guard and final set as places of the retain set, and a seed, a request like it
            among what it keeps: as many examples in the same mix, none of those two sets. The guard set is its guard
            set, the final set is on no side of it; its original is the job's, and its retrained models learn all but
            the proxy. None where nobody knows how (`unweave tune --by contract` needs none).
        logs: scores from files of values per example, and how they were formed; None where nobody writes such files.
    """

    name: str
    sources: tuple[str, ...]
    recipe: type[Recipe]
    forget: type[ForgetSection]
    task: Callable[[Document], Task]
    training: Callable[..., Any]
    job: Callable[[Any], Job]
    training_set: Callable[[Any], TrainingSet[Any]]
    faults: Callable[[Document], list[str]]
    left: Callable[[Any, Path], ModelSection]
    metrics: Mapping[str, Metric]
    card: Card
    front: Front = Front()
    examples: str = "examples"
    retrained: str = "evaluation.retrained: 1"
    places: tuple[str, ...] = ()
    classes: bool = False
    numbered: tuple[str, ...] = ()
    over_trainings: bool = False
    proxy: Callable[[Any, Any, Rows, Rows, int], Job] | None = None
    logs: Callable[[Sequence[Path], Any], Json] | None = None
