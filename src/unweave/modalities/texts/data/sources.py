"""Tables of texts: a file, a folder, or a data set of the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from unweave.data.text_file import READERS, Table, read_file
from unweave.errors import ConfigurationError
from unweave.extras import require


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
    if path.suffix.lower() in READERS or path.is_absolute() or str(source).count("/") != 1:
        raise ConfigurationError(f"there is no file or folder {source}, and a name on the hub is owner/name")
    return _hub(str(source), config, split)


def _named(folder: Path, config: str | None, split: str) -> list[Path]:
    """The first that is there: `config/split`, `config`, `split`; a part may come in numbered pieces."""
    places = [folder / config / split, folder / config] if config else []
    for place in (*places, folder / split, folder / "data" / split):
        for ending in READERS:
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
