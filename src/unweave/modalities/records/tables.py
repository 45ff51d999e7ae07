"""A table of records as tensors: numbers standardised, all else a column for each value, by the rows for training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from unweave.data.text_file import Table, read_file, short
from unweave.errors import ConfigurationError, suggest
from unweave.modalities._base import Rows
from unweave.modalities.records.cells import CLASSES, NOBODY, almost, column, numbers_of
from unweave.modalities.records.data import Records
from unweave.modalities.records.encoding import Column, Encoding
from unweave.modalities.records.recipe import RecordsData

SETS = ("train", "holdout", "test")


@dataclass(frozen=True, eq=False)
class Source:
    """All records, which of them are for what, and what is known of them.

    Attributes:
        records: all that requests can name, by row.
        seen: rows that the original is trained on.
        holdout, test: examples that no model is trained on.
        task: what the targets are for; "auto" where only a model tells.
        inputs, outputs: columns, and classes or targets; None where there is no table.
        spread: mean and standard deviation of each target in the rows for training; None of classes.
        people: whose record each row is, as text; None where nobody says.
        rows: the table as it was read, row by row; empty without one.
        user: the column with the people's ids.
        classes: names of the classes.
        read: columns that the model is given or that it predicts.
        encoding: how the model sees the table; None without one.
    """

    records: Records
    seen: Rows
    holdout: Records
    test: Records
    task: str = "auto"
    inputs: int | None = None
    outputs: int | None = None
    spread: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    people: np.ndarray | None = None
    rows: Table = field(default_factory=list)
    user: str = "user"
    classes: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    encoding: Encoding | None = None


def load(data: RecordsData, task: str, trained_here: bool) -> Source:
    """The table of a recipe.

    Args:
        data: the section.
        task: as the recipe says it; "auto": the target decides.
        trained_here: whether the original is trained on the rows for training; otherwise only a column says which rows
            it was trained on.

    Raises:
        ConfigurationError: the file cannot be read, a column is not there or cannot be what it is for; all at once.
    """
    assert data.path is not None and data.target is not None, "the recipe has seen to it"
    table = read_file(data.path)
    if not table:
        raise ConfigurationError(f"{data.path}: expected at least one row, found none")
    targets = (data.target,) if isinstance(data.target, str) else data.target
    own = tuple(filter(None, (*targets, data.user, data.split)))
    names = list(dict.fromkeys(name for row in table for name in row))
    chosen = names if data.columns is None else data.columns
    read = [name for name in chosen if name not in (*own, *data.drop)]
    _check_columns(data, names, targets, read)
    people = None if data.user is None else _people(data, table, data.user)
    parts = _parts(data, table, people, trained_here)
    y, kind, classes = _target(data, [column(table, name) for name in targets], targets, task)
    fitted, faults = list[Column](), list[str]()
    for name in read:
        try:
            fitted.append(Column.fitted(name, column(table, name), parts["train"], name in data.categories))
        except ConfigurationError as error:
            faults += [f"{data.path}: {fault}" for fault in error.faults]
    if faults:
        raise ConfigurationError(faults)
    encoding = Encoding(tuple(fitted), tuple(targets), classes)
    x = encoding.rows(table)
    tensors = TensorDataset(x, y)
    records = Records(tensors, np.arange(len(table)), y.numpy().copy() if kind == "classification" else None)
    spread = None
    if kind == "regression":
        of = y[torch.from_numpy(parts["train"])].double().reshape(len(parts["train"]), -1)
        spread = tuple(of.mean(0).tolist()), tuple((of.std(0, correction=0).clamp_min(1e-12)).tolist())
    return Source(
        records,
        parts["train"],
        records.subset(parts["holdout"]),
        records.subset(parts["test"] if len(parts["test"]) else parts["holdout"]),
        kind,
        x.shape[1],
        len(classes) or (1 if y.ndim == 1 else y.shape[1]),
        spread,
        people,
        table,
        data.user or "user",
        classes,
        (*read, *targets),
        encoding,
    )


def divided(count: int, people: np.ndarray | None, data: RecordsData, default: float) -> dict[str, Rows]:
    """Rows for training, holdout and test: shares of the people, or of the rows, drawn with the recipe's seed."""
    owners = np.arange(count) if people is None or data.by == "row" else people
    units = np.unique(owners)
    order = np.random.default_rng(data.seed).permutation(len(units))
    shares = {"holdout": default if data.holdout is None else data.holdout, "test": data.test or 0.0}
    found, first = dict[str, Rows](), 0
    for name, share in shares.items():
        last = first + round(share * len(units))
        found[name] = np.flatnonzero(np.isin(owners, units[order[first:last]]))
        first = last
    found["train"] = np.setdiff1d(np.arange(count), np.concatenate([found["holdout"], found["test"]]))
    if not len(found["train"]):
        raise ConfigurationError("data: holdout and test leave nothing to train on: give them smaller shares")
    if not len(found["holdout"]) + len(found["test"]):
        raise ConfigurationError(
            f"data: expected a record that no model is trained on, to measure with; found none among {count}: give "
            "data.holdout a share"
        )
    return found


def unknown(trained_here: bool, left: str) -> None:
    """Refuses weights from elsewhere with sets that are drawn here: they may have been trained on the holdout.

    Raises:
        ConfigurationError: the model is not trained here.
    """
    if not trained_here:
        raise ConfigurationError(
            f"data: model.weights come from elsewhere, and nobody says which records they were not trained on: {left}"
        )


