"""A table of customers, several rows each: people who ask to be deleted, a ledger, and a certificate for every request.

python examples/gallery/customers_by_id.py
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import numpy as np

from unweave.data.text_file import to_csv
from unweave.ledger import Deletion, Ledger, by_ids
from unweave.ledger.batch import run

RECIPE = """\
data: {source: csv, path: customers.csv, target: left, user: customer, holdout: 0.2, by: person}
model: {hidden: [256]}
training: {epochs: 150, lr: 0.005}
contract: {keep: [{metric: accuracy, absolute: 0.1}], forget: [{metric: accuracy, at_most: 0.8}]}
run: {steps: 150, forget_batch: 32, retain_batch: 128}
evaluation: {retrained: 0}
"""


def customers(path: Path, people: int = 300) -> None:
    """Three contracts of each: age, income, city, and whether it was cancelled, which nobody can quite tell."""
    rng, rows = np.random.default_rng(0), []
    for number in range(people):
        for _ in range(3):
            age, income, city = rng.normal(45, 12), rng.normal(60, 20), rng.choice(["Basel", "Bern", "Chur"])
            left = "yes" if (age - 45) / 12 + (income - 60) / 20 + 1.5 * rng.normal() > 0 else "no"
            rows.append((f"C{number:04d}", round(age, 1), round(income, 1), city, left))
    path.write_text(to_csv(("customer", "age", "income", "city", "left"), rows))


warnings.simplefilter("ignore")  # that ten of the people were never trained on, and are left out
with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    table, recipe, wanted = folder / "customers.csv", folder / "recipe.yaml", folder / "ids.txt"
    customers(table)
    recipe.write_text(RECIPE)
    wanted.write_text("\n".join(f"C{number:04d}" for number in range(0, 300, 6)))
    ledger = Ledger(folder / "ledger")
    ledger.add(Deletion("case-1", by_ids(wanted, of=table, column="customer")))
    result = run(ledger, recipe)
    print(ledger.certificate_file("case-1").with_suffix(".md").read_text())
