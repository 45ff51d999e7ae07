"""What a run works on, whatever the modality: the runner, the checkpoints and the contract know no more of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn
from torch.utils.data import Dataset

from unweave.evaluation import Score
from unweave.evaluation.text import Log, log_scores
from unweave.run.recipe import Recipe
from unweave.run.watch import Watch
from unweave.tasks import Task

Data = Dataset[Any]
Sheet = Mapping[str, Score]
Json = dict[str, Any]


@dataclass(frozen=True)
class Scored:
    """The scores of one model; with a log, some of them compare it with a retrained model's."""

    scores: Sheet
    log: Log | None = None

    def beside(self, retrained: Scored | None) -> Sheet:
        """The scores, with those that need a retrained model."""
        if self.log is None or retrained is None or retrained.log is None:
            return self.scores
        return log_scores(self.log, retrained.log)


class Job(Protocol):
    """Data, request, models and scores of one run: of images `prepare.Request`, of texts `text.job.TextJob`."""

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

    def resolved(self, recipe: Recipe) -> dict[str, Any]:
        """Sections of the recipe with what was chosen for the user written out."""
        ...

    def divided(self) -> tuple[Data, Mapping[str, Data]]:
        """The retain set, and guard and final set where those are given."""
        ...

    def opened(self, path: Path | None, watch: Watch) -> nn.Module:
        """The model in a folder that a run left; None: the one to unlearn."""
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

    def score(self, model: nn.Module, name: str, folder: Path | None) -> Scored:
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
