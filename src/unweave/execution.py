"""Where and how one pass runs: device, precision, randomness, ranks, and what cannot be supported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.distributed as dist
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors
from torch.nn.modules.batchnorm import _NormBase

from unweave import devices, ranks
from unweave.data.draws import streams
from unweave.data.pairs import Batch, Pair, count
from unweave.errors import ConfigurationError, UnsupportedError
from unweave.gramian import local, real
from unweave.modules import bare as bare
from unweave.sharded import reshard as reshard

if TYPE_CHECKING:
    from accelerate import Accelerator


_BUCKET = 1 << 23  # elements that are sent at a time


def world() -> int:
    """Number of processes."""
    return ranks.world()


def rank() -> int:
    """This process."""
    return ranks.rank()


def summed(values: Tensor) -> Tensor:
    """The sum over ranks, on the CPU."""
    if world() > 1:
        values = values.clone()
        dist.all_reduce(values)
    return values.cpu()


def examples(batches: Sequence[Batch], losses: Tensor) -> float:
    """Examples in all micro-batches of all ranks; a lone micro-batch has as many as losses `[b]`.

    Raises:
        ConfigurationError: the first of several micro-batches has another number of losses than of examples.
    """
    own = losses.numel() if len(batches) == 1 else sum(count(b) for b in batches)
    if len(batches) > 1 and losses.numel() != count(batches[0]):
        raise ConfigurationError(
            f"A loss must return one value per example, [b]; a micro-batch of {count(batches[0])} examples gave "
            f"{losses.numel()}. Put the tensor that counts the examples first in the batch, or use micro=1."
        )
    return float(summed(torch.tensor(float(own), device=losses.device))) if world() > 1 else float(own)


def device_of(model: nn.Module) -> torch.device:
    """Where its first parameter is; the CPU for a model without one."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def accelerated(
    model: nn.Module, precision: Literal["float32", "bfloat16"], device: torch.device
) -> Accelerator | None:
    """The accelerator that runs the model's passes in bfloat16, the weights staying as they are; None for float32.

    Raises:
        ConfigurationError: bfloat16 on a CPU, where it is slower and rounds without need.
    """
    if precision == "float32":
        return None
    if device.type == "cpu":
        raise ConfigurationError(
            "run.precision: bfloat16 is for GPUs, and this run is on the CPU: use float32, or -s run.precision=float32."
        )
    from accelerate import Accelerator

    accelerator = Accelerator(mixed_precision="bf16")
    accelerator.prepare_model(model, evaluation_mode=True)  # as it is: ranks are ours
    return accelerator


@contextmanager
def seeded(*key: int) -> Iterator[None]:
    """The same randomness for the same key: torch's, Python's, numpy's; their global states are found as they were."""
    seed = hash(key) & 0x7FFF_FFFF_FFFF_FFFF
    with devices.seeded(seed), streams(seed):
        yield


_DRAWS: ContextVar[Tensor | None] = ContextVar("draws", default=None)


@contextmanager
def reseeded(pair: Pair, side: int, micro: int) -> Iterator[None]:
    """The randomness of one look at a micro-batch: torch's, of this rank, and what is drawn for each example."""
    own = pair.draws[side] if pair.draws else ()
    token = _DRAWS.set(own[micro] if micro < len(own) else None)
    try:
        with seeded(pair.seed, side, micro, rank()):
            yield
    finally:
        _DRAWS.reset(token)


def draws(count: int) -> Tensor:
    """An integer in [0, 2^63) for each of the examples that are looked at, `[count]`: the same at every look.

    From the pair, where it says them, so that micro-batches and ranks make no difference; else from torch's random
    state.
    """
    own = _DRAWS.get()
    return own if own is not None and len(own) == count else torch.randint(torch.iinfo(torch.int64).max, (count,))


@contextmanager
def exact(model: nn.Module) -> Iterator[None]:
    """For derivatives of derivatives: embeddings give dense gradients, as sparse ones have none.

    Raises:
        UnsupportedError: PyTorch does not know the derivative of an operation's gradient.
    """
    sparse: list[Any] = [m for m in model.modules() if getattr(m, "sparse", None) is True]
    for m in sparse:
        m.sparse = False
    try:
        yield
    except NotImplementedError as error:
        raise UnsupportedError(
            f"PyTorch knows no exact second derivative of this model ({' '.join(str(error).split())[:200]}). Use "
            "curvature='finite', which needs none."
        ) from error
    finally:
        for m in sparse:
            m.sparse = True


