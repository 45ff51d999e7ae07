"""The ledger's key: without it nobody can tell whose records a digest stands for, or write an entry."""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from unweave.errors import ConfigurationError
from unweave.ledger.chain import canonical
from unweave.store import beside, on_disk, tidy

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
