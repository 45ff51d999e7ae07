"""Files that an entry speaks of: each with its SHA-256, a model of several files with that of each of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unweave.data.text_file import parse_json, read_text
from unweave.errors import ConfigurationError
from unweave.ledger.chain import Json, canonical

WEIGHTS, ADAPTER = "model.safetensors", "adapter_config.json"
_MAKE = {".safetensors", ".bin", ".json", ".txt", ".model", ".jinja", ".py"}  # weights, configuration, tokenizer


def sha256(path: Path) -> str:
    """Of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def told(path: Path, folder: Path) -> Json:
    """A file as an entry speaks of it, or a folder: with the digest of each of its files, and one over them all.

    Args:
        path: of the file or folder.
        folder: of the ledger, which it is relative to.
    """
    name = Path(os.path.relpath(path, folder)).as_posix()
    if not path.is_dir():
        return {"file": name, "sha256": sha256(path)}
    files = {each: sha256(path / each) for each in held(path)}
    return {"file": name, "sha256": over(files), "files": files}


def model(folder: Path, ledger: Path) -> Json:
    """The model in a folder as an entry speaks of it: its one file, or the folder."""
    alone = held(folder) == [WEIGHTS]
    return told(folder / WEIGHTS if alone else folder, ledger)


def folder_of(ledger: Path, entry: Json) -> Path:
    """Where the model lies that an entry speaks of."""
    path = ledger / entry["file"]
    return path if "files" in entry else path.parent


def held(folder: Path) -> list[str]:
    """The files that make the model in a folder, tokenizer included; its card is none of them."""
    return sorted(path.name for path in folder.iterdir() if path.is_file() and path.suffix in _MAKE)


def read_json(path: Path) -> Any:
    """What a file of a finished run holds.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        return parse_json(read_text(path))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path}: expected a file of a finished run, which cannot be read: {error}") from error


def over(files: Json) -> str:
    """One digest of the digests of several files."""
    return hashlib.sha256(canonical(files)).hexdigest()


def unlike(path: Path, what: str, entry: Json) -> Iterator[tuple[str, bool]]:
    """In what a file or a folder is not what an entry speaks of, and whether that is more than to be missing.

    Args:
        path: where it should be.
        what: it is, in words.
        entry: as `told` wrote it.
    """
    files = entry.get("files")
    if files is not None and not path.is_dir():
        yield f"its {what} is not at {path}: put it back", False
        return
    pairs = {path: entry["sha256"]} if files is None else {path / name: known for name, known in files.items()}
    for each, known in pairs.items():
        if not each.is_file():
            yield f"its {what} is not at {each}: put it back", False
        elif (found := sha256(each)) != known:
            yield f"{each} is not the {what} that it speaks of: SHA-256 {known[:12]}..., found {found[:12]}...", True
    if files is not None and (strange := [name for name in held(path) if name not in files]):
        yield f"{path} is not the {what} that it speaks of: that one has no {', '.join(strange[:5])}", True
