"""A table becomes tensors by its rows for training alone, and is divided by person."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.modalities.records._tables import HEADER, RECIPE, customers, written
from unweave.errors import ConfigurationError, UnsupportedError
from unweave.modalities import job, read, training_set
from unweave.modalities.records.build import RecordsSet
from unweave.modalities.records.job import RecordsJob
from unweave.modalities.records.tables import Source
from unweave.tasks import Classification, MultiLabel, Regression


def opened(folder: Path, text: str = RECIPE, *overrides: str) -> RecordsJob:
    found = job(read(written(folder, text), overrides))
    assert isinstance(found, RecordsJob)
    return found


def source_of(folder: Path, *overrides: str) -> Source:
    found = training_set(read(written(folder), overrides))
    assert isinstance(found, RecordsSet)
    return found.source


def test_numbers_are_standardised_and_categories_encoded_by_the_training_rows(tmp_path: Path) -> None:
    source = source_of(tmp_path, "data.split=set", "data.drop=[spend]")
    x, y = source.records.batch(np.arange(len(source.records)))
    assert source.inputs == x.shape[1] == 1 + 2 + 3 + 3, "age; income and whether it is missing; cities; plans"
    seen = x[source.seen]
    torch.testing.assert_close(seen[:, 0].mean(), torch.tensor(0.0), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen[:, 0].std(correction=0), torch.tensor(1.0), atol=1e-5, rtol=0)
    missing = torch.tensor([row["income"] == "" for row in source.rows])
    assert missing.any() and x[missing, 1].eq(0).all() and x[:, 2].eq(missing).all()
    for block in (x[:, 3:6], x[:, 6:9]):
        assert block.sum(1).eq(1).all()
    assert source.classes == ("no", "yes") and y.tolist() == [row["left"] == "yes" for row in source.rows]
    sets = [row["set"] for row in source.rows]
    assert [sets[row] for row in source.seen] == ["train"] * len(source.seen)
    assert [sets[row] for row in source.holdout.numbers] == ["holdout"] * len(source.holdout)


def test_a_value_that_no_training_row_has_is_none_of_the_known_ones(tmp_path: Path) -> None:
    table = customers(tmp_path / "customers.csv")
    lines = table.read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if line.endswith("holdout"))
    cells = lines[at].split(",")
    cells[HEADER.index("city")] = "Zug"
    table.write_text("\n".join([*lines[:at], ",".join(cells), *lines[at + 1 :]]))
    source = source_of(tmp_path, "data.split=set", "data.drop=[spend]")
    x, _ = source.records.batch([at - 1])
    assert x[0, 3:6].eq(0).all() and source.inputs == 9


def test_people_are_never_in_two_sets(tmp_path: Path) -> None:
    source = source_of(tmp_path, "data.test=0.2")
    assert source.people is not None
    sides = [set(source.people[rows]) for rows in (source.seen, source.holdout.numbers, source.test.numbers)]
    assert [len(side) for side in sides] == [72, 24, 24] and len(set.union(*sides)) == 120
    by_row = source_of(tmp_path, "data.by=row")
    assert by_row.people is not None and len(by_row.holdout) == 48
    assert set(by_row.people[by_row.seen]) & set(by_row.people[by_row.holdout.numbers])


def test_nobody_who_is_forgotten_is_in_the_holdout(tmp_path: Path) -> None:
    found = opened(tmp_path, RECIPE, "data.by=row")
    people = found.source.people
    assert people is not None and found.holdout is not None and found.notes, "some of their rows were never trained on"
    assert not set(people[found.split.forget]) & set(people[found.holdout.numbers])
    assert set(people[found.split.forget]) & set(people[found.source.holdout.numbers]), "or nothing was tested"


def test_a_request_names_people_and_counts_their_rows(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("C000\nC001\nC002\nC004\n")
    found = opened(tmp_path, RECIPE, "forget={ids: ids.txt}", "data.split=set", "data.drop=[spend]")
    assert (
        found.text == "the people in ids.txt: 4 people, 8 rows" and found.rows("forget") == [0, 1, 2, 3, 4, 5, 8, 9][:8]
    )
    share = opened(tmp_path, RECIPE, "forget={random: 0.1}", "data.split=set", "data.drop=[spend]")
    assert share.text.startswith("a random 10 % of the people: 9 people, 18 rows")
    city = opened(tmp_path, RECIPE, "forget={where: {city: Bern, plan: [0, 1]}}", "data.split=set", "data.drop=[spend]")
    rows = [found.source.rows[row] for row in city.rows("forget")]
    assert rows and all(row["city"] == "Bern" and row["plan"] in "01" and row["set"] == "train" for row in rows)
    assert city.holdout is not None, "unseen rows of the same kind"
    assert all(found.source.rows[row]["city"] == "Bern" for row in city.holdout.numbers)


@pytest.mark.parametrize(
    ("target", "task", "outputs"),
    [("left", Classification, 2), ("plan", Classification, 3), ("spend", Regression, 1), ("[a, b]", MultiLabel, 2)],
)
def test_the_target_says_the_task(tmp_path: Path, target: str, task: type, outputs: int) -> None:
    table = customers(tmp_path / "customers.csv")
    lines = table.read_text().splitlines()
    more = (f"{line},{n % 2},{n % 3 == 0:d}" for n, line in enumerate(lines[1:]))
    table.write_text("\n".join([f"{lines[0]},a,b", *more]))
    found = opened(tmp_path, RECIPE.replace(", categories: [plan]", ""), f"data.target={target}", "data.drop=[set]")
    assert type(found.trainer.task) is task and found.source.outputs == outputs


def test_a_parquet_file_is_the_same_table(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    from pyarrow import Table, parquet

    source = source_of(tmp_path)
    rows = [{**row, "age": float(str(row["age"])), "income": row["income"] or None} for row in source.rows]
    parquet.write_table(Table.from_pylist(rows), tmp_path / "customers.parquet")
    other = source_of(tmp_path, "data.source=parquet", "data.path=customers.parquet")
    every = np.arange(len(source.records))
    for one, two in zip(source.records.batch(every), other.records.batch(every), strict=True):
        assert one.equal(two)


def test_a_regression_has_the_scale_of_unseen_errors(tmp_path: Path) -> None:
    found = opened(tmp_path, RECIPE, "data.target=spend", "data.drop=[set, left]")
    model, holdout = found.opened(None), found.holdout
    assert holdout is not None and isinstance(found.task, Regression)
    x, y = holdout.batch(range(len(holdout)))
    error = (model(x).detach()[:, 0] - y).square().mean().sqrt()
    assert found.task.scale == pytest.approx(float(error), rel=1e-5)
    assert found.resolved(read(tmp_path / "recipe.yaml"))["task"].scale == found.task.scale
    scale = "task={name: regression, scale: 0.5}"
    stated = opened(tmp_path, RECIPE, "data.target=spend", "data.drop=[set, left]", scale)
    assert stated.task == Regression(0.5)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["data.target=lefd"], "data.target: {table} has no column 'lefd'. Did you mean 'left'?"),
        (["data.user=nobody", "data.drop=[spent]"], "data.drop: {table} has no column 'spent'. Did you mean 'spend'?"),
        (["data.columns=[]"], "no column of {table} is left to predict from"),
        (["data.user=null", "data.drop=[spend]"], "column 'customer' has "),
        (["data.target=customer"], "'customer' says whose or for what a row is"),
        (["data.user=income"], "column 'income' (data.user) must say whose record each row is"),
        (["data.target=income"], "column 'income' (data.target) must say the answer of each row"),
        (["data.split=city"], "column 'city' (data.split) must hold train, holdout, test; found "),
        (["forget={where: {customer: [C000, C00A]}}"], "1 of 2 ids are not in the data (C00A)"),
        (["forget={where: {town: Bern}}"], "no column is named 'town'"),
        (["forget={where: {city: Bernn}}"], "no row has 'Bernn' in column 'city'. Did you mean 'Bern'?"),
        (["forget={where: {customer: C003}}", "data.split=set"], "all of them are in the holdout or the test set"),
        (["task=regression"], "column 'left' (data.target) must hold numbers for task 'regression'"),
        (["task=multilabel"], "column 'left' (data.target) must hold numbers for task 'multilabel'"),
        (["data.holdout=0"], "expected a record that no model is trained on"),
        (["data.target=spend", "data.drop=[set]", "method.name=npo"], "hoose another method"),
    ],
)  # fmt: skip
def test_what_the_table_is_not(tmp_path: Path, overrides: list[str], said: str) -> None:
    text = RECIPE.replace("drop: [spend, set]", "drop: [spend]") if "data.split=set" in overrides else RECIPE
    with pytest.raises((ConfigurationError, UnsupportedError)) as caught:
        opened(tmp_path, text, *overrides)
    assert said.format(table=tmp_path / "customers.csv") in str(caught.value)


TABLE = "data: {source: csv, path: customers.csv, target: left}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data: {source: csv, path: customers.csv}", "recipe.yaml:1: data: csv needs a 'path' and a 'target'"),
        ("data: {source: csv, path: gone.csv, target: left}", "recipe.yaml:1: data.path: no such file or folder"),
        (
            "data: {source: csv, target: left, path: customers.csv, factory: 'n.py:f'}",
            "data.factory: no such file",
        ),
        ("data: {factory: make}", "recipe.yaml:1: data.factory: expected file.py:function or package.module:function"),
        ("data: {factory: 'os.path:join', target: left}", "target: of a table, and a factory gives data sets"),
        ("data: {factory: 'os.path:join'}", "model.factory is missing: the mlp is for tables"),
        (
            TABLE + "task: languag",
            "recipe.yaml:2: task: expected one of auto",
        ),
        (TABLE + "task: dense", "a row has none"),
        ("data: {source: csv, path: customers.csv, target: left, by: person}", "needs 'user'"),
        (
            TABLE + "model: {prefix: net}",
            "recipe.yaml:2: model: 'prefix'",
        ),
        (TABLE + "model: {lora: {}}", "model.lora: is for texts"),
        (
            "data: {factory: 'a:f'}\nmodel: {factory: 'a:f', lora: {}}",
            "is for texts and diffusion, and this recipe has records",
        ),
        (
            TABLE + "training: {epoch: 3}",
            "recipe.yaml:2: training.epoch",
        ),
    ],
)
def test_what_no_recipe_is_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(written(tmp_path, f"{text}\nforget: {{random: 0.1}}\n"))
    assert said in str(caught.value)


def test_what_is_not_there_is_told_all_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        opened(tmp_path, RECIPE, "data.target=lefd", "data.drop=[spent]", "data.user=custom")
    assert len(caught.value.faults) == 3
