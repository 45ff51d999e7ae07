"""A table of customers: who they are, what is known of them, and whether they left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unweave.cli import main
from unweave.data.text_file import to_csv

PEOPLE = 120
HEADER = ("customer", "age", "income", "city", "plan", "left", "spend", "set")


def customers(path: Path, people: int = PEOPLE, seed: int = 0) -> Path:
    """Two rows for each person: a table of `2 * people` rows, an income missing in some, an answer by heart in some."""
    rng, rows = np.random.default_rng(seed), []
    for person in range(people):
        of = rng.normal(size=2)
        for _ in range(2):
            x, city = of + 0.3 * rng.normal(size=2), ("Basel", "Bern", "Chur")[rng.integers(3)]
            score = x[0] + 0.8 * x[1] + (city == "Bern") + 0.8 * rng.normal()
            part = "holdout" if person % 4 == 3 else "train"
            income = "" if rng.random() < 0.1 else round(5e4 + 1e4 * x[1])
            plan, left = int(rng.integers(3)), "yes" if score > 0.4 else "no"
            rows.append((f"C{person:03d}", round(40 + 10 * x[0], 1), income, city, plan, left, round(score, 3), part))
    path.write_text(to_csv(HEADER, rows))
    return path


RECIPE = """\
data: {source: csv, path: customers.csv, target: left, user: customer, drop: [spend, set], categories: [plan]}
forget: {where: {customer: [C000, C001, C002, C004, C005, C006, C008, C009, C010, C012, C013, C014]}}
model: {hidden: [32]}
training: {epochs: 30, lr: 0.01}
run: {steps: 6, forget_batch: 16, retain_batch: 64, checkpoint_every: 1}
"""


def written(folder: Path, text: str = RECIPE, name: str = "recipe.yaml") -> Path:
    """A recipe beside its table."""
    if not (folder / "customers.csv").exists():
        customers(folder / "customers.csv")
    (folder / name).write_text(text)
    return folder / name


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(each) for each in arguments])
    return int(caught.value.code or 0)


def result(folder: Path, name: str = "summary.json") -> Any:
    return json.loads((folder / name).read_text(encoding="utf-8"))
