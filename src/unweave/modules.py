"""What holds for any torch module: how it is copied, what of it is one memory, and how a look leaves no trace."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parallel import DistributedDataParallel
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from unweave.errors import ConfigurationError
from unweave.sharded import copied_alike, is_sharded, reshard

M = TypeVar("M", bound=nn.Module)


def check(model: object) -> None:
    """Refuses what has no weights that could be looked at, let alone moved.

    Raises:
        ConfigurationError: no module; or a parameter without a shape, without values, sparse, made in inference mode,
            or several of whose elements are one number in memory.
    """
    if not isinstance(model, nn.Module):
        raise ConfigurationError(f"model must be a torch.nn.Module; found {type(model).__name__}.")
    kinds: dict[str, list[str]] = {}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if fault := _strange(tensor):
            kinds.setdefault(fault, []).append(name)
    if kinds:
        also = {fault: f" (and {len(found) - 1} more)" if found[1:] else "" for fault, found in kinds.items()}
        raise ConfigurationError(f"model: {found[0]}{also[fault]} {fault}." for fault, found in kinds.items())


def _strange(tensor: Tensor) -> str:
    if is_lazy(tensor):
        return "has no shape yet: its layer has seen no input. Run one batch through the model, and train it"
    if tensor.is_meta:
        return "is on the meta device, which holds no values. Load the weights"
    if not isinstance(tensor, nn.Parameter):
        return ""
    if tensor.is_inference():
        return "was made in torch.inference_mode: no gradient reaches it. Load the model outside"
    if tensor.layout != torch.strided:
        return "is sparse. Make it dense (to_dense())"
    return "holds one number for several elements (expand). Give each its own (contiguous())" if _spread(tensor) else ""


def bare(model: nn.Module) -> nn.Module:
    """The module itself: DDP synchronises buffers in every forward, and a look without a graph needs no peer."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def copied(model: M) -> M:
    """A copy that shares nothing with the model, and whose tensors share memory among themselves as the model's do.

    One whose weights are sharded over ranks (FSDP2) gives one that is sharded alike; all ranks copy together.

    What a forward pass left on the model (a normalised weight, a kept activation) is copied as values, without a graph.

    Raises:
        ConfigurationError: a part of it cannot be copied, or copies itself as itself.
    """
    try:
        with torch.no_grad(), _Values():
            memo = _one_memory(model)
            made = copied_alike(model, memo) if is_sharded(model) else copy.deepcopy(model, memo)
        pairs = list(zip(made.parameters(), model.parameters(), strict=True))
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise ConfigurationError(
            f"the model cannot be copied: {_uncopied(model)}{' '.join(str(error).split())}. Take that off the model, "
            "or pass inplace=True (to unlearn) with a model that was loaded for it."
        ) from error
    for new, old in pairs:
        if new.requires_grad != old.requires_grad:  # a scripted module's
            new.requires_grad_(old.requires_grad)
    own = {_start(p) for _, p in pairs if _plain(p)}
    if any(_plain(p) and _start(p) in own for p, _ in pairs):
        raise ConfigurationError(
            f"the model cannot be copied: a copy of {type(model).__name__} shares weights with it. Pass inplace=True "
            "(to unlearn) with a model that was loaded for it."
        )
    return made


