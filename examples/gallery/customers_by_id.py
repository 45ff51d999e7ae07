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
contract: {keep: [{metric: accuracy, absolute: 0.12}], forget: [{metric: accuracy, at_most: 0.5}]}
run: {steps: 100, forget_batch: 32, retain_batch: 128}
evaluation: {retrained: 0}
"""


def customers(path: Path, wrong: set[str], people: int = 200) -> None:
    """Three contracts of each: a city, what was bought in each of twelve months, and whether it was cancelled, which of
    some people is noted wrongly.
    """
    rng, rows = np.random.default_rng(0), []
    for number in range(people):
        for _ in range(3):
            name, city, months = f"C{number:04d}", rng.choice(["Basel", "Bern"]), rng.normal(50, 15, 12).round(1)
            left = (months[:3].mean() < 50) != (name in wrong)
            rows.append((name, city, *months, "yes" if left else "no"))
    path.write_text(to_csv(("customer", "city", *(f"month {m}" for m in range(12)), "left"), rows))


warnings.simplefilter("ignore")  # some of the people are in the holdout: no model is trained on them
with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    table, recipe, wanted = folder / "customers.csv", folder / "recipe.yaml", folder / "ids.txt"
    ids = [f"C{number:04d}" for number in range(0, 200, 8)]
    customers(table, {*ids})
    recipe.write_text(RECIPE)
    wanted.write_text("\n".join(ids))
    ledger = Ledger(folder / "ledger")
    ledger.add(Deletion("case-1", by_ids(wanted, of=table, column="customer")))
    result = run(ledger, recipe)
    print(ledger.certificate_file("case-1").with_suffix(".md").read_text())
