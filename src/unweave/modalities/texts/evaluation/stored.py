"""Values on disk: written line by line as they come, and read again, ours or published ones."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

import numpy as np
import torch
from torch import nn

from unweave.errors import ConfigurationError
from unweave.evaluation.metric import UndefinedScore
from unweave.modalities.texts.evaluation import numbers as of
from unweave.modalities.texts.evaluation.examples import Example
from unweave.modalities.texts.evaluation.log import (
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
    Log,
    Value,
    Values,
    checked,
    fields,
    is_published,
    parsed,
    published,
)
from unweave.modalities.texts.evaluation.metrics import compared
from unweave.modalities.texts.evaluation.numbers import Compat, Tokens
from unweave.store import atomically, on_disk, unpacked

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
    from unweave.modalities.texts.evaluation.numbers import rouge

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


class Store:
    """Lines by (set, family, index), in a folder or, without one, in memory.

    Args:
        folder: where the files are; None keeps everything in memory.
        header: what the values belong to: another header in the folder is refused.
        rank: of this process.

    Raises:
        ConfigurationError: the folder holds values of another model, other data or other settings.
    """

    def __init__(self, folder: Path | None, header: Mapping[str, Any], rank: int = 0):
        self.folder, self.rank = folder, rank
        self.header: Line = {"unweave_values": FORMAT, **header}
        self._lines: dict[tuple[str, str, int], Line] = {}
        self._file: TextIO | None = None
        for path in sorted(folder.glob("values*.jsonl")) if folder and folder.is_dir() else []:
            found, lines = read_lines(path)
            if found is not None and found != self.header:
                differing = sorted(k for k in {*found, *self.header} if found.get(k) != self.header.get(k))
                raise ConfigurationError(
                    f"{path}: these values were collected with another {', '.join(differing)}: give another folder, or "
                    "delete this one to collect anew"
                )
            self.add(lines)

    def __contains__(self, key: tuple[str, str, int]) -> bool:
        return key in self._lines

    def add(self, lines: Iterable[Line]) -> None:
        """Takes lines that are on disk already, or come from another process."""
        self._lines |= {key(line): line for line in lines}

    def write(self, lines: Iterable[Line]) -> None:
        """Takes new lines and appends them to this process's file."""
        lines = [_strict(line) for line in lines]
        self.add(lines)
        if self.folder is None or not lines:
            return
        self._file = self._file or self._opened(self.folder / f"values.{self.rank}.jsonl")
        self._file.write("".join(json.dumps(line, allow_nan=False) + "\n" for line in lines))
        self._file.flush()

    def lines(self) -> list[Line]:
        """All lines, by set, family and index."""
        return [self._lines[k] for k in sorted(self._lines)]

    def merge(self) -> None:
        """Writes all lines to `values.jsonl` and removes the files of the processes."""
        if self.folder is None:
            return
        text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in (self.header, *self.lines()))
        atomically(self.folder / STORED, text.encode())
        for part in self.folder.glob("values.*.jsonl"):
            part.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None and self.folder is not None:
            self._file.close()
            on_disk(self.folder / f"values.{self.rank}.jsonl")
            self._file = None

    def _opened(self, path: Path) -> TextIO:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_bytes() if path.exists() else b""
        whole = text[: text.rfind(b"\n") + 1]
        file = path.open("a", encoding="utf-8")
        file.truncate(len(whole))
        if not whole:
            file.write(json.dumps(self.header, allow_nan=False) + "\n")
        return file


def key(line: Line) -> tuple[str, str, int]:
    """What a line is known by."""
    return line["set"], line["family"], int(line["index"])


@torch.no_grad()
def fingerprint(model: nn.Module) -> str:
    """A digest of the names, shapes and two moments of all tensors of a model: any training step changes it.

    Cheaper than a hash of all bytes, and not meant to stand up to anyone who wants to deceive.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(unpacked(model.state_dict()).items()):
        values = (tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor).detach()
        digest.update(f"{name}:{values.dtype}:{tuple(values.shape)}".encode())
        if values.numel():
            flat = values.reshape(-1)
            flat = flat.float() if flat.dtype not in (torch.float32, torch.float64) else flat
            ramp = torch.linspace(0.5, 1.5, flat.numel(), dtype=flat.dtype, device=flat.device)
            digest.update(repr((flat.norm().item(), (flat @ ramp).item())).encode())
    return digest.hexdigest()[:16]


def data_fingerprint(examples: Iterable[Example]) -> str:
    """A digest of a set's token ids, texts and indices."""
    digest = hashlib.sha256()
    for e in examples:
        digest.update(repr((e.index, e.text, e.answer, e.paraphrased, e.perturbed)).encode())
    return digest.hexdigest()[:16]


def _strict(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _strict(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_strict(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


STORED = "values.jsonl"
_WANTED = f"a {STORED} that unweave wrote, or a TOFU_EVAL.json or MUSE_EVAL.json of open-unlearning"


def read_log(path: Path, *, name: str | None = None, compat: Compat = None) -> Log:
    """The log in a file, or in a folder that holds one.

    Args:
        path: of the file or folder.
        name: of the model; the path if there is none.
        compat: of the arithmetic on values that unweave collected; a published log brings its own.

    Raises:
        ConfigurationError: it is not there, or no such log.
    """
    file = path
    if path.is_dir():
        found = [path / n for n in (STORED, "TOFU_EVAL.json", "MUSE_EVAL.json") if (path / n).is_file()]
        if not found:
            raise ConfigurationError(f"{path}: expected a folder with {_WANTED}; found neither")
        file = found[0]
    if not file.is_file():
        raise ConfigurationError(f"{path}: expected {_WANTED}; there is no such file")
    name = name or str(path)
    if file.suffix == ".jsonl":
        return stored(read_lines(file)[1], name, compat)
    try:
        content = parsed(file.read_text(encoding="utf-8-sig"), f"{file}: expected {_WANTED}")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file}: expected {_WANTED}; it is no text ({error})") from error
    if not is_published(content):
        hint = " (a TOFU_SUMMARY.json has no values per example: give the TOFU_EVAL.json beside it)"
        raise ConfigurationError(f"{file}: expected {_WANTED}; found JSON without value_by_index{hint}")
    return published(content, file, name)


def sheets_of_logs(files: Sequence[Path], compat: Compat) -> dict[str, Any]:
    """`compared`, of the log in one file, or of a model's and a retrained model's in two.

    Args:
        files: the logs.
        compat: whose arithmetic; None for that of a published log, if there is one, and otherwise ours.

    Raises:
        ConfigurationError: more than two logs, no such log, or a published log whose values carry another arithmetic.
    """
    if len(files) > 2:
        raise ConfigurationError(
            f"--logs: expected one log, or a model's and then a retrained model's; found {len(files)}"
        )
    logs = [read_log(file, compat=compat) for file in files]
    theirs = compat or next((log.compat for log in logs if log.compat), None)
    logs = [
        log if log.compat == theirs else read_log(file, compat=theirs) for log, file in zip(logs, files, strict=True)
    ]
    if faults := [
        f"--compat {theirs}: expected values.jsonl, whose values are formed anew; {log.name} is a log of {log.compat}, "
        "whose values carry its own arithmetic"
        for log in logs
        if log.compat != theirs
    ]:
        raise ConfigurationError(faults)
    found = compared(logs[0], logs[1] if len(logs) == 2 else None)
    if not found["metrics"]:
        raise ConfigurationError(f"{files[0]}: there is no value in it that any metric reads")
    return found
