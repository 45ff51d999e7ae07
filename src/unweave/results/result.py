"""What a run leaves, and how it says what came of it: printed, in a notebook, as a frame, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from torch import nn

from unweave.contract import Outcome
from unweave.contract.reading import NONE, Waypoint
from unweave.errors import UnsupportedError
from unweave.extras import needed
from unweave.results.picture import drawn
from unweave.results.record import Progress, Record
from unweave.watch import spoken

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

    from unweave.evaluation import Score
    from unweave.samples import Data
    from unweave.tasks import Task


class Called(Protocol):
    """What the one call was given, and what can be made of it and its result (`unweave.leaves.Call`)."""

    def scores(self, result: Result, test: Data | None = None) -> dict[str, dict[str, Score]]:
        """See `Result.scores`."""
        ...

    def save(self, result: Result, folder: Path, test: Data | None = None) -> Path:
        """See `Result.save`."""
        ...

    def report(self, result: Result, path: Path, test: Data | None = None) -> Path:
        """See `Result.report`."""
        ...


@dataclass
class Result:
    """What a run leaves.

    Attributes:
        model: the unlearned model.
        history: one record a step.
        reason: why the run ended.
        seconds: wall time of the loop.
        progress: counts, those of the run that was resumed included.
        contract: what came of the contract, if there was one.
        warnings: what does not look right, each with what to do (`unweave.guards`).
        task: what the model was taken to do, of the one call.
        changes: before and after, by what was measured: loss and accuracy on at most 500 examples of each side, in
            evaluation mode; of the one call.
        call: the original, the data and what else `scores`, `save` and `report` are made of; of the one call.
    """

    model: nn.Module = field(repr=False)
    history: list[Record] = field(default_factory=list, repr=False)
    reason: str = ""
    seconds: float = 0.0
    progress: Progress = field(default_factory=Progress)
    contract: Outcome | None = field(default=None, repr=False)
    warnings: list[str] = field(default_factory=list)
    task: Task | None = None
    changes: dict[str, tuple[float, float]] = field(default_factory=dict, repr=False)
    call: Called | None = field(default=None, repr=False)

    @property
    def steps(self) -> int:
        """Steps that moved the weights."""
        return sum(r.accepted for r in self.history)

    @property
    def skipped(self) -> int:
        """Steps with a non-finite loss or direction; they never reached the weights."""
        return sum(r.note.startswith("non-finite") for r in self.history)

    def __str__(self) -> str:
        """The state of the contract, before and after, what it took, and what does not look right."""
        return "\n".join([*self._judged, *self._changed, self._took, *(f"warning: {text}" for text in self.warnings)])

    def _repr_html_(self) -> str:
        """The same for a notebook."""
        head, *clauses = map(escape, self._judged)
        rows = [(name, *map(number, pair)) for name, pair in self.changes.items()]
        cells = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
        table = "".join(f"<tr>{row}</tr>" for row in ["<th></th><th>before</th><th>after</th>", *cells]) if rows else ""
        parts = [f"<p><b>{head}</b></p>", *(f"<p>{text}</p>" for text in clauses), table and f"<table>{table}</table>"]
        notes = [self._took, *(f"warning: {text}" for text in self.warnings)]
        return "".join([*parts, *(f"<p>{escape(text)}</p>" for text in notes)])

    def scores(self, test: Data | None = None) -> dict[str, dict[str, Score]]:
        """Every score of the original, the unlearned and, where the call was given one, the retrained model.

        Args:
            test: examples that the model was never trained on; None: the `holdout` of the call.

        Raises:
            ConfigurationError: there are no such examples.
            UnsupportedError: the result is not one of `unweave.unlearn`.
        """
        return self._called.scores(self, test)

    def save(self, folder: str | Path, test: Data | None = None) -> Path:
        """Writes the unlearned weights, the scores, the steps and the summary, as `unweave run` does.

        `unweave report FOLDER` makes the page of it. What was called with stands in its recipe.yaml; a recipe to be run
        it is not.

        Args:
            folder: new or empty.
            test: as for `scores`.

        Raises:
            ConfigurationError: the folder is in use; or as `scores`.
            UnsupportedError: the call unlearned the model itself (`inplace`), or as `scores`.
        """
        return self._called.save(self, Path(folder), test)

    def report(self, path: str | Path, test: Data | None = None) -> Path:
        """Writes the page of a run, one file; arguments as of `save`.

        Raises:
            ConfigurationError, UnsupportedError: as `save`.
        """
        return self._called.report(self, Path(path), test)

    @property
    def _called(self) -> Called:
        if self.call is None:
            raise UnsupportedError(
                "only a result of unweave.unlearn knows its original and its data; of a loop of your own use "
                "unweave.evaluation.score and save the model yourself"
            )
        return self.call

    def frame(self) -> pandas.DataFrame:
        """The history as a pandas frame, one row a step: `Record.numbers`, phase and note.

        Where the contract was read after a step, its row has `Waypoint.numbers`, too.

        Raises:
            UnsupportedError: pandas is not installed.
        """
        made: type[pandas.DataFrame] = needed("pandas", "pandas").DataFrame
        read = {point.step: point.numbers for point in self.path}
        rows = [
            {"step": r.number, "phase": r.phase} | r.numbers | read.get(r.number, {}) | {"note": r.note}
            for r in self.history
        ]
        return made(rows, columns=None if rows else ["step", "phase", "note"]).set_index("step")

    def plot(self) -> Figure:
        """A matplotlib figure: both objectives and the phases over the steps, and the contract against its limits."""
        return drawn(self.history, self.path)

    @property
    def path(self) -> Sequence[Waypoint]:
        """What the contract read on the way; empty without one."""
        return () if self.contract is None else self.contract.path

    @property
    def _judged(self) -> list[str]:
        return [f"{NONE}: nothing was judged"] if self.contract is None else str(self.contract).splitlines()

    @property
    def _changed(self) -> list[str]:
        rows = [(name, number(before), number(after)) for name, (before, after) in self.changes.items()]
        rows[:0] = [("", "before", "after")] * bool(rows)
        wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return [f"{a:{wide[0]}}  {b:>{wide[1]}}  {c:>{wide[2]}}" for a, b, c in rows]

    @property
    def _took(self) -> str:
        made = f"{self.progress.made} steps in {spoken(self.seconds)}"
        spent = {"refused or undone": self.progress.rejected, "not finite": self.progress.skipped}
        odd = ", ".join(f"{count} {name}" for name, count in spent.items() if count)
        return f"{made}{f' ({odd})' if odd else ''}: {self.reason}"


def number(value: float) -> str:
    """As it is printed."""
    return f"{value:.4g}"
