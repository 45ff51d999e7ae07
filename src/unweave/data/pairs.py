"""What one step sees: an endless, seeded, resumable stream of forget and retain batches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from unweave.arguments import SEEDS, check, examples, natural, value
from unweave.data.batches import Batch, collated, count, divided, moved
from unweave.data.checks import check_filled
from unweave.data.draws import numbers, streams
from unweave.data.loaders import Collated
from unweave.data.protocol import examples as held
from unweave.data.protocol import indexed
from unweave.errors import ConfigurationError, told

__all__ = ["Batch", "Pair", "Pairs", "count", "fetched"]

NAMES = ("forget", "retain")
_RULES = {
    **dict.fromkeys(NAMES, examples),
    **dict.fromkeys(("forget_batch", "retain_batch", "micro", "world"), natural),
    "seed": value(int, SEEDS),
}


@dataclass(frozen=True)
class Pair:
    """One step's examples, each side as micro-batches.

    Attributes:
        forget, retain: the micro-batches.
        seed: re-seeds every forward on this pair.
        draws: of each side and micro-batch one integer per example, `[b]`, for what a loss draws for an example, such
            as a random label; empty: it draws from torch's random state, another number in every division.
    """

    forget: Sequence[Batch]
    retain: Sequence[Batch]
    seed: int = 0
    draws: Sequence[Sequence[Tensor]] = ()


class Pairs:
    """An endless stream of `Pair`: each side goes through its examples again and again.

    A dataset of n examples is permuted anew every epoch by a generator seeded with (seed, side, epoch) and
    divided into ceil(n / batch) batches whose sizes differ by one at most, so every example comes once per
    epoch. All ranks draw the same permutation and take disjoint shares of each batch, in the same number of
    micro-batches. A DataLoader is cycled as it is, each of its batches being one rank's draw. The global
    random state of torch is left as it was, also by datasets that draw from it, and what they draw depends on
    (seed, side, epoch, position) alone. What a loss draws for an example depends on (seed, side, epoch, row of the
    dataset) alone; of a DataLoader, on the place in this rank's epoch instead of the row. A batch of texts
    also holds `"weight"` `[b]`: the tokens of each answer over the mean of the step's, all micro-batches and ranks
    included (`losses.TokenWeighted`).

    Args:
        forget: map-style dataset of examples, or a DataLoader.
        retain: the same for the examples to keep.
        forget_batch: examples per step over all ranks, at most the whole set; a DataLoader brings its own.
        retain_batch: the same for the other side.
        micro: micro-batches that a rank's share is divided into, fewer where the share is smaller than that.
        seed: of the order.
        rank: this process.
        world: number of processes.
        device: where the tensors of a batch go; None leaves them where they are.

    Raises:
        ConfigurationError: an empty set, a size below one, fewer examples in a batch than processes, a dataset without
            a length, or a value of another type.
    """

    def __init__(
        self,
        forget: Dataset[Any] | DataLoader[Any],
        retain: Dataset[Any] | DataLoader[Any],
        *,
        forget_batch: int = 64,
        retain_batch: int = 256,
        micro: int = 1,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
        device: torch.device | str | None = None,
    ) -> None:
        given = locals()
        ranks = 1 if natural("world", world) else world
        check(_RULES | {"rank": value(int, f"[0, {ranks})")}, given)
        self._share, self._from = _Share(rank, world, micro), ((forget, forget_batch), (retain, retain_batch))
        self._seed, self._drawn, self._device = int(seed), 0, device
        self._sides = self._begun(self._seed)

    def __iter__(self) -> Iterator[Pair]:
        while True:
            pair = self._pair(self._sides, _derived(self._seed, "pair", self._drawn))
            self._drawn += 1
            yield pair

    def sample(self) -> Pair:
        """A pair like those of the stream, but none of them: the same at every call."""
        seed = _derived(self._seed, "sample")
        return self._pair(self._begun(seed), seed)

    def _begun(self, seed: int) -> tuple[_Side, ...]:
        return tuple(_side(data, side, batch, seed, self._share) for side, (data, batch) in enumerate(self._from))

    def _pair(self, sides: Sequence[_Side], seed: int) -> Pair:
        forget, retain = (moved(side.draw(), self._device) for side in sides)
        return Pair(forget[0], retain[0], seed, (forget[1], retain[1]))

    @property
    def smallest(self) -> dict[str, int]:
        """Examples in the smallest micro-batch of each side that this rank draws; 0 of a loader that does not say."""
        return {name: side.smallest for name, side in zip(NAMES, self._sides, strict=True)}

    def state_dict(self) -> dict[str, Any]:
        """Where the stream is; plain numbers."""
        return {
            "drawn": self._drawn,
            **{name: side.state_dict() for name, side in zip(NAMES, self._sides, strict=True)},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue bit for bit where `state_dict` was taken, with the same data and arguments."""
        self._drawn = state["drawn"]
        for name, side in zip(NAMES, self._sides, strict=True):
            side.load_state_dict(state[name])


