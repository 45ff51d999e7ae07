"""Reading the per-example logs of open-unlearning (`TOFU_EVAL.json`, `MUSE_EVAL.json`).

Their values carry that code's arithmetic (an extraction strength of 0 is written 1/L, among others), so a log read here
has `compat="open-unlearning"`, and its scores agree with the published aggregates to rounding.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unweave.modalities.texts.evaluation.attacks import ATTACKS
from unweave.modalities.texts.evaluation.log import Log, Values, index
from unweave.modalities.texts.evaluation.structure import NUMBER, ONE_OR_SEVERAL, SEVERAL, TABLE, TEXT, Kind, checked

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
        for field, column in columns.items():
            if field in row:
                value = None if row[field] is None else checked(row[field], _kind(column), f"{place}.{field}")
                values.setdefault(group, {}).setdefault(column, {})[index(number, where)] = value


def _kind(column: str) -> Kind:
    """What a column holds: texts, one number per wrong answer, or one number, of paraphrases also several."""
    if column in _TEXTS.values():
        return TEXT
    if column.startswith("perturbed_"):
        return SEVERAL
    return ONE_OR_SEVERAL if column.startswith("paraphrased_") else NUMBER
