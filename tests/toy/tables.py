"""A table of numbers, a task that is no likelihood, and what a run, a sequence and the ledger ask of them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from unweave.contract.sets import halves
from unweave.data.batches import Batch
from unweave.data.index_file import read_rows
from unweave.data.protocol import Indices
from unweave.data.splits import Split, by_index, by_random_fraction, without
from unweave.evaluation import Score
from unweave.evaluation.intervals import mean_interval
from unweave.evaluation.metric import Measurement, Metric
from unweave.modalities._base import Membership, Rows, Scored, Sheet
from unweave.modules import copied
from unweave.recipe.recipe import Recipe
from unweave.recipe.sections import ForgetSection, OpenSection
from unweave.store import atomically
from unweave.watch import Watch, silent

SIGMA, UNIT = 0.3, "squared error"  # of the noise in the built-in table, of the loss


@dataclass(frozen=True, eq=False)
class Table(Dataset[tuple[Tensor, Tensor]]):
    """Columns `[n, d]` and what is predicted from them, `[n]`: an `Examples`."""

    columns: Tensor
    targets: Tensor
    labels: None = None
    amounts: None = None

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor]:
        return self.columns[row], self.targets[row]

    def batch(self, indices: Indices) -> tuple[Tensor, Tensor]:
        rows = torch.as_tensor(indices, dtype=torch.int64)
        return self.columns[rows], self.targets[rows]

    def subset(self, indices: Indices) -> Table:
        return Table(*self.batch(indices))

    def digest(self, row: int) -> tuple[bytes, bool]:
        values = torch.cat([self.columns[row], self.targets[row][None]])
        return values.numpy().tobytes(), bool(values.isfinite().all())

    def repeated(self, row: int) -> bool:
        return False

    def fingerprint(self) -> str:
        return hashlib.sha256(self.columns.numpy().tobytes() + self.targets.numpy().tobytes()).hexdigest()


@dataclass(frozen=True)
class Regression:
    """One number for each row; what a network gets wrong is a squared error, and no likelihood."""

    unit = UNIT

    def nll(self, model: nn.Module, batch: Batch) -> Tensor:
        return (model(batch[0])[:, 0] - batch[1]).square()

    def divergence(self, model: nn.Module, reference: nn.Module, batch: Batch) -> Tensor:
        with torch.no_grad():
            target = reference(batch[0])[:, 0]
        return self.nll(model, (batch[0], target))

    def odds(self, model: nn.Module, batch: Batch) -> Tensor:
        """Of the normal noise: `p = exp(-error^2 / 2 sigma^2)` of being right."""
        return (self.nll(model, batch) / (2 * SIGMA**2)).clamp(1e-6).expm1().log()

    def score(self, model: nn.Module, batch: Batch) -> Tensor:
        return -self.nll(model, batch).sqrt()


def _metric(side: str) -> Metric:
    name, told = f"{side}_error", f"mean squared error on the {side} set"
    return Metric(name, told, UNIT, "as null", (0, math.inf), "example", "nothing more", "an error is not finite")


METRICS = {f"{side}_error": _metric(side) for side in ("forget", "retain", "test")}


@torch.no_grad()
def error(model: nn.Module, side: str, data: Table) -> Score:
    """The mean squared error on a set, with its interval."""

    values = Regression().nll(model, data.batch(range(len(data)))).double().numpy()
    found = Measurement(float(values.mean()), *mean_interval(values), n=len(values))
    return METRICS[f"{side}_error"].of({}, lambda: found)


@dataclass(frozen=True)
class Training:
    """How a network is trained: Adam, on batches of 50 rows."""

    epochs: int = 60
    lr: float = 0.01
    seed: int = 0

    def network(
        self, columns: int, data: Table | None = None, told: Callable[[int], None] = lambda _: None
    ) -> nn.Module:
        """Trained on the rows, if there are any; the global random state stays as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            made = nn.Sequential(nn.Linear(columns, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
            optimizer = torch.optim.Adam(made.parameters(), self.lr)
            for epoch in range(self.epochs) if data is not None else ():
                for rows in torch.randperm(len(data)).split(50):
                    optimizer.zero_grad()
                    Regression().nll(made, data.batch(rows)).mean().backward()
                    optimizer.step()
                told(epoch + 1)
        made.zero_grad(set_to_none=True)
        return made.eval()


@dataclass(frozen=True, eq=False)
class TableJob:
    """See `Job`; `held` are the rows of guard and final set, where those are given."""

    text: str
    table: Table
    holdout: Table
    split: Split
    training: Training
    forget: Table
    retain: Table
    held: tuple[Rows, Rows] | None = None
    task: Regression = field(default_factory=Regression)
    notes: tuple[str, ...] = ()
    looked: int = 300

    def prints(self) -> dict[str, str]:
        sets = {"train": self.table, "test": self.holdout, "forget": self.forget, **self.divided()[1]}
        return {name: data.fingerprint() for name, data in sets.items()}

    def resolved(self, recipe: Recipe) -> dict[str, Any]:
        return {"training": OpenSection(**asdict(self.training))}

    def divided(self) -> tuple[Table, dict[str, Table]]:
        if self.held is None:
            return self.retain, {}
        rest = self.table.subset(np.setdiff1d(self.split.retain, np.concatenate(self.held)))
        return rest, {name: self.table.subset(rows) for name, rows in zip(("guard", "final"), self.held, strict=True)}

    def opened(self, path: Path | None, watch: Watch = silent) -> nn.Module:
        if path is None:
            return self._trained(self.table, 0, "training the original", watch)
        model = self.training.network(self.table.columns.shape[1])
        model.load_state_dict(safetensors.torch.load_file(path if path.is_file() else next(path.rglob("model.*"))))
        return model

    def movable(self, model: nn.Module) -> nn.Module:
        return copied(model)

    def reference(self, number: int, watch: Watch = silent) -> nn.Module:
        return self._trained(self.retain, number, f"retraining without the forget set ({number})", watch)

    def reference_seconds(self) -> None: ...

    def retraining(self) -> tuple[None, int]:
        return None, self.training.epochs

    def scoring_seconds(self, model: nn.Module) -> None: ...

    def score(self, model: nn.Module, name: str = "", folder: Path | None = None, watch: Watch = silent) -> Scored:
        sets = ("forget", self.forget), ("retain", self.retain), ("test", self.holdout)
        return Scored({f"{side}_error": error(model, side, data) for side, data in sets})

    def gaps(self, sheet: Sheet, retrained: Sheet) -> Sheet:
        found = {name: (score.value or 0) - (retrained[name].value or 0) for name, score in sheet.items()}
        found["average_gap"] = float(np.mean(np.abs([*found.values()])))
        return {k: Score(replace(_metric(k), name=k), {"examples": len(self.forget)}, v) for k, v in found.items()}

    def save(self, model: nn.Module, folder: Path) -> None:
        atomically(folder / "model.safetensors", safetensors.torch.save(model.state_dict()))

    def rows(self, side: str) -> list[int]:
        sides = {"forget": self.split.forget, "retain": self.split.retain, "holdout": np.arange(len(self.holdout))}
        return sides[side].tolist()

    @torch.no_grad()
    def odds(self, model: nn.Module, side: str, places: Sequence[int]) -> Tensor:
        return self.task.odds(model, getattr(self, side).batch(list(places))).double()

    def shown(self, side: str, place: int) -> dict[str, Any]:
        columns, target = getattr(self, side)[place]
        return {"text": f"{', '.join(f'{each:.2f}' for each in columns.tolist())} -> {float(target):.2f}"}

    def memory(self) -> None: ...
    def leave(self, folder: Path) -> None: ...

    def _trained(self, data: Table, number: int, phase: str, watch: Watch) -> nn.Module:
        how = replace(self.training, seed=self.training.seed + number)
        return how.network(data.columns.shape[1], data, lambda epoch: watch(phase, epoch, how.epochs))


@dataclass(frozen=True)
class Records:
    """See `TrainingSet`."""

    table: Table
    holdout: Table

    @classmethod
    def of(cls, recipe: Recipe) -> Records:
        """A CSV file whose last column is predicted, or a built-in table: three quarters to train on, and the rest."""
        if recipe.data.path is not None:
            values = np.loadtxt(recipe.data.path, delimiter=",", skiprows=1)
        else:
            draws = np.random.default_rng(0)
            columns, noise = draws.normal(size=(800, 4)), SIGMA * draws.normal(size=800)
            values = np.column_stack([columns, np.sin(columns[:, 0]) + columns[:, 1] * columns[:, 2] + noise])
        numbers = torch.tensor(values, dtype=torch.float32)
        whole, cut = Table(numbers[:, :-1], numbers[:, -1]), 3 * len(numbers) // 4
        return cls(whole.subset(range(cut)), whole.subset(range(cut, len(whole))))

    def fingerprint(self) -> str:
        return self.table.fingerprint()

    def ids(self) -> None: ...
    def named(self, recipe: Recipe) -> Rows:
        return self._split(recipe.forget)[1].forget

    def job(self, recipe: Recipe) -> TableJob:
        (text, split), gone = self._split(recipe.forget), [self._split(each)[1].forget for each in recipe.already]
        split = without(split, np.concatenate(gone).tolist()) if gone else split
        sides = (self.table.subset(rows) for rows in (split.forget, split.retain))
        return TableJob(text, self.table, self.holdout, split, Training(**recipe.training.arguments), *sides)

    def rows(self, job: TableJob) -> Rows:
        return job.split.forget

    def holding(self, jobs: Sequence[TableJob], rows: tuple[Rows, Rows]) -> list[TableJob]:
        guard, final = (jobs[-1].split.retain[part] for part in rows)
        return [replace(job, held=(guard, final)) for job in jobs]

    def once_more(self, last: TableJob, others: Sequence[TableJob]) -> TableJob:
        rows = np.unique(np.concatenate([other.split.forget for other in others]))
        return replace(last, split=replace(last.split, forget=rows), forget=self.table.subset(rows))

    def digests(self, rows: Rows) -> list[bytes]:
        return [self.table.digest(row)[0] for row in rows]

    def apart(self, job: TableJob) -> Sequence[Table]:
        return job.retain, job.holdout

    def membership(self, job: TableJob, model: nn.Module, seed: int) -> Membership:
        unseen = self.holdout.subset(halves(self.holdout, seed)[1])
        sides = [data.batch(range(len(data))) for data in (job.forget, unseen)]
        with torch.no_grad():
            forget, holdout = (job.task.score(model, batch).double().numpy() for batch in sides)
        return Membership(forget, holdout, (job.forget.columns.numpy(), unseen.columns.numpy()))

    def _split(self, wanted: ForgetSection | None) -> tuple[str, Split]:
        assert wanted is not None, "a sequence asks for one request at a time"
        if wanted.indices is not None:
            return f"the rows in {wanted.indices.name}", by_index(read_rows(wanted.indices), len(self.table))
        share = wanted.random or 0.0
        return f"a random {100 * share:g} % of the table", by_random_fraction(len(self.table), share, wanted.seed)
