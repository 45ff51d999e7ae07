"""The original model, to compare with: a frozen copy, the model itself as it was, or what it said, written down."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.func import functional_call

from unweave.errors import ConfigurationError
from unweave.execution import bare
from unweave.losses._base import Batch, predictor
from unweave.modules import At, copied, evaluating, mode, still
from unweave.sharded import is_sharded, reshard, whole
from unweave.store import atomically, cache_folder, tensors_sha256
from unweave.tasks import Task


@runtime_checkable
class Answers(Protocol):
    """A set of texts with numbers, whose batches hold the number of each as "index" (`TextRows`)."""

    @property
    def numbers(self) -> Tensor:
        """Of the rows, `[n]`."""

    @property
    def bounds(self) -> Tensor:
        """Where each text begins and the last ends, `[n + 1]`."""

    @property
    def alternate(self) -> Answers | None:
        """The same prompts with other answers."""

    def batch(self, indices: Any) -> Any:
        """The given rows as one padded batch."""

    def fingerprint(self) -> str:
        """SHA-256 of all that it holds."""


@dataclass(frozen=True)
class AdaptersOff:
    """The model itself with its PEFT adapters off: the original, if they started at zero. No second model.

    The adapters may be those of a part of it: of a PEFT model, or of a diffusers model that has some
    (`add_adapter`), inside a wrapper.
    """

    def of(self, model: nn.Module) -> nn.Module:
        """Something to call in the original's place.

        Raises:
            ConfigurationError: the model has no adapters, or other weights may move too.
        """
        own: Any = bare(model)
        if _owner(own) is None:
            raise ConfigurationError(f"AdaptersOff needs a PEFT model; found {type(own).__name__}. Use frozen(model).")
        moving = [n for n, p in own.named_parameters() if p.requires_grad and "lora_" not in n]
        if moving:
            raise ConfigurationError(
                f"{len(moving)} weights beside the adapters may move ({moving[0]}), so the model without adapters is "
                "not the original: choose parameters='*lora_*', or pass losses.frozen(model)."
            )
        return _Before(own, None)


@dataclass(frozen=True, eq=False)
class Swapped:
    """The model itself with the weights that may move as they were: costs a copy of these alone.

    Args:
        values: name to tensor, of every parameter that may move, and of buffers.
    """

    values: Mapping[str, Tensor]

    def of(self, model: nn.Module) -> nn.Module:
        """Something to call in the original's place.

        Raises:
            ConfigurationError: other weights may move too.
        """
        own = bare(model)
        if extra := [n for n, p in own.named_parameters() if p.requires_grad and n not in self.values]:
            raise ConfigurationError(
                f"{len(extra)} weights may move that were not kept ({extra[0]}): pass losses.frozen(model)."
            )
        return _Before(own, self.values)


@dataclass(frozen=True, eq=False)
class Remembered:
    """What the original model said of each row's answer; no model at all. `remember` makes it.

    Args:
        values: log-probability of the answer by row number, `[k]`; NaN for rows that were not asked.
        alternate: of the alternative answers.
    """

    values: Tensor
    alternate: Remembered | None = None

    def __call__(self, batch: Batch) -> Tensor:
        """Of the rows of a batch, `[b]`.

        Raises:
            ConfigurationError: the batch has no row numbers, or one that was not asked.
        """
        if not isinstance(batch, Mapping) or "index" not in batch:
            raise ConfigurationError("remembered values need the row numbers of a batch, batch['index'].")
        rows = batch["index"].cpu()
        known = rows < len(self.values)
        found = self.values[rows.clamp(max=len(self.values) - 1)]
        if not bool((known & found.isfinite()).all()):
            missing = rows[~known | ~found.isfinite()].tolist()
            raise ConfigurationError(
                f"rows {missing[:5]} were not remembered: remember(model, task, rows) with them too."
            )
        return found.to(batch["index"].device)


Reference = nn.Module | AdaptersOff | Swapped | Remembered


def reference(original: nn.Module | AdaptersOff | Swapped | Remembered) -> Reference:
    """The least that stands for the original model: the model itself without adapters that start at zero, the model
    with its adapters as they are now, or a frozen copy; where it cannot be copied, the model with the weights that may
    move as they are now. What is such a thing already is returned.
    """
    if not isinstance(original, nn.Module):
        return original
    if _owner(bare(original)) is None:
        try:
            return frozen(original)
        except ConfigurationError:
            return _swapped(original)
    named = dict(original.named_parameters())
    moving = {n: p for n, p in named.items() if p.requires_grad}
    ends = [p for n, p in named.items() if "lora_B" in n or "lora_embedding_B" in n]
    plain = ends and all("lora_" in n and "magnitude" not in n for n in moving)
    if plain and not any(bool(whole(p.detach()).any()) for p in ends):
        return AdaptersOff()
    return frozen(original) if is_sharded(original) else _swapped(original)  # FSDP2 puts its own weights in a pass


def _owner(model: nn.Module) -> Any:
    """The part of the model, the model itself as a rule, that can turn its adapters off; None where nothing can."""
    for part in model.modules():
        if callable(getattr(part, "disable_adapter", None)):  # PEFT's own
            return part
        plural = callable(getattr(part, "disable_adapters", None)) and callable(getattr(part, "enable_adapters", None))
        if plural and any("lora_" in name for name, _ in part.named_parameters()):  # diffusers' and transformers'
            return part
    return None


@contextmanager
def _off(owner: Any) -> Iterator[None]:
    """Its adapters are off inside, in either spelling."""
    if hasattr(owner, "disable_adapter"):
        with owner.disable_adapter():
            yield
        return
    owner.disable_adapters()
    try:
        yield
    finally:
        owner.enable_adapters()


def _swapped(model: nn.Module) -> Swapped:
    moving = ((n, p) for n, p in model.named_parameters() if p.requires_grad)
    return Swapped({n: t.detach().clone() for n, t in (*moving, *model.named_buffers())})


@contextmanager
def standing(reference: Reference, model: nn.Module) -> Iterator[nn.Module]:
    """What to call in the original's place, given the model that moves; its buffers are afterwards as they were.

    Raises:
        ConfigurationError: the reference is a memory of log-probabilities, which knows no distribution.
    """
    if isinstance(reference, Remembered):
        raise ConfigurationError(
            "this loss needs the original's whole prediction: pass a model, or losses.reference(it)."
        )
    if isinstance(reference, nn.Module):
        with still(reference):
            yield reference
    else:
        yield reference.of(model.module if isinstance(model, At) else model)


def logprob(task: Task, model: nn.Module, batch: Batch) -> Tensor:
    """`log p(answer | prompt)` of each example, the sum over its tokens, `[b]`."""
    seen = predictor(task, "The log-probability of an answer").predictions(model, batch)
    return -seen.owners.sum(seen.nll())


def logprob_before(task: Task, reference: Reference, model: nn.Module, batch: Batch) -> Tensor:
    """The same under the original model, without a graph."""
    if isinstance(reference, Remembered):
        return reference(batch)
    with torch.no_grad(), standing(reference, model) as original:
        return logprob(task, original, batch)


def remember(model: nn.Module, task: Task, rows: Answers, *, batch: int = 16, folder: Path | None = None) -> Remembered:
    """Asks the model once for the log-probability of every row's answer, and keeps what it says on disk.

    A second call with the same weights and the same rows reads it back.

    Args:
        model: before it moves; it is run in eval mode.
        task: `tasks.Language()`.
        rows: the forget set.
        batch: rows at a time.
        folder: where it is kept; None is the user's cache.
    """
    asked = rows.fingerprint() + tensors_sha256(bare(model).state_dict())
    path = (folder or cache_folder("reference")) / f"{hashlib.sha256(asked.encode()).hexdigest()}.safetensors"
    if not path.exists():
        kept = {"values": _asked(model, task, rows, batch)}
        if rows.alternate is not None:
            kept["alternate"] = _asked(model, task, rows.alternate, batch)
        atomically(path, save(kept, {"rows": rows.fingerprint()}))
    kept = load_file(path)
    return Remembered(kept["values"], Remembered(kept["alternate"]) if "alternate" in kept else None)


def is_frozen(model: nn.Module) -> bool:
    """Whether no parameter of the model can receive a gradient and every module is in eval mode."""
    trains = any(p.requires_grad for p in model.parameters()) or any(m.training for m in model.modules())
    return not trains


def frozen(model: nn.Module) -> nn.Module:
    """A copy of the model that never trains, or the model itself if it is one."""
    if is_frozen(model):
        return model
    made = copied(model).eval()
    for p in made.parameters():
        p.requires_grad_(False)
    return made


_STANDS: ContextVar[bool] = ContextVar("stands", default=False)


def stands_for_original() -> bool:
    """Whether the pass that runs now is one in which the model that moves stands for what it was."""
    return _STANDS.get()


@contextmanager
def _standing() -> Iterator[None]:
    token = _STANDS.set(True)
    try:
        yield
    finally:
        _STANDS.reset(token)


class _Before(nn.Module):
    """Calls a model that is not its own, in eval mode and without a graph, as it was before it moved."""

    def __init__(self, model: Any, values: Mapping[str, Tensor] | None):
        super().__init__()
        object.__setattr__(self, "module", model)  # not registered: its parameters are not ours
        self._values = values

    @torch.no_grad()
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        model: Any = self.module
        kept = self._values or {}
        buffers = {n: kept.get(n, b).clone() for n, b in model.named_buffers()}  # a pass may write into these
        with mode(model, False), _standing():
            if self._values is not None:
                return functional_call(model, {**kept, **buffers}, args, kwargs)
            # PEFT sets flags anew, of what is registered: of shards, from which FSDP2 makes whole weights.
            reshard(model)
            flags = [p.requires_grad for p in model.parameters()]
            try:
                with _off(_owner(model)):
                    _flag(model, flags)
                    try:
                        return functional_call(model, buffers, args, kwargs)
                    finally:
                        reshard(model)
            finally:
                _flag(model, flags)


def _flag(model: nn.Module, flags: Sequence[bool]) -> None:
    for p, flag in zip(model.parameters(), flags, strict=True):
        p.requires_grad_(flag)


@torch.no_grad()
def _asked(model: nn.Module, task: Task, rows: Answers, size: int) -> Tensor:
    device = next(model.parameters()).device
    values = torch.full((int(rows.numbers.max()) + 1,), float("nan"))
    with evaluating(model):
        for chosen in rows.bounds.diff().argsort().split(size):  # texts of a length together
            batch = {k: v.to(device) for k, v in rows.batch(chosen).items() if isinstance(v, Tensor)}
            values[rows.numbers[chosen]] = logprob(task, bare(model), batch).float().cpu()
    return values