def _parts(data: RecordsData, table: Table, people: np.ndarray | None, trained_here: bool) -> dict[str, Rows]:
    if data.split is None:
        unknown(trained_here, "name a column of train, holdout and test in data.split")
        return divided(len(table), people, data, 0.2)
    cells = ["" if row.get(data.split) is None else str(row[data.split]).strip() for row in table]
    if strange := [(row, cell) for row, cell in enumerate(cells) if cell not in SETS]:
        row, cell = strange[0]
        raise ConfigurationError(
            f"{data.path}: column {data.split!r} (data.split) must hold {', '.join(SETS)}; found {short(cell)} in row "
            f"{row}, and {len(strange) - 1} more"
        )
    found = {name: np.flatnonzero(np.asarray(cells) == name) for name in SETS}
    if not len(found["train"]) or not len(found["holdout"]) + len(found["test"]):
        raise ConfigurationError(f"{data.path}: column {data.split!r}: expected rows of train and of holdout or test")
    return found


def _check_columns(data: RecordsData, names: Sequence[str], targets: Sequence[str], read: Sequence[str]) -> None:
    asked = {"target": targets, "user": (data.user,), "split": (data.split,), "columns": data.columns or ()}
    asked |= {"drop": data.drop, "categories": data.categories}
    faults = [
        f"data.{key}: {data.path} has no column {name!r}.{suggest(str(name), names)} There are: {', '.join(names)}"
        for key, wanted in asked.items()
        for name in wanted
        if name is not None and name not in names
    ]
    if twice := [name for name in (data.user, data.split) if name in targets]:
        faults.append(f"data.target: {twice[0]!r} says whose or for what a row is: name the column to predict")
    if not faults and not read:
        faults.append(f"data: no column of {data.path} is left to predict from")
    if faults:
        raise ConfigurationError(faults)


def _people(data: RecordsData, table: Table, user: str) -> np.ndarray:
    cells = column(table, user)
    if missing := [row for row, cell in enumerate(cells) if cell is None or str(cell) in NOBODY]:
        raise ConfigurationError(
            f"{data.path}: column {user!r} (data.user) must say whose record each row is; {len(missing)} say nothing "
            f"(first: row {missing[0]})"
        )
    return np.asarray([str(cell) for cell in cells])


def _target(
    data: RecordsData, columns: Sequence[list[Any]], names: Sequence[str], task: str
) -> tuple[Tensor, str, tuple[str, ...]]:
    """The answers, the task that they are for, and the names of classes."""
    for name, cells in zip(names, columns, strict=True):
        if missing := [row for row, cell in enumerate(cells) if cell is None]:
            raise ConfigurationError(
                f"{data.path}: column {name!r} (data.target) must say the answer of each row; {len(missing)} say none "
                f"(first: row {missing[0]}): take these rows out"
            )
    numbers = [numbers_of(cells) for cells in columns]
    for name, cells, each in zip(names, columns, numbers, strict=True):
        if each is None and (wrong := almost(cells, 0)):
            raise ConfigurationError(f"{data.path}: column {name!r} (data.target) {wrong}")
    if task == "auto":
        task = _guess(columns, numbers)
    if task == "classification":
        if len(columns) > 1:
            raise ConfigurationError("data.target: a classification has one column of classes; found several")
        return _classes(columns[0], numbers[0])
    if any(each is None or not np.isfinite(each).all() for each in numbers):
        bad = next(n for n, each in zip(names, numbers, strict=True) if each is None or not np.isfinite(each).all())
        raise ConfigurationError(f"{data.path}: column {bad!r} (data.target) must hold numbers for task {task!r}")
    y = np.stack([each for each in numbers if each is not None], axis=1)
    if constant := [name for name, each in zip(names, y.T, strict=True) if task == "regression" and np.ptp(each) == 0]:
        raise ConfigurationError(
            f"{data.path}: column {constant[0]!r} (data.target) holds one number in all rows: there is nothing to learn"
        )
    if task == "multilabel":
        if not np.isin(y, (0, 1)).all():
            raise ConfigurationError(f"{data.path}: data.target must hold 0 and 1 alone for task 'multilabel'")
        return torch.from_numpy(y.astype(np.int64)), task, ()
    return torch.tensor(y[:, 0] if len(columns) == 1 else y, dtype=torch.float32), "regression", ()


def _guess(columns: Sequence[list[Any]], numbers: Sequence[np.ndarray | None]) -> str:
    if len(columns) > 1:
        binary = all(each is not None and np.isin(each, (0, 1)).all() for each in numbers)
        return "multilabel" if binary else "regression"
    (found,), (cells,) = numbers, columns
    if found is None or all(isinstance(cell, bool) for cell in cells):
        return "classification"
    whole = bool((found == np.round(found)).all()) and len(np.unique(found)) <= CLASSES
    return "classification" if whole else "regression"


def _classes(cells: Sequence[Any], numbers: np.ndarray | None) -> tuple[Tensor, str, tuple[str, ...]]:
    values = np.asarray([str(cell) for cell in cells]) if numbers is None else numbers
    names, places = np.unique(values, return_inverse=True)
    if len(names) < 2:
        raise ConfigurationError(f"data.target: a classification needs two classes, found {len(names)}")
    if 2 * len(names) > len(cells):
        raise ConfigurationError(
            f"data.target: {len(names)} different values in {len(cells)} rows are no classes: is it the column to "
            "predict? Of amounts say task: regression"
        )
    told = tuple(str(name) if numbers is None else f"{name:g}" for name in names)
    return torch.from_numpy(places.astype(np.int64)), "classification", told
