"""The file of collected values: one JSON line per example and metric family, appended as they come.

Every process appends to a file of its own (`values.0.jsonl`); when all is done, one of them writes `values.jsonl` in
one rename. A run that is resumed reads them all; a last line that was cut short is dropped, its example done again.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

import torch
from torch import nn

from unweave.errors import ConfigurationError
from unweave.modalities.texts.evaluation.examples import Example
from unweave.modalities.texts.evaluation.read import STORED
from unweave.modalities.texts.evaluation.stored import FORMAT, Line, read_lines
from unweave.store import atomically, on_disk


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
    for name, tensor in sorted(model.state_dict().items()):
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
