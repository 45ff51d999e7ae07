"""Tables of texts: a file, a folder, or a data set of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from unweave.data.text_file import csv_table, parse_json, parse_json_lines, read_text
from unweave.errors import ConfigurationError
from unweave.extras import require

Table = list[dict[str, Any]]


def read_table(source: str | Path, *, config: str | None = None, split: str = "train") -> Table:
    """The rows of a data set.

    Args:
        source: a file `.jsonl`, `.json`, `.csv` or `.parquet`; a folder with such files named after `config` or
            `split` (`forget10.jsonl`, `raw/forget.jsonl`, `raw/forget-00000-of-00001.parquet`), or written by
            `datasets`; or a name on the hub, `owner/name`.
        config: which of a data set's tables.
        split: which part of it.

    Raises:
        ConfigurationError: nothing there, contents that cannot be read, or a hub that does not answer or asks for a
            login.
    """
    path = Path(source)
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error
    if is_file:
        return read_file(path)
    if is_folder:
        if (path / "dataset_info.json").exists() or (path / "dataset_dict.json").exists():
            return _saved(path, split)
        if files := _named(path, config, split):
            return [row for file in files for row in read_file(file)]
        there = ", ".join(sorted(p.name for p in path.iterdir())[:12])
        raise ConfigurationError(
            f"{path} holds no table for config={config}, split={split}: expected {config or split}.jsonl (or .json, "
            f".csv, .parquet), or {config or '.'}/{split}.jsonl; found {there or 'nothing'}"
        )
    if path.suffix.lower() in _READERS or path.is_absolute() or str(source).count("/") != 1:
        raise ConfigurationError(f"there is no file or folder {source}, and a name on the hub is owner/name")
    return _hub(str(source), config, split)


def read_file(path: Path) -> Table:
    """The rows of one file.

    Raises:
        ConfigurationError: another ending, or contents that are not rows of named values.
    """
    if (ending := path.suffix.lower()) not in _READERS:
        raise ConfigurationError(f"{path} must end in {', '.join(_READERS)}; found {path.suffix or 'no ending'}")
    try:
        rows = _READERS[ending](path)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read as {ending}: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigurationError(f"{path} must hold rows with named values, such as {{'question': ..., 'answer': ...}}")
    return rows


def _jsonl(path: Path) -> Table:
    return [row for _, row in parse_json_lines(read_text(path))]


def _json(path: Path) -> Table:
    found: Table = parse_json(read_text(path))
    return found


def _csv(path: Path) -> Table:
    return [*csv_table(read_text(path))]


def _parquet(path: Path) -> Table:
    read = require("pyarrow.parquet", "language").read_table
    try:
        table: Table = read(path).to_pylist()
    except Exception as error:  # whatever pyarrow says of a damaged file, or of a value that Python cannot hold
        raise ValueError(f"{type(error).__name__}: {error}") from error
    return table


_READERS: dict[str, Callable[[Path], Table]] = {".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".parquet": _parquet}


def _named(folder: Path, config: str | None, split: str) -> list[Path]:
    """The first that is there: `config/split`, `config`, `split`; a part may come in numbered pieces."""
    places = [folder / config / split, folder / config] if config else []
    for place in (*places, folder / split, folder / "data" / split):
        for ending in _READERS:
            if (whole := place.with_name(place.name + ending)).is_file():
                return [whole]
            if pieces := sorted(place.parent.glob(f"{place.name}-*-of-*{ending}")):
                return pieces
    return []


def _saved(folder: Path, split: str) -> Table:
    load = require("datasets", "language").load_from_disk
    try:
        data = load(str(folder))
    except Exception as error:  # whatever the library says of a damaged folder
        raise ConfigurationError(
            f"{folder} cannot be read as `datasets` writes it ({type(error).__name__}: {error})"
        ) from error
    if hasattr(data, "keys"):
        if split not in data:
            raise ConfigurationError(f"{folder} holds the splits {', '.join(data)}; found split={split!r}")
        data = data[split]
    return data.to_list()


def _hub(name: str, config: str | None, split: str) -> Table:
    load = require("datasets", "language").load_dataset
    try:
        return load(name, config, split=split, trust_remote_code=False).to_list()
    except Exception as error:  # whatever client or server says
        what = type(error).__name__
        hint = (
            "it is gated: accept its terms on its page and log in with `hf auth login`"
            if "gated" in f"{what} {error}".lower()
            else "check name, config, split and connection; without one, download it elsewhere and pass its folder"
        )
        raise ConfigurationError(
            f"{name} (config={config}, split={split}) could not be read from the hub ({what}: "
            f"{str(error).splitlines()[0] if str(error) else 'no reason given'}): {hint}"
        ) from error
