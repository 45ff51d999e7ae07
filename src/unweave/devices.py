"""The device that a model runs on: any that torch has, by torch's own name for it. Its random states and its memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from unweave.errors import ConfigurationError

CPU = torch.device("cpu")
_SINGLE = {"mps"}  # has float32 at most, and one generator without a number


def accelerator() -> torch.device | None:
    """The kind of accelerator that this torch finds; None where there is the CPU alone."""
    return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None


def named(name: str) -> torch.device:
    """The device of this name, whether or not it is there.

    Raises:
        ConfigurationError: torch knows none.
    """
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise ConfigurationError(
            f"run.device: expected auto, cpu or a name as torch has it (cuda, cuda:1, mps, xpu), found {name!r}."
        ) from error


def chosen(name: str) -> torch.device:
    """The device of a recipe: `auto` is an accelerator if there is one; else as torch names it (cpu, cuda:1, mps, xpu).

    Raises:
        ConfigurationError: no device has that name, or it is not there.
    """
    found = accelerator()
    if name == "auto":
        return found or CPU
    device = named(name)
    if device.type == "cpu":
        return CPU
    there = torch.accelerator.device_count() if found is not None and found.type == device.type else 0
    if (device.index or 0) >= there:
        here = f"{there} of that kind" if there else "the CPU alone" if found is None else f"{found.type} alone"
        raise ConfigurationError(f"run.device: {name} is asked for, and torch finds {here}: use auto or cpu.")
    return device


def wide(tensor: Tensor) -> Tensor:
    """The values in float64: on the tensor's device, or on the CPU where that has no float64 (MPS)."""
    return (tensor.cpu() if tensor.device.type in _SINGLE else tensor).double()


def finest(tensor: Tensor) -> Tensor:
    """The values where they are, in the finest precision that their device has: float64, or float32 on MPS."""
    return tensor.to(torch.float32 if tensor.device.type in _SINGLE else torch.float64)


def home(device: torch.device) -> torch.device:
    """Where sums in float64 of a device's tensors are formed: there, or on the CPU where it has no float64."""
    return CPU if device.type in _SINGLE else device


# --- randomness: every generator of the accelerator that is in use; none is woken up for a model on the CPU


def rng_states() -> list[Tensor]:
    """The states of the accelerator's generators, one for each device."""
    module = _in_use()
    if module is None:
        return []
    if _single():
        return [module.get_rng_state()]
    return [module.get_rng_state(index) for index in range(module.device_count())]


def set_rng_states(states: list[Tensor]) -> None:
    """Puts back what `rng_states` returned, where there are as many devices as there were."""
    module = _in_use()
    if module is None or len(states) != (1 if _single() else module.device_count()):
        return
    for index, state in enumerate(states):
        module.set_rng_state(state) if _single() else module.set_rng_state(state, index)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """torch's generators, of the CPU and of the accelerator, at this seed; afterwards as they were."""
    own, states, module = torch.get_rng_state(), rng_states(), _in_use()
    try:
        torch.default_generator.manual_seed(seed)
        if module is not None:
            module.manual_seed(seed) if _single() else module.manual_seed_all(seed)
        yield
    finally:
        torch.set_rng_state(own)
        set_rng_states(states)


def _single() -> bool:
    found = accelerator()
    return found is not None and found.type in _SINGLE


def _in_use() -> Any:
    """torch's module of the accelerator, such as `torch.cuda`, once something was put there; None before."""
    found = accelerator()
    if found is None:
        return None
    module = torch.get_device_module(found)
    return module if getattr(module, "is_initialized", module.is_available)() else None


# --- memory


def memory(device: torch.device) -> int | None:
    """Bytes of memory that a device has; None where nobody says."""
    if device.type != "cpu" and hasattr(module := torch.get_device_module(device), "get_device_properties"):
        return int(module.get_device_properties(device).total_memory)
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return None


def peak(device: torch.device) -> int | None:
    """Largest number of bytes in use so far: of tensors on an accelerator since `forget_peak`, else of the process."""
    if device.type != "cpu" and hasattr(module := torch.get_device_module(device), "max_memory_allocated"):
        return int(module.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        return None
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found if sys.platform == "darwin" else 1024 * found


def forget_peak(device: torch.device) -> None:
    """Counts an accelerator's peak from here on."""
    if device.type != "cpu" and hasattr(module := torch.get_device_module(device), "reset_peak_memory_stats"):
        module.reset_peak_memory_stats(device)


def name() -> str:
    """What the accelerator calls itself; cpu where there is none."""
    found = accelerator()
    if found is None:
        return "cpu"
    module = torch.get_device_module(found)
    return str(module.get_device_name()) if hasattr(module, "get_device_name") else found.type
