"""The user's cache folder, the one way to write a file, to keep tensors in it, and to hash tensors and files."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import re
import shutil
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from unweave.errors import ConfigurationError
from unweave.sharded import packed, whole

_CODES = {
    **{torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"},
    **{torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8"},
    torch.bool: "BOOL",
}
_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
_PARTIAL = re.compile(r"\..*\.(?P<host>[0-9a-f]{8})-(?P<process>\d+)-\d+\.partial", re.DOTALL)
_DAY = 86_400.0  # seconds after which no write of another machine goes on


def cache_folder(room: str) -> Path:
    """`$UNWEAVE_CACHE/room`, or `~/.cache/unweave/room` if the variable is not set; not created."""
    return Path(os.environ.get("UNWEAVE_CACHE") or Path.home() / ".cache" / "unweave") / room


def model_in(path: Path) -> Path:
    """Where the files of a model lie: in `model` of what a run left, or where the path says.

    Raises:
        ConfigurationError: a run began there and has not ended, so that it left no model yet.
    """
    if (path / "model").is_dir():
        return path / "model"
    if (path / "recipe.yaml").is_file() and any((path / name).exists() for name in ("checkpoint", "steps.jsonl")):
        raise ConfigurationError(
            f"{path}: expected a model, found a run that has not ended: first go on, unweave run --resume {path}"
        )
    return path


def atomically(path: Path, content: bytes, *, private: bool = False) -> None:
    """Write a file so that a reader sees all of it or none of it, also after a crash; make its folder if need be.

    What earlier writes left in the folder that were killed in between is taken away.

    Args:
        path: of the file.
        content: of it.
        private: nobody else on this machine may read it.

    Raises:
        OSError: what the system refused, a full disk among them; the file is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    tidy(path.parent)
    partial = beside(path)
    try:
        partial.touch(0o600 if private else 0o666)
        partial.write_bytes(content)
        on_disk(partial)
        os.replace(partial, path)
        on_disk(path.parent)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror or str(error), str(path)) from error
        raise


def beside(path: Path) -> Path:
    """Where a file is written before it gets its name: hidden, and of this very thread."""
    return path.with_name(f".{path.name}.{_HOST}-{os.getpid()}-{threading.get_ident()}.partial")


def tidy(folder: Path) -> None:
    """Takes away what killed writes left: of processes of this machine that are gone, and whatever is older than a day.

    A folder that cannot be read or changed stays as it is.
    """
    with suppress(OSError), os.scandir(folder) as found:
        for each in found:
            if (named := _PARTIAL.fullmatch(each.name)) and _left(each.path, named["host"], int(named["process"])):
                shutil.rmtree(each.path) if each.is_dir(follow_symlinks=False) else os.unlink(each.path)


def folder_once(folder: Path, write: Callable[[Path], None], there: Callable[[Path], bool] = Path.is_dir) -> Path:
    """The folder; where it is not there, written first, all or nothing. What another process wrote meanwhile stays.

    Args:
        folder: to be there.
        write: fills an empty folder that it is given.
        there: whether the folder is whole; what is not is replaced.
    """
    if there(folder):
        return folder
    partial = beside(folder)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        write(partial)
        if not there(folder):
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):  # another process may be first even now
                os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    if not there(folder):
        raise OSError(f"{folder} could not be written")
    return folder


def on_disk(path: Path) -> None:
    """Returns once what was written to a file, or which names a folder has, would outlive the machine's crash."""
    if path.is_dir() and os.name != "posix":  # elsewhere a folder cannot be opened
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _left(path: str, host: str, process: int) -> bool:
    """Whether nobody writes this file any more."""
    if host == _HOST and os.name == "posix":
        try:
            os.kill(process, 0)  # asks, and sends nothing
        except ProcessLookupError:
            return True
        except (OSError, OverflowError):
            pass
    return time.time() - os.stat(path).st_mtime > _DAY


