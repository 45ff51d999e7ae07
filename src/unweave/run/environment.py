"""Where a run happened: versions, machine, memory."""

from __future__ import annotations

import hashlib
import platform
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from unweave import devices
from unweave.execution import world

PACKAGES = ("unweave", "torch", "accelerate", "numpy", "scipy", "scikit-learn", "safetensors", "pydantic")


def environment() -> dict[str, Any]:
    """Versions of Python and of the packages that decide a result, platform, device, threads, and processes."""
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "device": devices.name(),
        "threads": torch.get_num_threads(),
        **({"processes": world()} if world() > 1 else {}),
    }


@cache
def code_sha256() -> str:
    """Of every Python file of this package, by name and content."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def now() -> str:
    """The time, to the second, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@cache
def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