class _Values(TorchFunctionMode):
    """Copies tensors that are the result of a computation, which torch refuses, as their values."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__deepcopy__ and args[0].grad_fn is not None:
            tensor, memo = args
            memo[id(tensor)] = made = tensor.detach().clone()
            return made
        return func(*args, **(kwargs or {}))


def _one_memory(model: nn.Module) -> dict[int, Any]:
    """What `deepcopy` is to take for parameters in a memory that others are in too; it would give each its own."""
    held: list[Tensor] = [*model.parameters(), *model.buffers()]
    held += [value for m in model.modules() for value in vars(m).values() if isinstance(value, Tensor)]
    counts: dict[int, int] = {}
    for tensor in {id(t): t for t in held if _plain(t)}.values():
        key = tensor.untyped_storage()._cdata
        counts[key] = counts.get(key, 0) + 1
    memo: dict[int, Any] = {}
    for p in model.parameters():
        if type(p) is nn.Parameter and _plain(p) and counts[p.untyped_storage()._cdata] > 1:
            memo[id(p)] = nn.Parameter(copy.deepcopy(p.data, memo), p.requires_grad)
    return memo


def _uncopied(model: nn.Module) -> str:
    """Which attribute of which part it is, as the beginning of a sentence; nothing if none alone is."""
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            if key in ("_modules", "_parameters", "_buffers"):
                continue
            try:
                with torch.no_grad(), _Values():
                    copy.deepcopy(value, {id(m): m for m in model.modules()})
            except Exception:
                return f"{'.'.join(filter(None, (name, key)))} is {type(value).__name__}, "
    return ""


@contextmanager
def joined(model: nn.Module) -> Iterator[None]:
    """Parameters that are one memory (tied through `.data`) are one object inside, so that a step counts them once.

    A wrapped model (DDP) stays as it is; `check_memory` refuses what is left.
    """
    first: dict[Any, nn.Parameter] = {}
    places: list[tuple[nn.Module, str, nn.Parameter]] = []
    for module in () if isinstance(model, DistributedDataParallel) else model.modules():
        for name, p in () if isinstance(module, torch.jit.ScriptModule) else module._parameters.items():
            if p is not None and _plain(p):
                places.append((module, name, p))
                known = first.setdefault(_place(p), p)
                if p.requires_grad and not known.requires_grad:
                    first[_place(p)] = p
    others = [(module, name, p) for module, name, p in places if first[_place(p)] is not p]
    for module, name, p in others:
        setattr(module, name, first[_place(p)])
    try:
        yield
    finally:
        for module, name, p in others:
            setattr(module, name, p)


def check_memory(model: nn.Module) -> None:
    """Refuses parameters that may move and share numbers in memory with others: a step would move these twice.

    Raises:
        ConfigurationError: there are some; `joined` makes one of those that are one memory altogether.
    """
    spans = sorted((_start(p), _end(p), name) for name, p in model.named_parameters() if _plain(p))
    named = dict(model.named_parameters())
    active: list[tuple[int, str]] = []
    for start, end, name in spans:
        active = [(e, n) for e, n in active if e > start]
        for _, other in active:
            a, b = named[other], named[name]
            if (a.requires_grad or b.requires_grad) and a.device == b.device and _meet(a, b):
                raise ConfigurationError(
                    f"parameters {other} and {name} share numbers in memory without being one parameter: a step would "
                    "move these twice. Let one be computed from the other in the forward pass (or tie whole weights "
                    "by the object, b.weight = a.weight), or freeze both."
                )
        active.append((end, name))


def _modules(model: nn.Module) -> list[nn.Module]:
    """What `model.modules()` gives, in a third of the time: every look of every step asks."""
    found, ahead = dict[int, nn.Module](), list[nn.Module | None]([model])
    while ahead:
        module = ahead.pop()
        if module is not None and id(module) not in found:
            found[id(module)] = module
            ahead += module._modules.values()
    return list(found.values())


class Buffers:
    """All buffers of a model as they are now, to be put back: the same tensors with the same values."""

    @torch.no_grad()
    def __init__(self, model: nn.Module) -> None:
        self._bound = [(m, dict(m._buffers.items()), dict(vars(m))) for m in _modules(model) if len(m._buffers)]
        found = {id(b): b for _, named, _ in self._bound for b in named.values() if b is not None}
        kept = [b for b in found.values() if writable(b)]
        self._dense = [b for b in kept if b.layout == torch.strided]
        self._values = [torch.empty_like(b) for b in self._dense]
        if self._dense:
            torch._foreach_copy_(self._values, self._dense)
        self._sparse = [(b, b.clone()) for b in kept if b.layout != torch.strided]

    @torch.no_grad()
    def restore(self, differing: bool = False) -> None:
        """Puts them back; `differing`: only where the values are others, as autograd counts what is written."""
        for module, named, attributes in self._bound:
            now = dict(module._buffers.items())
            if now.keys() != named.keys() or any(now[name] is not b for name, b in named.items()):
                _rebind(module, named, attributes)
        if differing:
            for buffer, value in zip(self._dense, self._values, strict=True):
                if not torch.equal(buffer, value):
                    buffer.copy_(value)
        elif self._dense:
            torch._foreach_copy_(self._dense, self._values)
        for buffer, value in self._sparse:
            buffer.copy_(value)


def _rebind(module: nn.Module, named: dict[str, Tensor | None], attributes: dict[str, Any]) -> None:
    """Buffers that became other tensors are the former again, and what the module noted beside them (a length)."""
    for name, buffer in named.items():
        setattr(module, name, buffer)
    if isinstance(module, torch.jit.ScriptModule):
        return
    for name in module._buffers.keys() - named.keys():
        del module._buffers[name]
    own = vars(module)
    for name in own.keys() - attributes.keys():
        del own[name]
    own.update(attributes)


class At(nn.Module):
    """A model with other weights in the place of its own: a graph leads to them, and its own stay as they are.

    Args:
        module: the model.
        weights: by name; all others are the model's own.
    """

    module: nn.Module

    def __init__(self, module: nn.Module, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        object.__setattr__(self, "module", module)  # not registered: its parameters are not ours
        self.training = module.training
        self._weights = dict(weights)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the model's."""
        return functional_call(self.module, self._weights, args, kwargs)


