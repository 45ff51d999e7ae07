"""The device that these tests run on, and a mode that counts what a device would have to wait for."""

from __future__ import annotations

import collections
import hashlib
import os
import shutil
import subprocess
import tempfile
import traceback
import types
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

SIMULATED = "simulated"
_NAME = "sim"
_SOURCE = Path(__file__).with_name("simulated.cpp")


def device() -> tuple[torch.device | None, str]:
    """The device named by `UNWEAVE_DEVICE`: `simulated`, or one of torch's; None, and why, where there is none."""
    named = os.environ.get("UNWEAVE_DEVICE", "")
    if not named:
        return None, "UNWEAVE_DEVICE names no device (`make device`): a simulated one is for the whole process"
    if named != SIMULATED:
        return torch.device(named), ""
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        return None, "a C++ compiler makes the simulated device, and there is none"
    _register(_built(compiler))
    return torch.device(_NAME, 0), ""


def _built(compiler: str) -> Path:
    """The backend as a library, made once for this source and this torch."""
    root, key = Path(torch.__file__).parent, f"{torch.__version__} {_SOURCE.read_text()}"
    library = Path(tempfile.gettempdir()) / f"unweave-device-{hashlib.sha256(key.encode()).hexdigest()[:16]}.so"
    if not library.exists():
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / library.name
            flags = [
                "-O0",
                "-w",
                "-std=c++20",
                "-shared",
                "-fPIC",
                "-DAT_PER_OPERATOR_HEADERS",
                f"-I{root / 'include'}",
            ]
            links = ["-o", str(made), f"-L{root / 'lib'}", "-ltorch_cpu", "-lc10"]
            subprocess.run([compiler, *flags, str(_SOURCE), *links], check=True)
            shutil.move(made, library)
    return library


class _Module(types.ModuleType):
    """What `torch.cuda` is to CUDA; its one generator is the CPU's."""

    is_available = is_initialized = staticmethod(lambda: True)
    device_count = staticmethod(lambda: 1)
    current_device = staticmethod(lambda: 0)
    _is_in_bad_fork = staticmethod(lambda: False)
    manual_seed = manual_seed_all = staticmethod(lambda seed: torch.default_generator.manual_seed(seed))
    get_rng_state = staticmethod(lambda index=0: torch.get_rng_state())
    set_rng_state = staticmethod(lambda state, index=0: torch.set_rng_state(state))
    get_amp_supported_dtype = staticmethod(lambda: [torch.bfloat16, torch.float16])


def _register(library: Path) -> None:
    torch.utils.rename_privateuse1_backend(_NAME)
    torch._register_device_module(_NAME, _Module(f"torch.{_NAME}"))  # type: ignore[no-untyped-call]
    torch.ops.load_library(library)
    torch.utils.generate_methods_for_privateuse1_backend()
    plain = torch.Tensor.__deepcopy__

    def copied(self: torch.Tensor, memo: dict[int, Any]) -> torch.Tensor:  # torch knows how for its own devices alone
        if self.device.type != _NAME or isinstance(self, torch.nn.Parameter):
            return plain(self, memo)
        memo[id(self)] = self.detach().clone().requires_grad_(self.requires_grad)
        return memo[id(self)]  # type: ignore[no-any-return]

    torch.Tensor.__deepcopy__ = copied  # type: ignore[assignment,method-assign]


_WAITS = ("_local_scalar_dense", "nonzero", "equal", "masked_select", "is_nonzero", "_unique", "unique", "bincount")
_MAY_MIX = ("_to_copy", "copy_", "index.Tensor", "index_put", "_index_put", "empty_like", "zeros_like", "new_", "set_")


class Watch(TorchDispatchMode):
    """Counts, while it is entered, by the line of the library that asked.

    Attributes:
        waits: operations whose result the host has to wait for: a value read, a copy to the host, a shape that depends
            on values.
        mixed: operations on tensors of the device and of the host, other than copies and reading by an index.
        double: tensors in float64 that were made on the device.
        calls: operations on the device.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, self.calls = kind, 0
        self.waits, self.mixed, self.double = (collections.Counter[str]() for _ in range(3))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func).removeprefix("aten.")
        given = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
        there = [each for each in given if each.device.type == self.kind]
        if there and any(each.device.type == "cpu" and each.ndim for each in given) and not name.startswith(_MAY_MIX):
            self.mixed[f"{name} at {_line()}"] += 1
        result = func(*args, **(kwargs or {}))
        made = [each for each in tree_leaves(result) if isinstance(each, torch.Tensor)]
        on = [each for each in made if each.device.type == self.kind]
        self.calls += bool(there)
        if there and self._waits(name, args, made):
            self.waits[_line()] += 1
        if any(each.dtype == torch.float64 for each in on):
            self.double[_line()] += 1
        return result

    def _waits(self, name: str, args: Any, made: list[torch.Tensor]) -> bool:
        if name.startswith(_WAITS):
            return True
        if name.startswith(("index.Tensor", "index_put", "_index_put")):
            return any(isinstance(each, torch.Tensor) and each.dtype == torch.bool for each in tree_leaves(args[1:]))
        if name.startswith("copy_"):
            return bool(args[0].device.type == "cpu" and args[1].device.type == self.kind)
        return name.startswith("_to_copy") and args[0].device.type == self.kind and made[0].device.type == "cpu"


def _line() -> str:
    for frame in reversed(traceback.extract_stack()[:-2]):
        if "/src/unweave/" in frame.filename:
            return f"{frame.filename.split('/src/unweave/')[-1]}:{frame.lineno}"
    return "elsewhere"
