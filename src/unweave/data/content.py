"""A digest of what a value holds, whatever its kind: two of equal content have the same, and no other two."""

from __future__ import annotations

import copyreg
import hashlib
import os
import struct
import types
from collections import deque
from collections.abc import Iterable, Mapping, Set
from typing import Any

import numpy as np
import torch
from torch import Tensor

_NEW = copyreg.__newobj__  # type: ignore[attr-defined]
_DEEPEST = 100  # of containers in containers
_TEXTS = (bytes, bytearray, memoryview)
_RUNS = (tuple, list, deque)


def content(value: Any) -> tuple[bytes, bool]:
    """Digest of a value's content, and whether all its numbers are finite.

    Numbers count by their value: a label is the same as Python's, numpy's or torch's, of any integer type. So do the
    elements of mappings, sets and sequences, of arrays, pictures and tables, and what an object would hand to a copy
    of itself (its attributes, as a rule), each with its type. What cannot be read like that (a lambda, a lock, a bare
    `object()`) is like nothing else, itself included: its representation may leave out what differs.
    """
    reader = _Reader()
    try:
        return reader.of(value), reader.finite
    except RecursionError:
        return os.urandom(16), reader.finite


class _Reader:
    """Reads one example; what occurs in it twice is read once."""

    def __init__(self) -> None:
        self.finite = True
        self._known: dict[int, tuple[Any, bytes]] = {}  # the values too: their addresses stay theirs
        self._open: dict[int, int] = {}

    def of(self, value: Any) -> bytes:
        """The digest of a part."""
        if isinstance(value, (int, float, complex, str, *_TEXTS)) or value is None:
            return self._simple(value)
        key = id(value)
        if key in self._known:
            return self._known[key][1]
        if key in self._open:
            return _hash("again", len(self._open) - self._open[key])
        if len(self._open) > _DEEPEST:
            raise RecursionError
        self._open[key] = len(self._open)
        try:
            found = self._compound(value)
        except (RecursionError, MemoryError):
            raise
        except Exception:  # whatever the author of its class raises for what cannot be read or copied
            found = os.urandom(16)
        del self._open[key]
        self._known[key] = value, found
        return found

    def _simple(self, value: Any) -> bytes:
        if isinstance(value, int):  # bool too
            return _hash("integer", (), hex(value))
        if isinstance(value, (float, complex)):
            return self._numbers(np.asarray(value))
        if isinstance(value, str):
            return _hash("text", value.encode(errors="surrogatepass"))
        return _hash("nothing") if value is None else _hash("bytes", bytes(value))

    def _compound(self, value: Any) -> bytes:
        if isinstance(value, Mapping):
            return _hash("mapping", *sorted(self.of(key) + self.of(part) for key, part in value.items()))
        if isinstance(value, Set):
            return _hash("set", *sorted(map(self.of, value)))
        if isinstance(value, _RUNS):
            return self._all("run", value)
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, (np.ndarray, np.generic)):
            return self._array(np.asarray(value))
        if hasattr(type(value), "__array_interface__") or hasattr(type(value), "__array__"):
            return self._like_an_array(value)
        return self._object(value)

    def _all(self, kind: str, parts: Iterable[Any]) -> bytes:
        return _hash(kind, *map(self.of, parts))

    def _tensor(self, value: Tensor) -> bytes:
        value = value.detach().resolve_conj().resolve_neg()
        if value.is_nested:
            return self._all("run", value.unbind())
        if value.is_quantized:
            value = value.dequantize()
        if value.layout != torch.strided:
            sparse = value.to_sparse_coo().coalesce()
            return self._all("sparse", (tuple(value.shape), sparse.indices(), sparse.values()))
        value = value.cpu().contiguous()
        if value.dtype == torch.bfloat16 or (value.dtype.is_floating_point and value.dtype.itemsize == 1):
            value = value.float()  # numpy has none of these; every value is one of float32's
        return self._array(value.numpy())

    def _array(self, value: np.ndarray) -> bytes:
        if value.dtype.kind in "biufc":
            return self._numbers(value)
        if value.dtype.kind in "mM":
            return _hash("times", str(value.dtype), value.shape, value.astype("<i8").tobytes())
        if isinstance(value, np.ma.MaskedArray):
            value = value.filled()
        return self._all("cells", (value.shape, *value.ravel().tolist()))

    def _numbers(self, value: np.ndarray) -> bytes:
        if value.dtype.kind in "fc" and self.finite:
            self.finite = bool(np.isfinite(value).all())
        if value.size == 1 and value.dtype.kind in "biu":
            return _hash("integer", value.shape, hex(value.item()))
        if value.size == 1:
            value = value.astype(np.complex128 if value.dtype.kind == "c" else np.float64)
        elif value.dtype.kind in "biu" and value.dtype != np.uint8:
            value = value.astype(np.uint64 if value.dtype == np.uint64 else np.int64)
        value = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<"))
        return _hash("numbers", value.dtype.str, value.shape, value.data)

    def _like_an_array(self, value: Any) -> bytes:
        """Pictures and tables: their numbers, and what these mean."""
        if hasattr(type(value), "getpalette"):  # PIL, whose types are those of files
            meaning = ["picture", value.mode, value.getpalette(), value.info.get("transparency")]
        else:
            meaning = [_name(type(value)), *getattr(value, "axes", ()), getattr(value, "columns", ())]
        return self._all("like an array", (*meaning, np.asarray(value)))

    def _object(self, value: Any) -> bytes:
        if isinstance(value, type):
            return _hash("type", _name(value))
        if isinstance(value, types.FunctionType):  # of a lambda the name says nothing
            return os.urandom(16) if "<" in _name(value) else _hash("function", _name(value))
        parts = value.__reduce_ex__(2)
        if isinstance(parts, str):
            return _hash("name", _name(type(value)), parts)
        made, arguments, state, listed, mapped = (*parts[:5], None, None, None)[:5]
        if made is _NEW and len(arguments) == 1 and not (state or listed or mapped):
            return os.urandom(16)  # of its type alone: a bare object() is another than the next
        return self._all("object", (_name(made), arguments, state, *map(list, (listed or (), mapped or ()))))


def _hash(kind: str, *parts: object) -> bytes:
    """Each part with its length, so that no two sequences of parts run together into the same bytes."""
    digest = hashlib.blake2b(kind.encode(), digest_size=16)
    for part in parts:
        data = part if isinstance(part, (bytes, memoryview)) else repr(part).encode()
        digest.update(struct.pack("<q", memoryview(data).nbytes))
        digest.update(data)
    return digest.digest()


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"