def check_third_order(model: nn.Module) -> None:
    """Refuses layers whose fused kernels give silently wrong third derivatives (pytorch issues 175754 and 186256).

    Raises:
        UnsupportedError: a LayerNorm, or a layer that normalises by the statistics of its batch.
    """
    for name, m in model.named_modules():
        batch = isinstance(m, _NormBase) and (m.training or not m.track_running_stats)
        if batch or isinstance(m, nn.LayerNorm):
            raise UnsupportedError(
                f"PyTorch's third derivatives of {type(m).__name__} are wrong ({name or 'the model'}). Use "
                "curvature='finite' or 'forget_only', which need none"
                + (", or model.eval()." if batch and m.track_running_stats else ".")
            )


@contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """Every process holds all parameters of an FSDP2 model inside, so that each can run passes of its own.

    Without a graph: a backward pass would still wait for the others. All processes enter and leave together; outside
    the parameters are sharded again, after every forward pass too. Of another model nothing changes.
    """
    sharded: list[Any] = [m for m in model.modules() if callable(getattr(m, "set_reshard_after_forward", None))]
    for m in sharded:
        m.set_reshard_after_forward(False, recurse=False)
        m.unshard()
    try:
        yield
    finally:
        for m in sharded:
            m.set_reshard_after_forward(True, recurse=False)
            m.reshard()


@torch.no_grad()
def averaged(parameters: Sequence[Tensor]) -> None:
    """Replaces every `.grad` by its mean over ranks, where each holds the whole parameter; FSDP2 has done it itself.

    A parameter that was not used here may have been elsewhere: it counts as zeros.
    """
    if world() == 1:
        return
    own = [p for p in parameters if local(p) is p]
    for p in own:
        p.grad = torch.zeros_like(p) if p.grad is None else p.grad
    by: dict[torch.dtype, list[Tensor]] = {}
    for p in own:
        assert p.grad is not None
        by.setdefault(p.grad.dtype, []).append(real(p.grad))
    for gradients in by.values():
        for some in _buckets(gradients):
            flat = _flatten_dense_tensors(some)
            dist.all_reduce(flat)
            flat /= world()
            torch._foreach_copy_(some, list(_unflatten_dense_tensors(flat, some)))


@torch.no_grad()
def as_first(tensors: Iterable[Tensor]) -> None:
    """Gives every rank the first one's values (running statistics, which each has of its own micro-batches)."""
    for tensor in tensors if world() > 1 else ():
        if tensor.numel() and local(tensor) is tensor:
            dist.broadcast(real(tensor), 0)


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """So many at a time that one message is worth it, and a copy of them is small."""
    some, held = list[Tensor](), 0
    for tensor in tensors:
        some.append(tensor)
        held += tensor.numel()
        if held >= _BUCKET:
            yield some
            some, held = [], 0
    if some:
        yield some


def _same_everywhere(model: nn.Module) -> None:
    """Refuses replicas that are none.

    Raises:
        UnsupportedError: a parameter that each rank holds whole has other values on another rank.
    """
    named = [(n, p) for n, p in bare(model).named_parameters() if local(p) is p and p.numel()]
    if not named:
        return
    bits = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    sums = [real(p.detach()).contiguous() for _, p in named]
    own = torch.stack([v.view(bits[v.element_size()]).sum(dtype=torch.int64) for v in sums])
    seen = [torch.empty_like(own) for _ in range(world())]
    dist.all_gather(seen, own)
    for other, theirs in enumerate(seen):
        if differs := (seen[0] != theirs).nonzero().flatten().tolist():
            raise UnsupportedError(
                f"{world()} ranks run, and each holds the whole model, but {named[differs[0]][0]} ({len(differs)} such "
                f"tensors) has other values on rank {other} than on rank 0. Load the same weights on all of them, wrap "
                "the model in DDP, which sends them, or shard it (fully_shard)."
            )


def check(model: nn.Module, accelerator: Accelerator | None) -> None:
    """Refuses what would silently give a wrong gradient.

    Raises:
        UnsupportedError: ranks with other weights, fp16 scaling, DeepSpeed, or accelerate's own accumulation.
    """
    if world() > 1:
        _same_everywhere(model)
    if accelerator is None:
        return
    if accelerator.scaler is not None or accelerator.mixed_precision == "fp16":
        raise UnsupportedError("fp16 scales gradients and breaks every threshold. Use mixed_precision='bf16' or 'no'.")
    if accelerator.distributed_type.value == "DEEPSPEED":
        raise UnsupportedError("DeepSpeed hides gradients. Use DDP or FSDP2 (fully_shard).")
    if accelerator.gradient_accumulation_steps != 1:
        raise UnsupportedError(
            f"gradient_accumulation_steps is {accelerator.gradient_accumulation_steps}; leave it at 1 and let a pair "
            "hold micro-batches (micro=...): accumulation then is exact and has one owner."
        )


@contextmanager
def one_thread() -> Iterator[None]:
    """For networks and matrices so small that a second thread waits more than it works: torch's, and NumPy's BLAS."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)