def write_json(path: Path, content: Any) -> None:
    """Writes plain data, all or nothing; non-finite numbers become null, as JSON has none."""
    text = json.dumps(strict(content), indent=2, allow_nan=False, ensure_ascii=False)
    atomically(path, f"{text}\n".encode())


def strict(value: Any) -> Any:
    """Plain data with null for what is not finite."""
    if isinstance(value, dict):
        return {str(k): strict(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [strict(v) for v in value]
    return (value if math.isfinite(value) else None) if isinstance(value, float) else value


def kept_json(path: Path) -> dict[str, Any] | None:
    """The object that a JSON file holds; None where there is none, or it cannot be read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def place_of(about: Mapping[str, Any], folder: Path | None = None) -> Path:
    """Where tensors are kept that this decided, as plain data: in the folder, or in `models` of the user's cache."""
    name = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]
    return (cache_folder("models") if folder is None else folder) / f"{name}.safetensors"


def keep_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Writes tensors, and then, under the same name ending in .json, `about` with the SHA-256 of their file.

    Args:
        path: of the tensors, ending in .safetensors.
        tensors: by name.
        about: what decided them and what they took, as plain data; it has no `sha256` of its own.
    """
    content = safetensors.torch.save({name: t.detach().cpu().contiguous() for name, t in tensors.items()})
    atomically(path, content)
    write_json(path.with_suffix(".json"), {**about, "sha256": hashlib.sha256(content).hexdigest()})


def kept_about(path: Path) -> dict[str, Any] | None:
    """What `keep_tensors` noted of a file, its `sha256` included; None where either is not there."""
    noted = kept_json(path.with_suffix(".json"))
    return noted if noted is not None and "sha256" in noted and path.is_file() else None


def kept_tensors(path: Path) -> dict[str, Tensor] | None:
    """What `keep_tensors` wrote; None where it did not, or one of the two files is not as it was.

    Warns:
        UserWarning: both files are there, and do not fit each other.
    """
    if not (path.is_file() and path.with_suffix(".json").is_file()):
        return None
    try:
        content = path.read_bytes()
        if (kept_about(path) or {}).get("sha256") == hashlib.sha256(content).hexdigest():
            return safetensors.torch.load(content)
    except OSError:
        pass
    warnings.warn(f"{path} is damaged (its hash differs from {path.stem}.json): it is made again", stacklevel=3)
    return None


def tensors_sha256(tensors: dict[str, Tensor]) -> str:
    """A digest of names, shapes, types and values of a state dict, independent of its order; one tensor at a time.

    Of a sharded model all ranks ask. What is quantised (torchao) counts as its integers and its scales.
    """
    digest = hashlib.sha256()
    for name, kept in sorted(unpacked(tensors).items()):
        tensor = whole(kept.detach()).resolve_conj().cpu().contiguous()
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()


def unpacked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same, of what is quantised (torchao) its integers and its scales."""
    found = dict[str, Tensor]()
    for name, tensor in tensors.items():
        flatten = getattr(tensor, "__tensor_flatten__", None) if packed(tensor) else None
        parts = flatten()[0] if flatten is not None else ()
        found |= {f"{name}.{part}": getattr(tensor, part) for part in parts} or {name: tensor}
    return found


def save_tensors(path: Path | None, tensors: Mapping[str, Tensor]) -> None:
    """Writes a safetensors file, one tensor after the other: no second copy of all is made in memory.

    Args:
        path: of the file; None: this rank takes part in gathering what is sharded, and writes nothing.
        tensors: by name; all ranks give the same names.
    """
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header, end = dict[str, Any](), 0
    for name in names:
        tensor, begin = tensors[name], end
        end += tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _CODES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with nullcontext() if path is None else path.open("wb") as file:
        if file is not None:
            file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            tensor = whole(tensors[name].detach())
            if file is not None and tensor.numel():
                file.write(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)


def file_sha256(path: Path) -> str:
    """Of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
