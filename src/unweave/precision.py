"""Weights in half precision move in float32: a step that is shorter than their rounding would be lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from unweave.sharded import is_sharded

HALF = (torch.bfloat16, torch.float16)
_INSIDE, _MASTER = "parametrizations", "original0"  # where `parametrize` puts what is behind a weight

Place = tuple[nn.Module, str]


class Rounded(nn.Module):
    """A weight as the model reads it: its master, rounded."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, master: Tensor) -> Tensor:
        """To the type of the weight; the gradient comes back as float32."""
        return master.to(self.dtype)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor]:
        """The master of a weight; in a tuple, whose types `parametrize` leaves alone."""
        return (weight.detach().float(),)


@contextmanager
def masters(model: nn.Module) -> Iterator[None]:
    """Inside, parameters in bfloat16 or float16 that may move are float32 masters, and the model reads them rounded.

        theta = round(m),   m <- m - lr D,   grad_m L = grad_theta L

    Every pass, look and reading is one of the model that is left: outside, its parameters are the same objects as
    before, with the rounded values. It costs 4 bytes an element. What is frozen, in float32, scripted, parametrised
    already, or sharded over ranks stays as it is.

    Micikevicius et al., "Mixed precision training", ICLR 2018 (arXiv:1710.03740), section 3.1.
    """
    found = {} if is_sharded(model) else _halves(model)
    order = {id(module): (module, list(module._parameters)) for places in found.values() for module, _ in places[1]}
    for parameter, places in found.values():
        behind = list[nn.Module]()
        for module, name in places:
            parametrize.register_parametrization(module, name, Rounded(parameter.dtype), unsafe=True)
            behind.append(module.get_submodule(f"{_INSIDE}.{name}"))
        for other in behind[1:]:  # one weight with two names has one master
            setattr(other, _MASTER, getattr(behind[0], _MASTER))
    try:
        yield
    finally:
        for parameter, places in found.values():
            module, name = places[0]
            with torch.no_grad():
                parameter.copy_(getattr(module, name))
            for module, name in places:
                parametrize.remove_parametrizations(module, name)
                module._parameters[name] = parameter
        for module, names in order.values():  # as a model lists them, others match theirs
            for name in names:
                module._parameters[name] = module._parameters.pop(name)


def without_masters(model: nn.Module) -> bool:
    """Whether weights in half precision may move that have no masters."""
    return bool(_halves(model))


def narrow(model: nn.Module) -> bool:
    """Whether there is something to make masters of."""
    return not is_sharded(model) and without_masters(model)


def runs(model: nn.Module, forward: Callable[[], object]) -> bool:
    """Whether a pass over the model does with masters: one that casts by the type of `self.parameters()` does not.

    What does not run without them either is for others to refuse, who say why.
    """
    try:
        with masters(model), torch.no_grad():
            forward()
    except Exception:
        return False
    return True


def names(model: nn.Module) -> dict[str, str]:
    """Of every master the name of the weight that it is of."""
    found = {}
    for path, module in model.named_modules():
        if isinstance(module, parametrize.ParametrizationList) and isinstance(module[0], Rounded):
            owner, _, name = path.rpartition(f"{_INSIDE}.")
            found[f"{path}.{_MASTER}"] = f"{owner}{name}"
    return found


def _halves(model: nn.Module) -> dict[int, tuple[nn.Parameter, list[Place]]]:
    """The parameters in half precision that may move, and where each stands."""
    found: dict[int, tuple[nn.Parameter, list[Place]]] = {}
    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule | parametrize.ParametrizationList):
            continue
        for name, parameter in module._parameters.items():
            if parameter is not None and parameter.requires_grad and parameter.dtype in HALF:
                found.setdefault(id(parameter), (parameter, []))[1].append((module, name))
    return found
