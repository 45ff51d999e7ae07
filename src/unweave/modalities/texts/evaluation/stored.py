"""What the collector writes, read back: one JSON line per example and metric family, after a line that says whose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unweave.errors import ConfigurationError
from unweave.evaluation.value import UndefinedScore
from unweave.modalities.texts.evaluation import tokens as of
from unweave.modalities.texts.evaluation.log import Log, Value, Values
from unweave.modalities.texts.evaluation.structure import (
    COUNT,
    COUNTS,
    FLAG,
    HITS,
    INDEX,
    NUMBER,
    NUMBERS,
    TABLE,
    TEXT,
    Kind,
    checked,
    fields,
    parsed,
)
from unweave.modalities.texts.evaluation.tokens import Compat, Tokens

Line = dict[str, Any]
FORMAT = 1
ROUGE = ("rouge1_recall", "rougeL_recall", "rougeL_f1")
_KEYS = {"set": TEXT, "family": TEXT, "index": INDEX}
_OF_TOKENS = ("logprobs", "hits", "means", "variances")
_FIELDS: dict[str, tuple[dict[str, Kind], tuple[tuple[str, ...], ...]]] = {  # and which lists are of one length
    "forced": (
        {
            **dict.fromkeys(_OF_TOKENS, NUMBERS),
            "hits": HITS,
            "ends": FLAG,
            "bytes": COUNT,
            **dict.fromkeys(("paraphrased", "perturbed"), NUMBERS),
            "perturbed_tokens": COUNTS,
        },
        (_OF_TOKENS, ("perturbed", "perturbed_tokens")),
    ),
    "generated": ({"stemmer": FLAG, "truth": TEXT, "generation": TEXT, **dict.fromkeys(ROUGE, NUMBER)}, ()),
    "gradient": (dict.fromkeys(("norm", "mean_norm"), NUMBER), ()),
}


def stored(lines: Iterable[Line], name: str, compat: Compat = None) -> Log:
    """The log of collected lines, each metric formed from what was stored of the example.

    Args:
        lines: as `collect` gives and writes them.
        name: of the model.
        compat: form the metrics as that code does; "tofu" and "open-unlearning" have the stemmer in ROUGE, "muse" not.
    """
    values: Values = {}
    for line in lines:
        with np.errstate(all="ignore"):  # what is not finite is said by the score that it enters
            columns = _FAMILIES[line["family"]](line, compat)
        table = values.setdefault(line["set"], {})
        for column, value in columns.items():
            table.setdefault(column, {})[int(line["index"])] = value
    return Log(name, values, compat)


def read_lines(path: Path) -> tuple[Line | None, list[Line]]:
    """The header and the lines of a file; a last line that was cut short is left out.

    Raises:
        ConfigurationError: it is no text, a line before the last one is no JSON object with the fields of its family,
            or the header is of another format.
    """
    header: Line | None = None
    lines: list[Line] = []
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: it is no text ({error}): delete the file") from error
    for number, row in enumerate(text.split("\n")[:-1], 1):
        where = f"{path}: line {number}"
        line = checked(parsed(row, where), TABLE, where)
        if number > 1:
            _check(line, where)
            lines.append(line)
        elif (header := line).get("unweave_values") != FORMAT:
            raise ConfigurationError(
                f"{path}: expected values that unweave collected (format {FORMAT}), found {row[:60]}"
            )
    return header, lines


def _check(line: Line, where: str) -> None:
    """That a line has the fields of its family."""
    fields(line, _KEYS, where)
    if line["family"] not in _FIELDS:
        raise ConfigurationError(f"{where}: family: expected {', '.join(_FIELDS)}, found {line['family']!r:.60}")
    kinds, alike = _FIELDS[line["family"]]
    fields(line, kinds, where, *alike)


def rouge_columns(truth: str, generation: str, *, stemmer: bool) -> dict[str, Value]:
    """The columns of a generated text; no scores where ROUGE is undefined."""
    from unweave.modalities.texts.evaluation.generations import rouge

    try:
        scores: Mapping[str, Value] = rouge(truth, generation, stemmer=stemmer)
    except UndefinedScore:
        scores = dict.fromkeys(ROUGE)
    return {"truth": truth, "generation": generation, **scores}


def _forced(line: Line, compat: Compat) -> dict[str, Value]:
    logprobs, means, variances = (_numbers(line[part]) for part in ("logprobs", "means", "variances"))
    t = Tokens(logprobs, line["hits"], means, variances, line["ends"])
    columns: dict[str, Value] = {}
    if len(t.logprobs):
        loss = of.loss(t)
        columns |= {"loss": loss, "prob": of.probability(loss), "nll": loss * len(t.logprobs), "mia_loss": loss}
        columns["mia_zlib"] = loss / line["bytes"]
    if t.scored(compat) or compat == "open-unlearning":
        columns |= {
            "extraction": of.extraction_strength(t, compat),
            "mia_min_k": of.min_k(t, compat=compat),
            "mia_min_k_plus_plus": of.min_k_plus_plus(t, compat=compat),
        }
    if t.scored(compat):
        columns["exact"] = of.exact_memorisation(t, compat)
    for other in ("paraphrased", "perturbed"):
        if losses := _numbers(line[other]):
            columns[f"{other}_loss"] = losses
            columns[f"{other}_prob"] = [of.probability(x) for x in losses]
    if losses:
        columns["perturbed_nll"] = [x * n for x, n in zip(losses, line["perturbed_tokens"], strict=True)]
    return columns


def _generated(line: Line, compat: Compat) -> dict[str, Value]:
    stemmer = line["stemmer"] if compat is None else compat != "muse"
    if stemmer != line["stemmer"]:
        return rouge_columns(line["truth"], line["generation"], stemmer=stemmer)
    return {name: line[name] for name in ("truth", "generation", *ROUGE)}


def _gradient(line: Line, compat: Compat) -> dict[str, Value]:
    return {"mia_gradnorm": _numbers([line["mean_norm"] if compat == "open-unlearning" else line["norm"]])[0]}


def _numbers(values: list[float | None]) -> list[float]:
    """JSON has no NaN: what a diverged model gave is null there."""
    return [float("nan") if value is None else value for value in values]


_FAMILIES = {"forced": _forced, "generated": _generated, "gradient": _gradient}
