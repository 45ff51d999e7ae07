"""What the ledger writes beside its truth and what it is sealed with: files, their digests, the key."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from unweave.data.text_file import parse_json, read_text
from unweave.errors import ConfigurationError
from unweave.ledger.chain import Json, canonical
from unweave.store import beside, file_sha256, on_disk, tidy

WEIGHTS, ADAPTER = "model.safetensors", "adapter_config.json"
_MAKE = {".safetensors", ".bin", ".json", ".txt", ".model", ".jinja", ".py"}  # weights, configuration, tokenizer


def told(path: Path, folder: Path) -> Json:
    """A file as an entry speaks of it, or a folder: with the digest of each of its files, and one over them all.

    Args:
        path: of the file or folder.
        folder: of the ledger, which it is relative to.
    """
    name = Path(os.path.relpath(path, folder)).as_posix()
    if not path.is_dir():
        return {"file": name, "sha256": file_sha256(path)}
    files = {each: file_sha256(path / each) for each in held(path)}
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
        elif (found := file_sha256(each)) != known:
            yield f"{each} is not the {what} that it speaks of: SHA-256 {known[:12]}..., found {found[:12]}...", True
    if files is not None and (strange := [name for name in held(path) if name not in files]):
        yield f"{path} is not the {what} that it speaks of: that one has no {', '.join(strange[:5])}", True


_BYTES = 32


class Key:
    """HMAC-SHA-256 under one secret; every purpose has a domain of its own.

    Args:
        secret: 32 random bytes.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @property
    def name(self) -> str:
        """Tells keys apart and gives nothing away."""
        return self._mac("name", b"")[:16]

    def seal(self, hash: str) -> str:
        """Of an entry."""
        return self._mac("entry", hash.encode())

    def rows(self, request: str, rows: Sequence[int]) -> str:
        """Of a request's row numbers, in any order; two requests for the same rows do not look alike."""
        return self._mac("rows", canonical([request, sorted(rows)]))

    def ids(self, request: str, ids: Sequence[str]) -> str:
        """Of the ids of all records of a training set, in their order."""
        return self._mac("ids", canonical([request, list(ids)]))

    def records(self, request: str, digests: Sequence[bytes]) -> str:
        """Of a request's records, in any order.

        Args:
            request: its id.
            digests: SHA-256 of the content of each record.
        """
        return self._mac("records", canonical([request, sorted(each.hex() for each in digests)]))

    def _mac(self, purpose: str, data: bytes) -> str:
        return hmac.digest(self._secret, purpose.encode() + b"\0" + data, "sha256").hex()


def read(path: Path) -> Key:
    """The key in a file.

    Raises:
        ConfigurationError: no such file, or none of a key.
    """
    try:
        secret = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path}: expected the ledger's key, which cannot be read: {error}") from None
    if len(secret) != _BYTES:
        raise ConfigurationError(f"{path}: expected a key of {_BYTES} bytes in hex, found {len(secret)} bytes")
    return Key(secret)


def made(path: Path) -> Key:
    """The key in a file, drawn if there is none; whoever comes second takes the first one's."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        tidy(path.parent)
        partial = beside(path)
        partial.unlink(missing_ok=True)
        try:
            handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(_BYTES) + "\n")
            on_disk(partial)
            os.link(partial, path)
        except FileExistsError:
            pass
        finally:
            partial.unlink(missing_ok=True)
        on_disk(path.parent)
    return read(path)
