"""From a recipe of records to its job: data, task, network, request; and records that several requests name some of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from unweave.contract.sets import halves
from unweave.data.batches import answered
from unweave.data.checks import check_apart, check_overlap
from unweave.data.splits import Split, without
from unweave.errors import ConfigurationError, gathered, of_set, told
from unweave.guards.answers import check_answers
from unweave.modalities import by_row
from unweave.modalities._base import Data, Membership, Rows
from unweave.modalities.records import sources
from unweave.modalities.records.data import Records, classed
from unweave.modalities.records.factories import LOG, about, call
from unweave.modalities.records.job import RecordsJob, inputs_of, read
from unweave.modalities.records.networks import Mlp, Network, Own
from unweave.modalities.records.recipe import RecordsRecipe
from unweave.modalities.records.requests import Asked, asked
from unweave.modalities.records.tables import Source
from unweave.modalities.records.training import Trainer, Training, from_elsewhere
from unweave.modules import evaluating
from unweave.recipe.open_sections import check_method
from unweave.tasks import Classification, Dense, Known, Language, MultiLabel, Regression, Task, guessed

PLAIN: dict[str, Callable[[], Task]] = {
    "classification": Classification,
    "multilabel": MultiLabel,
    "dense": Dense,
    "language": Language,
}
LOOKED = 500  # examples that a task is guessed from, and targets' spread is taken of


def request(recipe: RecordsRecipe, source: Source | None = None) -> RecordsJob:
    """Loads the records of a recipe, if they are not given, and splits them as it asks.

    Raises:
        ConfigurationError: the data cannot be read, code cannot be executed, or the request or the method does not fit.
    """
    source = sources.load(recipe) if source is None else source
    wanted = recipe.forget
    assert wanted is not None, "a sequence asks for one request at a time"
    network = _network(recipe, source)
    lesson, stated = _task(recipe, source, network)
    if recipe.task.name == "auto" and recipe.task.factory is None:
        LOG.info("task: auto took %s", type(lesson).__name__.lower())
    if Known(lesson).classed and source.records.known is None:
        source = replace(
            source, records=classed(source.records), holdout=classed(source.holdout), test=classed(source.test)
        )
    this, *others, _ = gathered(
        *(partial(asked, each, source) for each in (wanted, *recipe.already)),
        partial(check_method, recipe.method, lesson),
    )
    split = Split(this.rows, np.setdiff1d(source.seen, this.rows))
    split = without(split, np.concatenate([each.rows for each in others]).tolist()) if others else split
    retrains = bool(recipe.training.arguments) or not from_elsewhere(recipe.model.weights)
    gathered(
        *(
            partial(check_answers, lesson, name, each, 0)
            for name, each in (("train", source.records), ("holdout", source.holdout), ("test", source.test))
        )
    )
    job = RecordsJob(
        this.text,
        source,
        source.records,
        source.seen,
        split,
        _holdout(this, source, split),
        source.test,
        Trainer(network, lesson, Training(**recipe.training.arguments), about(recipe.task, "task")),
        recipe.model,
        stated,
        retrains,
        scoring=recipe.evaluation.seed,
        notes=(*this.notes, *_spellings(source), *_twins(source, split), *_alone(source, split)),
    )
    if not retrains:
        if recipe.contract is not None and recipe.contract.asks_retrained:
            raise ConfigurationError(
                "contract: 'retrained' needs a model that is trained without the forget set, and model.weights come "
                "from elsewhere: say in 'training' how they were trained"
            )
        if recipe.evaluation.retrained:
            text = "no model is retrained to compare with: say in `training` how model.weights were trained."
            job = replace(job, notes=(*job.notes, text))
    return job


def _network(recipe: RecordsRecipe, source: Source) -> Network:
    model = recipe.model
    if model.factory is not None:
        return Own(model, source.inputs, source.outputs)
    assert source.inputs is not None and source.outputs is not None, "the recipe has seen to it"
    return Mlp(source.inputs, source.outputs, model.hidden, source.spread)


def _task(recipe: RecordsRecipe, source: Source, network: Network) -> tuple[Task, Task | None]:
    """What is learned, and what the task is: None of a regression whose scale the original's errors will tell."""
    section, name = recipe.task, str(recipe.task.name)
    if section.factory is not None:
        made = call(section, "task")
        Known(made)  # which says what is wrong with it
        return made, made
    if name == "auto":
        name = source.task
    if name in PLAIN:
        made = PLAIN[name]()
        return made, made
    if name == "auto":
        with told("task: 'auto' cannot be told from the data: say which it is"), evaluating(model := network.build()):
            looked = range(min(LOOKED, len(source.records)))
            with of_set("train", looked):
                found = guessed(model, [source.records.batch(np.asarray(looked))])
        if not isinstance(found, Regression):
            return found, found
    lesson = Regression(_spread(source))  # whatever the scale: a run writes its own down, and trains as it did
    return lesson, None if section.scale is None else Regression(section.scale)


