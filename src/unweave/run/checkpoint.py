"""Resumable state as safetensors and JSON: complete or not there, verified by hash, nothing executable."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from unweave.errors import ConfigurationError
from unweave.run.record import write_json

State = dict[str, Any]
_FORMAT = 1


def save(folder: Path, states: dict[str, State]) -> None:
    """Writes named states (model, optimizer, rule, ...) to `folder`, replacing what was there in one rename.

    Args:
        folder: the checkpoint's directory.
        states: nested dicts, lists and tuples of tensors, numbers, text, booleans and None.

    Raises:
        TypeError: a state holds anything else.
    """
    partial, old = folder.with_name(f".{folder.name}.partial"), folder.with_name(f".{folder.name}.old")
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir(parents=True)
    tensors: dict[str, Tensor] = {}
    tree = {name: _split(state, name, tensors) for name, state in states.items()}
    save_file(tensors, partial / "tensors.safetensors")
    write_json(partial / "state.json", {"format": _FORMAT, "tree": tree})
    hashes = {name: _sha256(partial / name) for name in ("tensors.safetensors", "state.json")}
    write_json(partial / "sha256.json", hashes)
    if folder.exists():
        os.replace(folder, old)
    os.replace(partial, folder)
    shutil.rmtree(old, ignore_errors=True)


def load(folder: Path) -> dict[str, State]:
    """The states that `save` wrote.

    Raises:
        ConfigurationError: no checkpoint there, incomplete, or changed since it was written.
    """
    folder = _survivor(folder)
    try:
        hashes = json.loads((folder / "sha256.json").read_text())
        changed = [name for name, digest in hashes.items() if _sha256(folder / name) != digest]
        if changed or set(hashes) != {"tensors.safetensors", "state.json"}:
            raise ValueError(f"{' and '.join(changed) or 'sha256.json'} changed since it was written")
        content = json.loads((folder / "state.json").read_text())
        if content["format"] != _FORMAT:
            raise ValueError(f"expected format {_FORMAT}, found {content['format']!r}")
        tensors = load_file(folder / "tensors.safetensors")
        return {name: _join(node, tensors) for name, node in content["tree"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise ConfigurationError(
            f"{folder}: the checkpoint cannot be read: {' '.join(str(error).split())}. "
            "Delete it and start the run again without --resume."
        ) from error


def rng_state() -> State:
    """The state of torch's CPU generator; other randomness of a run comes from the seeds of the pairs."""
    return {"torch": torch.get_rng_state()}


def set_rng_state(state: State) -> None:
    """Puts back what `rng_state` returned."""
    torch.set_rng_state(state["torch"])


def tensors_sha256(tensors: dict[str, Tensor]) -> str:
    """A digest of names, shapes, types and values of a state dict, independent of its order."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()


def _survivor(folder: Path) -> Path:
    """`folder`, or its predecessor if the process died between the two renames of `save`."""
    old = folder.with_name(f".{folder.name}.old")
    return old if not folder.exists() and old.exists() else folder


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _split(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """`value` as JSON, its tensors moved to `tensors` under their path."""
    if isinstance(value, Tensor):
        tensors[name] = value.detach().cpu().clone().contiguous()
        return {"kind": "tensor", "name": name}
    if isinstance(value, dict):
        items = [[_key(k), _split(v, f"{name}/{k}", tensors)] for k, v in value.items()]
        return {"kind": "dict", "items": items}
    if isinstance(value, list | tuple):
        items = [_split(v, f"{name}/{i}", tensors) for i, v in enumerate(value)]
        return {"kind": type(value).__name__, "items": items}
    if isinstance(value, float):
        return {"kind": "float", "hex": value.hex()}
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(f"{name}: expected tensors, numbers or text in a checkpoint, found {type(value).__name__}")


def _join(node: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(node, dict):
        return node
    match node["kind"]:
        case "tensor":
            return tensors[node["name"]]
        case "dict":
            return {key: _join(item, tensors) for key, item in node["items"]}
        case "list":
            return [_join(item, tensors) for item in node["items"]]
        case "tuple":
            return tuple(_join(item, tensors) for item in node["items"])
        case "float":
            return float.fromhex(node["hex"])
        case kind:
            raise ValueError(f"unknown kind {kind!r}")


def _key(key: Any) -> int | str:
    if not isinstance(key, int | str):
        raise TypeError(f"expected text or whole numbers as keys of a state, found {type(key).__name__}")
    return key
