"""Per-example values of one model, by set and column, ours or open-unlearning's: what every score is formed from."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from unweave.errors import ConfigurationError
from unweave.evaluation.metric import Array, UndefinedScore
from unweave.modalities.texts.evaluation.numbers import ATTACKS, Compat

_LARGEST = 1e300  # of a whole number that is still one as float64


@dataclass(frozen=True)
class Kind:
    """What a field may hold, and in which words."""

    words: str
    holds: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST
    return value is None or isinstance(value, float) or whole


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < _LARGEST


def _list_of(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(holds, value))


TEXT = Kind("a text", lambda value: isinstance(value, str))
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
INDEX = Kind("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool))
COUNT = Kind("a whole number of at least 1", _is_count)
COUNTS = Kind("a list of whole numbers of at least 1", _list_of(_is_count))
NUMBER = Kind("a number or null", _is_number)
NUMBERS = Kind("a list of numbers or null", _list_of(_is_number))
HITS = Kind("a list of 0 and 1", _list_of(lambda value: value in (0, 1) and isinstance(value, int)))
SEVERAL = Kind("a list of at least one number or null", lambda value: NUMBERS.holds(value) and bool(value))
ONE_OR_SEVERAL = Kind("a number, or a list of them", lambda value: NUMBER.holds(value) or SEVERAL.holds(value))
TABLE = Kind("a table", lambda value: isinstance(value, dict))


def checked(value: Any, kind: Kind, where: str) -> Any:
    """The value, which is of that kind.

    Raises:
        ConfigurationError: it is not; the message begins with where it stands.
    """
    if not kind.holds(value):
        raise ConfigurationError(f"{where}: expected {kind.words}, found {_short(value)}")
    return value


def fields(row: Mapping[str, Any], kinds: Mapping[str, Kind], where: str, *alike: tuple[str, ...]) -> None:
    """Looks at all fields of a row.

    Args:
        row: the row.
        kinds: of its fields, all of which it must have.
        where: it stands.
        alike: names of lists that must be of one length.

    Raises:
        ConfigurationError: a field is missing or of another kind, or lists differ in length.
    """
    if missing := [name for name in kinds if name not in row]:
        raise ConfigurationError(f"{where}: expected the fields {', '.join(kinds)}; {', '.join(missing)} missing")
    for name, kind in kinds.items():
        checked(row[name], kind, f"{where}: {name}")
    for names in alike:
        lengths = [len(row[name]) for name in names]
        if len(set(lengths)) > 1:
            raise ConfigurationError(f"{where}: {', '.join(names)} must be of one length, found {lengths}")


def parsed(text: str, where: str) -> Any:
    """JSON as Python's objects.

    Raises:
        ConfigurationError: it is none.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # also whole numbers of thousands of digits
        raise ConfigurationError(f"{where}: it is no JSON ({str(error) or type(error).__name__})") from error


def _short(value: Any) -> str:
    if isinstance(value, int) and not math.isfinite(_as_float(value)):
        return "a number beyond all floats"
    return f"{value!r:.60}"


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


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


_SETS = {"forget": "forget", "retain": "retain", "ra": "real_authors", "wf": "world_facts"}
_LIKELIHOODS = {"Prob": "", "PARA_Prob": "paraphrased_", "PERT_Prob": "perturbed_"}
_ROUGE = ("rouge1_recall", "rougeL_recall", "rougeL_f1")
_TEXTS = {"input": "input", "ground_truth": "truth", "generation": "generation"}


def _places() -> dict[str, tuple[str, dict[str, str]]]:
    """Published key -> set and, for each field of an example, our column."""
    places: dict[str, tuple[str, dict[str, str]]] = {
        "exact_memorization": ("forget", {"score": "exact"}),
        "extraction_strength": ("forget", {"score": "extraction"}),
        "forget_truth_ratio": ("forget", {"score": "truth_ratio"}),
    }
    texts = {**{name: name for name in _ROUGE}, **_TEXTS}
    for short, group in _SETS.items():
        for kind, prefix in _LIKELIHOODS.items():
            places[f"{short}_Q_A_{kind}"] = (group, {"prob": f"{prefix}prob", "avg_loss": f"{prefix}loss"})
        places[f"{short}_Q_A_Prob_normalised"] = (group, {"prob": "option_prob"})
        places[f"{short}_Q_A_ROUGE"] = (group, texts)
        places[f"{short}_Truth_Ratio"] = (group, {"score": "truth_ratio"})
    for group in ("forget_knowmem", "retain_knowmem", "forget_verbmem"):
        places[f"{group}_ROUGE"] = (group, texts)
    return places


PLACES = _places()


def is_published(content: Any) -> bool:
    """Whether parsed JSON looks like such a log."""
    return isinstance(content, dict) and any(
        isinstance(entry, dict) and ("agg_value" in entry or "value_by_index" in entry) for entry in content.values()
    )


def published(content: Mapping[str, Any], path: Path, name: str) -> Log:
    """The log as it is written.

    Args:
        content: the parsed file.
        path: of the file, for messages.
        name: of the model.

    Raises:
        ConfigurationError: an entry is not as open-unlearning writes it.
    """
    values: Values = {}
    aggregates: dict[str, float] = {}
    unknown = []
    for key, entry in content.items():
        where = f"{path}: {key}"
        checked(entry, TABLE, where)
        if entry.get("agg_value") is not None:
            aggregates[key] = float(checked(entry["agg_value"], NUMBER, f"{where}.agg_value"))
        if key in PLACES:
            group, fields = PLACES[key]
            _fill(values, group, fields, entry, where)
        elif (attack := key.removeprefix("mia_")) in ATTACKS and key != attack:
            for group in ("forget", "holdout"):
                _fill(values, group, {"score": f"mia_{attack}"}, entry.get(group, {}), f"{where}.{group}")
        elif "value_by_index" in entry:
            unknown.append(key)
    notes = (f"not read: {', '.join(unknown)}",) if unknown else ()
    return Log(name, values, "open-unlearning", aggregates, notes)


def _fill(values: Values, group: str, columns: Mapping[str, str], entry: Any, where: str) -> None:
    rows = checked(entry, TABLE, where).get("value_by_index", {})
    for number, row in checked(rows, TABLE, f"{where}.value_by_index").items():
        place = f"{where}.value_by_index.{number}"
        if row is None:
            continue
        checked(row, TABLE, place)
        for key, column in columns.items():
            if key in row:
                value = None if row[key] is None else checked(row[key], _kind(column), f"{place}.{key}")
                values.setdefault(group, {}).setdefault(column, {})[index(number, where)] = value


def _kind(column: str) -> Kind:
    """What a column holds: texts, one number per wrong answer, or one number, of paraphrases also several."""
    if column in _TEXTS.values():
        return TEXT
    if column.startswith("perturbed_"):
        return SEVERAL
    return ONE_OR_SEVERAL if column.startswith("paraphrased_") else NUMBER
