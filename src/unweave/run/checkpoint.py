"""Resumable state as safetensors and JSON: complete or not there, verified by hash, nothing executable."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from unweave import devices, ranks
from unweave.errors import ConfigurationError
from unweave.execution import world
from unweave.gramian import real
from unweave.sharded import part
from unweave.store import file_sha256, on_disk, save_tensors, write_json

UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, SafetensorError)
"""What reading a file raises that is not what was written."""
State = dict[str, Any]
_FORMAT = 1
_FILES = ("tensors.safetensors", "state.json")
_NUMBER = re.compile(r"[0-9]{1,18}")
_BROKEN = ".broken"  # what a checkpoint that cannot be read is renamed to, once an older one took its place


def save(folder: Path, states: dict[str, State]) -> None:
    """Writes named states (model, optimizer, rule, ...) as the newest checkpoint in `folder`; the one before is kept.

    A checkpoint is a folder, named by a number that counts up. It gets its name in one rename, after everything in it
    is on the disk: whatever ends the process, or the machine, the newest name is that of a whole one.

    Args:
        folder: of all checkpoints of a run.
        states: nested dicts, lists and tuples of tensors, numbers, text, booleans and None.

    All processes call it; the first one writes.

    Raises:
        TypeError: a state holds anything else.
    """
    tensors: dict[str, Tensor] = {}
    tree = {name: _split(state, name, tensors) for name, state in states.items()}
    if not ranks.lead():
        save_tensors(None, tensors)
        return
    kept = _numbered(folder)
    made = folder / f"{int(kept[-1].name) + 1 if kept else 0:06}"
    partial = folder / f".{made.name}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_tensors(partial / "tensors.safetensors", tensors)
    on_disk(partial / "tensors.safetensors")
    write_json(partial / "state.json", {"format": _FORMAT, "tree": tree})
    write_json(partial / "sha256.json", {name: file_sha256(partial / name) for name in _FILES})
    os.replace(partial, made)
    on_disk(folder)
    for path in folder.iterdir():
        if path not in (made, *kept[-1:]):
            shutil.rmtree(path, ignore_errors=True)


def load(folder: Path) -> dict[str, State] | None:
    """The states of the newest checkpoint that is whole; None where there is none yet.

    One that is torn, or changed since it was written (its hash tells), is named in a warning, renamed, and the one
    before it is used.

    Raises:
        ConfigurationError: there are checkpoints, and none of them can be read.
    """
    if (path := ranks.first(lambda: _newest(folder))) is None:
        return None
    return _read(path)


def _newest(folder: Path) -> Path | None:
    faults: dict[Path, str] = {}
    for path in reversed(_numbered(folder)):
        try:
            _check(path)
        except UNREADABLE as error:
            faults[path] = f"{path} cannot be read: {' '.join(str(error).split())}"
            continue
        for broken, fault in faults.items():
            os.replace(broken, broken.with_name(broken.name + _BROKEN))
            warnings.warn(f"the checkpoint {fault}. Going on from the one before it, {path}", stacklevel=2)
        return path
    if faults:
        raise ConfigurationError(
            f"no checkpoint can be read: {'; '.join(faults.values())}. Start the run again with --overwrite."
        )
    return None


@contextmanager
def of_this_version(folder: Path) -> Iterator[None]:
    """Around what goes on from the states of a checkpoint.

    Raises:
        ConfigurationError: they are whole, and not what this version writes.
    """
    try:
        yield
    except (LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise ConfigurationError(
            f"{folder}: a checkpoint of another version of unweave, or of another run "
            f"({type(error).__name__}: {' '.join(str(error).split())}). Go on with the version that wrote it, or begin "
            "again with --overwrite."
        ) from error


def _check(path: Path) -> None:
    hashes = json.loads((path / "sha256.json").read_text())
    changed = [name for name, digest in hashes.items() if file_sha256(path / name) != digest]
    if changed or set(hashes) != set(_FILES):
        raise ValueError(f"{' and '.join(changed) or 'sha256.json'} changed since it was written")
    content = json.loads((path / "state.json").read_text())
    if content["format"] != _FORMAT:
        raise ValueError(f"expected format {_FORMAT}, found {content['format']!r}")
    _read(path)


def _read(path: Path) -> dict[str, State]:
    content = json.loads((path / "state.json").read_text())
    tensors = load_file(path / "tensors.safetensors")
    return {name: _join(node, tensors) for name, node in content["tree"].items()}


def _numbered(folder: Path) -> list[Path]:
    """Checkpoints, oldest first."""
    found = [path for path in folder.iterdir() if _NUMBER.fullmatch(path.name)] if folder.is_dir() else []
    return sorted(found, key=lambda path: int(path.name))


def rng_state() -> State:
    """The states of the global generators: torch's of the CPU and of every accelerator, NumPy's and Python's."""
    kind, keys, *rest = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "device": devices.rng_states(),
        "numpy": (kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "python": random.getstate(),
    }


def set_rng_state(state: State) -> None:
    """Puts back what `rng_state` returned; accelerators' where there are as many as there were."""
    torch.set_rng_state(state["torch"])
    devices.set_rng_states(state.get("device", []))
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    random.setstate(state["python"])


def _split(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """`value` as JSON, its tensors moved to `tensors` under their path."""
    if isinstance(value, Tensor):
        if hasattr(value, "to_local"):
            tensors[name] = value.detach()
            return {"kind": "sharded", "name": name}
        tensors[name] = real(value.detach())  # safetensors knows no complex128
        return {"kind": "complex" if value.is_complex() else "tensor", "name": name}
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
        case "sharded":  # of as many processes as there are now
            return part(tensors[node["name"]]) if world() > 1 else tensors[node["name"]]
        case "complex":
            return torch.view_as_complex(tensors[node["name"]])
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
