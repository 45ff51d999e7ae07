"""A folder of pictures with captions, as Hugging Face's imagefolder has it: `metadata.jsonl` beside them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import torch

from unweave.errors import ConfigurationError
from unweave.modalities.images.image_folder import ENDINGS, TOLD, divided, pictures
from unweave.modalities.images.tensors import Source

FILE = "metadata.jsonl"
_PARTS = ("", "train", "test")  # folders that hold captions
_ELSEWHERE = ("metadata.csv", "metadata.parquet", "captions.json", "captions.txt")  # where others keep them
_FEW = 3  # pictures of a caption, from which on a fifth of them is a test set


def has_captions(folder: Path) -> bool:
    """Whether the folder, or its parts, hold captions."""
    return any((folder / part / FILE).is_file() for part in _PARTS)


def check_elsewhere(folder: Path) -> None:
    """Refuses a folder without captions here that has some in another file.

    Raises:
        ConfigurationError: it has.
    """
    places = (folder / part / name for part in _PARTS for name in _ELSEWHERE)
    if (found := next(filter(Path.is_file, places), None)) is not None:
        raise ConfigurationError(
            f"captions are read from {FILE}, and {found} is another file: write them as lines "
            '{"file_name": ..., "text": ...} there, or take the file out of a folder with one folder per class'
        )


def captioned(folder: Path, size: int) -> Source:
    """Every picture that `metadata.jsonl` names, as RGB of `size` x `size` pixels; its caption is its class.

    A line is `{"file_name": ..., "text": ...}`, the file relative to the folder of `metadata.jsonl`; other keys are
    passed over.

    Args:
        folder: holds `train/metadata.jsonl` and `test/metadata.jsonl`; or one `metadata.jsonl`, of which a fifth of
            every caption, and of the pictures with rarer captions together, becomes the test part.
        size: height and width after resizing.

    Raises:
        ConfigurationError: lines without file or caption, captions without files, pictures without a caption, or with
            two, pictures that cannot be read (the first 20 are named), or a single caption.
    """
    parts = [folder / name for name in ("train", "test")]
    if (folder / FILE).is_file():
        lines = _lines(folder)
    elif missing := [str(each / FILE) for each in parts if not (each / FILE).is_file()]:
        raise ConfigurationError(f"{folder} must hold {FILE}, or train/{FILE} and test/{FILE}: {missing[0]} is missing")
    else:
        lines = [line for each in parts for line in _lines(each)]
    captions: dict[str, list[Path]] = {}
    for path, text in lines:
        captions.setdefault(text, []).append(path)
    if len(captions) < 2:
        raise ConfigurationError(
            f"{folder} must have two captions at least, of which one is to be kept; found {', '.join(captions)}"
        )
    found = pictures(captions, size)
    if (folder / FILE).is_file():
        counts = found.labels.bincount()[found.labels]
        rows = divided(torch.where(counts < _FEW, -1, found.labels))
    else:
        tested = torch.tensor([path.is_relative_to(parts[1]) for paths in captions.values() for path in paths])
        rows = tuple(each.nonzero().flatten().numpy() for each in (~tested, tested))  # type: ignore[assignment]
    train, test = map(found.subset, rows)
    return Source(folder.name, train, test, tuple(captions))


def _lines(folder: Path) -> list[tuple[Path, str]]:
    """Files and captions, in the order of the file."""
    found, faults = list[tuple[Path, str]](), list[str]()
    for number, written in enumerate(_text(folder / FILE).split("\n"), 1):
        place = f"{folder / FILE}:{number}"
        try:
            row = json.loads(written) if written.strip() else None
        except (ValueError, RecursionError) as error:
            faults.append(f"{place} must be JSON: {error}")
            continue
        if row is None:
            continue
        name, text = (row.get(key) if isinstance(row, dict) else None for key in ("file_name", "text"))
        if not isinstance(name, str) or not isinstance(text, str) or not name or not text.strip():
            faults.append(f'{place} must be {{"file_name": ..., "text": ...}}, found {written[:80]}')
        elif not (folder / name).is_file():
            faults.append(f"{place}: there is no file {folder / name}: take the line out, or add the picture")
        else:
            found.append((folder / name, text.strip()))
    named = Counter(path.resolve() for path, _ in found)
    twice = [(path, count) for path, count in named.items() if count > 1]
    faults += [f"{path} has {count} captions in {folder / FILE}: give it one" for path, count in twice]
    there = (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in ENDINGS and path.is_file())
    bare = [path for path in there if path.resolve() not in named and not path.name.startswith(".")]
    if not faults:  # else it is one of those lines, perhaps
        faults += [f"{path} has no caption in {folder / FILE}: add a line, or take the picture out" for path in bare]
    if faults:
        more = [f"and {len(faults) - TOLD} more such lines and pictures"] if len(faults) > TOLD else []
        raise ConfigurationError(faults[:TOLD] + more)
    return found


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}") from error
