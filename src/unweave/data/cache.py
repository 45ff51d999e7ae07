"""The user's cache folder."""

from __future__ import annotations

import os
import threading
from pathlib import Path


def cache_folder(room: str) -> Path:
    """`$UNWEAVE_CACHE/room`, or `~/.cache/unweave/room` if the variable is not set; not created."""
    return Path(os.environ.get("UNWEAVE_CACHE") or Path.home() / ".cache" / "unweave") / room


def atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees all of it or none of it, also after a crash; make its folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        partial.write_bytes(content)
        on_disk(partial)
        os.replace(partial, path)
        on_disk(path.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def on_disk(path: Path) -> None:
    """Returns once what was written to a file, or which names a folder has, would outlive the machine's crash."""
    if path.is_dir() and os.name != "posix":  # elsewhere a folder cannot be opened
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
