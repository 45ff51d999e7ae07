"""What is kept in the cache: small JSON objects and tensors under the fingerprint of all that decides them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import safetensors.torch
from torch import Tensor

from unweave.run.environment import code_sha256
from unweave.store import atomically, cache_folder, strict

ROOM = "evidence"


def fingerprint(about: Mapping[str, Any]) -> str:
    """Of plain data and of this package's code; the key of what both decide."""
    text = json.dumps({"code": code_sha256(), **about}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def read_json(key: str) -> dict[str, Any] | None:
    """What was kept, or None: also for a file that is damaged."""
    try:
        found = json.loads((cache_folder(ROOM) / f"{key}.json").read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else None
    except (OSError, ValueError):
        return None


def keep_json(key: str, content: Mapping[str, Any]) -> None:
    """Keeps plain data."""
    text = json.dumps(strict(dict(content)), allow_nan=False, sort_keys=True)
    atomically(cache_folder(ROOM) / f"{key}.json", text.encode())


def read_tensors(key: str) -> dict[str, Tensor] | None:
    """What was kept; None where there is nothing, or its hash is not the one that was noted with it."""
    noted = read_json(key)
    try:
        content = (cache_folder(ROOM) / f"{key}.safetensors").read_bytes()
        if noted is None or hashlib.sha256(content).hexdigest() != noted["file"]:
            return None
        return safetensors.torch.load(content)
    except (OSError, KeyError):
        return None


def keep_tensors(key: str, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Keeps tensors, and beside them `about` with their hash: the JSON comes last and makes them whole."""
    content = safetensors.torch.save({name: tensor.contiguous() for name, tensor in tensors.items()})
    atomically(cache_folder(ROOM) / f"{key}.safetensors", content)
    keep_json(key, {**about, "file": hashlib.sha256(content).hexdigest()})