@contextmanager
def still(model: nn.Module) -> Iterator[None]:
    """Whatever a pass inside does to the buffers of the model, they are afterwards as they were.

    A graph that is made inside must be used inside: buffers that it holds are written to at the end.
    """
    buffers = Buffers(model)
    try:
        yield
    finally:
        buffers.restore()


@contextmanager
def mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Training or evaluation mode inside; outside, every module is again in the mode it was in."""
    before = [(m, m.training) for m in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, was in before:
            module.training = was


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; modes and buffers are afterwards as they were, sharded weights no longer gathered."""
    try:
        with mode(model, False), still(model):
            yield
    finally:
        reshard(model)


def writable(buffer: Tensor) -> bool:
    """Whether it could change in place: it has values, and each element a number of its own in memory."""
    return not is_lazy(buffer) and not _spread(buffer)


def moving_buffers(model: nn.Module) -> bool:
    """Whether a pass may change buffers of it."""
    return model.training and any(writable(buffer) for buffer in model.buffers())


def _plain(tensor: Tensor) -> bool:
    """Whether it has a memory of its own kind: dense, with elements, no shard of another, not quantised."""
    if is_lazy(tensor) or tensor.is_meta or is_traceable_wrapper_subclass(tensor):
        return False
    return tensor.layout == torch.strided and tensor.numel() > 0


def _spread(tensor: Tensor) -> bool:
    """Whether several of its elements are one number in memory (`expand`); torch writes into none such."""
    if tensor.layout != torch.strided:
        return False
    return any(size > 1 and stride == 0 for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def _start(tensor: Tensor) -> int:
    return tensor.data_ptr()


def _end(tensor: Tensor) -> int:
    return tensor.data_ptr() + _extent(tensor) * tensor.element_size()


def _extent(tensor: Tensor) -> int:
    """Elements from its first to its last in memory."""
    return 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def _place(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.data_ptr(), tensor.device, tensor.dtype, tensor.shape, tensor.stride()


def _meet(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors whose memory overlaps have an element in common; `a` begins first."""
    apart, rest = divmod(_start(b) - _start(a), a.element_size())
    if rest or a.element_size() != b.element_size():
        return True
    marks = torch.zeros(max(_extent(a), apart + _extent(b)), dtype=torch.bool)
    marks.as_strided(a.shape, a.stride()).fill_(True)
    return bool(marks.as_strided(b.shape, b.stride(), apart).any())


def differentiable(values: Tensor, name: str) -> None:
    """Refuses a loss that no weight that may move has a part in.

    Raises:
        ConfigurationError: it has no graph.
    """
    if not values.requires_grad:
        raise ConfigurationError(
            f"the {name} loss does not depend on any weight that may move: no gradient reaches them. Look for "
            "torch.no_grad, detach or .data in the model's forward, or let other parameters move."
        )


def per_example(values: object, name: str) -> Tensor:
    """The values of a loss, which are real, and one for every example.

    Raises:
        ConfigurationError: they are something else.
    """
    if not isinstance(values, Tensor) or values.ndim != 1:
        found = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ConfigurationError(
            f"A loss must return one value per example, [b]; {name} returned {found}. Do not reduce over the batch."
        )
    if values.is_complex():
        raise ConfigurationError(
            f"A loss must return one value per example, [b]; {name} returned {values.dtype}. Take its real part or "
            "its modulus."
        )
    return values