def _spread(source: Source) -> float | tuple[float, ...]:
    """The standard deviation of each target."""
    if source.spread is not None:
        found = source.spread[1]
    else:
        check_answers(Regression(1.0), "train", source.records, 0)
        rows = source.seen[:: max(1, len(source.seen) // LOOKED)]
        pair = answered(source.records.batch(rows))
        if pair is None or not isinstance(pair[1], Tensor):
            return 1.0
        found = tuple(pair[1].double().reshape(len(rows), -1).std(0, correction=0).clamp_min(1e-12).tolist())
    return found[0] if len(found) == 1 else found


def _holdout(this: Asked, source: Source, split: Split) -> Records | None:
    """Unseen examples like those to forget: none of the same people, the same values where the request names some, and
    classes in the same proportions.
    """
    found = source.holdout if len(source.holdout) else source.test
    if found.data is source.records.data:
        kept = np.ones(len(found), dtype=bool)
        if source.people is not None:
            kept &= ~np.isin(source.people[found.numbers], source.people[split.forget])
        if this.alike is not None and np.isin(found.numbers, this.alike).any():
            kept &= np.isin(found.numbers, this.alike)
        found = found.subset(kept)
    if (labels := source.records.subset(split.forget).labels) is not None and found.labels is not None and len(found):
        alike = by_row.exchangeable(found, labels)
        found = alike if len(alike) else found
    return found if len(found) else None


def _spellings(source: Source) -> tuple[str, ...]:
    """Of a table, classes that are one but for how they are written."""
    alike: dict[str, list[str]] = {}
    for name in source.classes:
        alike.setdefault(" ".join(name.casefold().split()), []).append(name)
    return tuple(
        f"data.target: {' and '.join(map(repr, names))} are {len(names)} classes here, and differ in capitals or "
        "spaces alone: write them alike if they are one."
        for names in alike.values()
        if len(names) > 1
    )


def _twins(source: Source, split: Split) -> tuple[str, ...]:
    """Of a table, rows to forget that are to the model what others are that are kept; elsewhere those are refused.

    Raises:
        ConfigurationError: a data set that a factory gives has the same example on both sides, or on a measuring one.
    """
    forget, retain = (source.records.subset(rows) for rows in (split.forget, split.retain))
    if not source.rows:
        sides = {"holdout": source.holdout, "test": source.test}
        other = {name: each.data for name, each in sides.items() if each.data is not source.records.data and len(each)}
        again = {name: np.isin(each.numbers, source.seen) for name, each in sides.items() if name not in other}
        if faults := [
            f"data.factory: {name}: expected examples that no model is trained on, found {int(twice.sum())} of "
            f"{len(twice)} in train too: give others"
            for name, twice in again.items()
            if twice.any()
        ]:
            raise ConfigurationError(faults)
        check_apart(other, {"train": source.records.data})
        check_overlap(forget, retain, {name: sides[name] for name in other})
        return ()
    kept = {retain.digest(row)[0] for row in range(len(retain))}
    if not (twins := sum(forget.digest(row)[0] in kept for row in range(len(forget)))):
        return ()
    return (
        f"forget: {twins} of {len(forget)} rows to forget read the same as rows to keep: what those teach is not "
        "forgotten.",
    )


def _alone(source: Source, split: Split) -> tuple[str, ...]:
    """Of a table, inputs that would not be there without the rows to forget."""
    if not source.rows:
        return ()
    x = source.records.batch(split.retain)[0], source.records.batch(split.forget)[0]
    alone = int(((x[0] == x[0][:1]).all(0) & (x[1] != x[0][:1]).any(0)).sum()) if len(split.retain) else 0
    if not alone:
        return ()
    return (
        f"forget: {alone} of {x[0].shape[1]} inputs of the network differ in rows to forget alone, as does a value "
        "that nobody else has: the inputs stay, in a retrained model too.",
    )


@dataclass(frozen=True)
class RecordsSet:
    """The records of a recipe: see `TrainingSet`."""

    source: Source

    def fingerprint(self) -> str:
        """Of all of them, as they were given."""
        return hashlib.sha256(b"".join(self.digests(np.arange(len(self.source.records))))).hexdigest()

    def ids(self) -> list[str] | None:
        """Of the people."""
        return None if self.source.people is None else list(map(str, self.source.people))

    def named(self, recipe: RecordsRecipe) -> Rows:
        """Those that the original is trained on."""
        assert recipe.forget is not None
        return asked(recipe.forget, self.source).rows

    def job(self, recipe: RecordsRecipe) -> RecordsJob:
        """On the records that are there."""
        return request(recipe, self.source)

    def rows(self, job: RecordsJob) -> Rows:
        """Of the split."""
        return job.split.forget

    def holding(self, jobs: Sequence[RecordsJob], rows: tuple[Rows, Rows]) -> list[RecordsJob]:
        """By row."""
        guard, final = (jobs[-1].split.retain[part] for part in rows)
        return [replace(job, held=(guard, final)) for job in jobs]

    def once_more(self, last: RecordsJob, others: Sequence[RecordsJob]) -> RecordsJob:
        """With a holdout of people that are in none of them."""
        rows = np.unique(np.concatenate([other.split.forget for other in others]))
        split, text = replace(last.split, forget=rows), f"{len(others)} earlier requests once more"
        return replace(last, text=text, split=split, holdout=_holdout(Asked(text, rows), last.source, split))

    def digests(self, rows: Rows) -> list[bytes]:
        """Of a row of the table, or of all that an example of a factory holds."""
        if table := self.source.rows:
            texts = (json.dumps(table[int(row)], sort_keys=True, default=str, ensure_ascii=False) for row in rows)
            return [hashlib.sha256(text.encode()).digest() for text in texts]
        return [hashlib.sha256(self.source.records.digest(int(row))[0]).digest() for row in rows]

    def apart(self, job: RecordsJob) -> Sequence[Data]:
        """Retain and test set; rows of a table may read the same, and are other rows."""
        return () if self.source.rows else (job.retain, job.test)

    def membership(self, job: RecordsJob, model: Any, seed: int) -> Membership | None:
        """The task's signal, and what the model is given."""
        if job.holdout is None:
            return None
        rows = halves(job.holdout, seed)[1]
        holdout = job.holdout if rows is None else job.holdout.subset(rows)
        signal = Known(job.task).score
        forget, unseen = (read(signal, model, data) for data in (job.forget, holdout))
        return Membership(forget, unseen, (inputs_of(job.forget), inputs_of(holdout)))


def training_set(recipe: RecordsRecipe) -> RecordsSet:
    """The records that a recipe names.

    Raises:
        ConfigurationError: they cannot be read.
    """
    return RecordsSet(sources.load(recipe))
