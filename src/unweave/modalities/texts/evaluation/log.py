"""Per-example values of one model, by set and column: what every score of a text model is formed from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from unweave.errors import ConfigurationError
from unweave.evaluation.value import Array, UndefinedScore
from unweave.modalities.texts.evaluation.tokens import Compat

Value = float | list[float] | str | None
Column = dict[int, Value]
Values = dict[str, dict[str, Column]]
TOFU_ROWS = 300  # its code scores the first ones of every set, also of the 400 of forget10 and of the retain set


@dataclass(frozen=True)
class Log:
    """One model's values, each under the index of its example.

    Sets: `forget`, `retain`, `real_authors`, `world_facts`, `holdout`, `forget_paraphrased` (the same facts asked in
    other words), `forget_prefixed` (what is left of forget answers once they are begun), `forget_relearned` (forget
    examples after relearning others), `forget_knowmem`, `retain_knowmem`, `forget_verbmem` (MUSE), `choices` (WMDP).

    Columns: `loss`, `prob` of the answer; `paraphrased_*` and `perturbed_*` (a list) of the other answers;
    `truth_ratio`; `rouge1_recall`, `rougeL_recall`, `rougeL_f1`, `truth`, `generation`; `exact`, `extraction`; `mia_*`,
    one per attack.

    Args:
        name: what messages and tables call the model.
        values: set -> column -> index -> value; None where an example has none.
        compat: whose arithmetic the values and scores follow; with "tofu", only the first 300 rows of a set are read.
        published: aggregates that came with the values, by their published names.
        notes: what the reader of the scores has to know.
    """

    name: str
    values: Values
    compat: Compat = None
    published: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def has(self, group: str, *columns: str) -> bool:
        """Whether the set has all of these columns."""
        return all(self.values.get(group, {}).get(column) for column in columns)

    def indices(self, group: str, *columns: str) -> list[int]:
        """Examples with a value in each of the columns, in order."""
        tables = [self.values.get(group, {}).get(column, {}) for column in columns]
        rows = sorted(set().union(*self.values.get(group, {}).values()))
        kept = rows[:TOFU_ROWS] if self.compat == "tofu" else rows
        return [i for i in kept if all(table.get(i) is not None for table in tables)]

    def read(self, group: str, *columns: str, at: Iterable[int] | None = None) -> list[Array]:
        """The columns as arrays `[n]`, or `[n, k]` for lists, over the examples that have a value in each.

        Args:
            group: the set.
            columns: their names.
            at: only these examples.

        Raises:
            UndefinedScore: no example has all of them, or lists differ in length.
        """
        rows = self.indices(group, *columns)
        if at is not None:
            rows = sorted(set(rows) & set(at))
        if not rows:
            raise UndefinedScore(f"{self.name} has no {' with '.join(columns)} for the set {group!r}.")
        try:
            return [np.array([self.values[group][c][i] for i in rows], dtype=np.float64) for c in columns]
        except ValueError as error:
            raise UndefinedScore(
                f"{self.name}: the examples of {group!r} have different numbers of answers."
            ) from error


def index(key: str, where: str) -> int:
    """An example's index, which is a text as the key of a JSON table.

    Raises:
        ConfigurationError: it is no whole number.
    """
    try:
        return int(key)
    except ValueError as error:
        raise ConfigurationError(
            f"{where}: expected a whole number as the index of an example, found {key!r}"
        ) from error