@dataclass(frozen=True)
class _Share:
    rank: int
    world: int
    micro: int

    def of(self, rows: Tensor) -> Sequence[Tensor]:
        """This rank's micro-batches of the rows; all ranks get equally many, none of them empty."""
        parts = min(self.micro, len(rows) // self.world)
        return rows.tensor_split(self.world)[self.rank].tensor_split(parts)

    def smallest(self, rows: int) -> int:
        """Examples in the smallest micro-batch of so many rows."""
        own = rows // self.world
        return own // max(1, min(self.micro, own))


class _Side(Protocol):
    @property
    def smallest(self) -> int: ...

    def draw(self) -> tuple[list[Batch], list[Tensor]]: ...

    def state_dict(self) -> dict[str, int]: ...

    def load_state_dict(self, state: Mapping[str, int]) -> None: ...


def _side(data: Dataset[Any] | DataLoader[Any], side: int, batch: int, seed: int, share: _Share) -> _Side:
    if isinstance(data, DataLoader):
        return _Cycled(data, side, seed, share)
    return _Shuffled(data, side, batch, seed, share)


class _Shuffled:
    """A dataset in a new order every epoch."""

    def __init__(self, data: Dataset[Any], side: int, batch: int, seed: int, share: _Share) -> None:
        if not indexed(data):
            raise ConfigurationError(
                f"the {NAMES[side]} set must be a dataset with a length and an index, "
                f"found {type(data).__name__}: put it into a DataLoader"
            )
        self._data, self._side, self._seed, self._share = data, side, seed, share
        size = self._size = len(data)  # type: ignore[arg-type]
        check_filled(size, NAMES[side])
        self._tokens = _amounts(data)
        self._batches = -(-size // batch)
        self._epoch, self._position = 0, 0
        smallest = size // self._batches
        if smallest < share.world:
            raise ConfigurationError(
                f"every one of {share.world} processes needs an example of the {NAMES[side]} set in every "
                f"step, found {smallest} of {size} in the smallest batch: raise {NAMES[side]}_batch or use "
                "fewer processes"
            )
        self._order = self._permutation()

    @property
    def smallest(self) -> int:
        return self._share.smallest(self._size // self._batches)

    def draw(self) -> tuple[list[Batch], list[Tensor]]:
        rows = self._order.tensor_split(self._batches)[self._position]
        parts = self._share.of(rows)
        with _own_randomness(self._seed, self._side, self._epoch, self._position, self._share.rank):
            batches = [fetched(self._data, part) for part in parts]
        if self._tokens is not None:
            mean = self._tokens[rows].double().mean()
            batches = [b | {"weight": (self._tokens[p] / mean).float()} for b, p in zip(batches, parts, strict=True)]
        stream = _derived(self._seed, self._side, self._epoch, "draws")
        self._position += 1
        if self._position == self._batches:
            self._epoch, self._position = self._epoch + 1, 0
            self._order = self._permutation()
        return batches, [numbers(stream, part) for part in parts]

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self._epoch, self._position = state["epoch"], state["position"]
        self._order = self._permutation()

    def _permutation(self) -> Tensor:
        generator = torch.Generator().manual_seed(_derived(self._seed, self._side, self._epoch))
        return torch.randperm(self._size, generator=generator)


class _Cycled:
    """A DataLoader from beginning to end, again and again."""

    def __init__(self, loader: DataLoader[Any], side: int, seed: int, share: _Share) -> None:
        self._loader, self._side, self._seed, self._share = loader, side, seed, share
        self._epoch, self._position = 0, 0
        self._batches: Iterator[Batch] | None = None

    @property
    def smallest(self) -> int:
        batch, data = self._loader.batch_size, self._loader.dataset
        if batch is None or not hasattr(data, "__len__"):
            return 0
        rest = 0 if self._loader.drop_last else len(self._loader.sampler) % batch  # type: ignore[arg-type]
        return (rest or batch) // max(1, min(self._share.micro, rest or batch))

    def draw(self) -> tuple[list[Batch], list[Tensor]]:
        batch = self._next()
        size = count(batch)
        if self._share.world > 1 and size < self._share.micro:
            raise ConfigurationError(
                f"the {NAMES[self._side]} loader gave {size} examples for {self._share.micro} "
                "micro-batches: with several processes every one needs as many, so set drop_last=True "
                "or lower micro"
            )
        stream = _derived(self._seed, self._side, self._epoch, self._position, self._share.rank, "draws")
        parts = min(self._share.micro, size)
        return divided(batch, parts), list(numbers(stream, torch.arange(size)).tensor_split(parts))

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self._epoch, self._position, self._batches = state["epoch"], 0, None
        while self._position < state["position"]:
            self._next()

    def _next(self) -> Batch:
        for _ in range(2):  # the loader may be at its end: then once more, from the beginning
            with _own_randomness(self._seed, self._side, self._epoch, self._position):
                if self._batches is None:
                    self._batches = iter(self._loader)
                batch = next(self._batches, None)
            if batch is not None:
                self._position += 1
                return batch
            self._epoch, self._position, self._batches = self._epoch + 1, 0, None
        raise ConfigurationError(
            f"the {NAMES[self._side]} loader must give at least one batch, found none: is its dataset empty?"
        )


def fetched(data: Dataset[Any], rows: Tensor) -> Batch:
    """The given rows of a map-style data set as one batch, by the fastest way that it has.

    Raises:
        ConfigurationError: a row cannot be read, or the examples make no batch.
    """
    if (own := held(data)) is not None:
        return own.batch(rows)
    with told(f"{type(data).__name__} cannot give {len(rows)} of its {len(data)} examples"):  # type: ignore[arg-type]
        if isinstance(data, TensorDataset):
            return data[rows]
        if isinstance(data, Collated):
            return data.collate([data[row] for row in rows.tolist()])
        if hasattr(data, "__getitems__"):
            return collated(data.__getitems__(rows.tolist()))
        return collated([data[row] for row in rows.tolist()])


def _amounts(data: Dataset[Any]) -> Tensor | None:
    """How much there is to predict in each example, `[n]`; None where nobody says."""
    if (own := held(data)) is not None:
        return own.amounts
    if isinstance(data, Subset) and (whole := _amounts(data.dataset)) is not None:
        return whole[list(data.indices)]
    return None


def _derived(*parts: int | str) -> int:
    """A seed in [0, 2^63) that depends on all the parts."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") >> 1


@contextmanager
def _own_randomness(*parts: int) -> Iterator[None]:
    """Global draws inside start from a seed of their own, and leave no trace outside."""
    seed = _derived(*parts)
    with torch.random.fork_rng(devices=[]), streams(seed):
        torch.default_generator.manual_seed(seed)
        yield
