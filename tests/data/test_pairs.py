"""The stream of pairs: nothing lost, nothing twice, the same on every rank and after a resume."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from unweave.data.batches import count
from unweave.data.pairs import Pair, Pairs
from unweave.errors import ConfigurationError
from unweave.modalities.images.tensors import TensorImages


class Numbers(Dataset):
    """Example i is the number i, as a user's own dataset would give it."""

    def __init__(self, size, noisy=False):
        self.size, self.noisy = size, noisy

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return torch.tensor(index) + (torch.rand(()) if self.noisy else 0), index % 3


class Stream(IterableDataset):
    def __iter__(self):
        return iter(torch.arange(4))


def numbers(size):
    return TensorDataset(torch.arange(size), torch.arange(size) % 3)


def drawn(pairs, steps):
    return list(itertools.islice(iter(pairs), steps))


def rows(batches):
    return torch.cat([batch[0] for batch in batches]).tolist()


def flat(pairs):
    return [(rows(pair.forget), rows(pair.retain), pair.seed) for pair in pairs]


@settings(deadline=None, max_examples=60)
@given(
    size=st.integers(1, 40),
    batch=st.integers(1, 50),
    world=st.integers(1, 4),
    micro=st.integers(1, 5),
    seed=st.integers(0, 9),
)
def test_every_example_once_per_epoch_over_all_ranks(size, batch, world, micro, seed):
    batches = -(-size // batch)
    arguments = {"forget_batch": batch, "retain_batch": 5, "seed": seed, "world": world}
    if size // batches < world:
        with pytest.raises(ConfigurationError, match="every one of"):
            Pairs(numbers(size), numbers(20), **arguments)
        return
    ranks = [
        drawn(Pairs(numbers(size), numbers(20), rank=rank, micro=micro, **arguments), 2 * batches)
        for rank in range(world)
    ]
    whole = drawn(Pairs(numbers(size), numbers(20), **(arguments | {"world": 1})), 2 * batches)
    for step, pair in enumerate(whole):
        shares = [rows(rank[step].forget) for rank in ranks]
        assert [row for share in shares for row in share] == rows(pair.forget)
        assert len({len(rank[step].forget) for rank in ranks}) == 1
        assert all(count(part) >= 1 for rank in ranks for part in rank[step].forget)
        assert len(ranks[0][step].forget) <= micro
    for epoch in (whole[:batches], whole[batches:]):
        seen = [row for pair in epoch for row in rows(pair.forget)]
        assert sorted(seen) == list(range(size))
        assert max(len(rows(pair.forget)) for pair in epoch) <= batch
        assert len({len(rows(pair.forget)) for pair in epoch}) <= 2


def test_orders_differ_by_epoch_side_and_seed():
    first, second = (rows(pair.forget) for pair in drawn(Pairs(numbers(50), numbers(50), forget_batch=50), 2))
    pair = drawn(Pairs(numbers(50), numbers(50), forget_batch=50, retain_batch=50), 1)[0]
    other = drawn(Pairs(numbers(50), numbers(50), forget_batch=50, seed=1), 1)[0]
    orders = [first, second, rows(pair.retain), rows(other.forget)]
    assert rows(pair.forget) == first
    assert len({tuple(order) for order in orders}) == 4


def test_micro_batches_only_divide():
    whole = drawn(Pairs(numbers(23), numbers(57), forget_batch=10, retain_batch=13), 12)
    parts = drawn(Pairs(numbers(23), numbers(57), forget_batch=10, retain_batch=13, micro=4), 12)
    assert flat(whole) == flat(parts)
    assert all(len(pair.forget) == len(pair.retain) == 4 for pair in parts)


def test_every_kind_of_dataset_gives_the_same_examples():
    images = TensorImages(torch.rand(23, 1, 8, 8), torch.arange(23))
    kinds = [images, TensorDataset(images.images, images.labels), torch.utils.data.Subset(images, range(23))]
    results = [drawn(Pairs(kind, kind, forget_batch=10), 4) for kind in kinds]
    for pairs in results[1:]:
        for pair, expected in zip(pairs, results[0], strict=True):
            assert torch.equal(pair.forget[0][0], expected.forget[0][0])
            assert torch.equal(pair.retain[0][1], expected.retain[0][1])
    assert rows(drawn(Pairs(Numbers(23), Numbers(23)), 1)[0].forget) == rows(
        drawn(Pairs(numbers(23), numbers(23)), 1)[0].forget
    )


def test_seeds_of_pairs_are_distinct():
    seeds = [pair.seed for pair in drawn(Pairs(numbers(9), numbers(9)), 200)]
    assert len(set(seeds)) == 200
    assert all(0 <= seed < 2**63 for seed in seeds)


def sources():
    return {
        "tensors": (numbers(23), numbers(31)),
        "own, random": (Numbers(23, noisy=True), Numbers(31, noisy=True)),
        "loaders": (
            DataLoader(Numbers(23, noisy=True), batch_size=5, shuffle=True),
            DataLoader(numbers(31), batch_size=8, shuffle=True, drop_last=True),
        ),
        "iterable": (DataLoader(Stream(), batch_size=3), DataLoader(Stream(), batch_size=2)),
    }


@pytest.mark.parametrize("kind", sources())
@pytest.mark.parametrize("steps", [0, 1, 5, 12])
def test_resume_is_exact_and_global_randomness_untouched(kind, steps):
    def stream():
        return Pairs(*sources()[kind], forget_batch=5, retain_batch=8, seed=3)

    def values(pairs):
        return [[batch for side in (pair.forget, pair.retain) for batch in side] + [pair.seed] for pair in pairs]

    torch.manual_seed(11)
    before = torch.get_rng_state()
    pairs = stream()
    drawn(pairs, steps)
    state = pairs.state_dict()
    expected = values(drawn(pairs, 9))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    resumed = stream()
    resumed.load_state_dict(state)
    found = values(drawn(resumed, 9))
    assert repr(found) == repr(expected)
    assert len(found) == 9


@pytest.mark.parametrize("kind", ["dataset", "loader"])
def test_a_sample_is_always_the_same_and_moves_nothing(kind):
    data = [TensorDataset(torch.arange(n)) for n in (40, 90)]
    sides = [DataLoader(d, batch_size=8, shuffle=True) if kind == "loader" else d for d in data]
    pairs, plain = (Pairs(*sides, forget_batch=8, retain_batch=16, seed=3) for _ in range(2))
    first, _ = pairs.sample(), next(iter(pairs))
    again, following, expected = pairs.sample(), next(iter(pairs)), list(itertools.islice(plain, 2))[1]
    for a, b in ((first, again), (following, expected)):
        for side in ("forget", "retain"):
            assert all(x[0].equal(y[0]) for x, y in zip(getattr(a, side), getattr(b, side), strict=True))
    assert first.seed == again.seed and not first.retain[0][0].equal(following.retain[0][0])


def test_loaders_are_cycled_as_they_are():
    loader = DataLoader(numbers(10), batch_size=4)
    pairs = drawn(Pairs(loader, numbers(10), micro=3), 6)
    assert [rows(pair.forget) for pair in pairs] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]] * 2
    assert [len(pair.forget) for pair in pairs] == [3, 3, 2] * 2
    with pytest.raises(ConfigurationError, match="gave 2 examples for 3 micro-batches"):
        drawn(Pairs(loader, numbers(10), micro=3, world=2), 3)


def test_small_sets_are_taken_whole_and_moved():
    pair = drawn(Pairs(numbers(3), numbers(5), device="meta"), 1)[0]
    assert isinstance(pair, Pair)
    assert [count(pair.forget[0]), count(pair.retain[0])] == [3, 5]
    assert pair.forget[0][0].device.type == "meta"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((numbers(0), numbers(3)), "forget set must hold at least one example, found 0"),
        ((numbers(3), numbers(0)), "retain set must hold"),
        ((Stream(), numbers(3)), "found Stream: put it into a DataLoader"),
    ],
)
def test_sets_that_cannot_be_used(arguments, words):
    with pytest.raises(ConfigurationError, match=words):
        Pairs(*arguments)


def test_a_stream_is_no_set_even_if_it_says_how_long_it_is():
    class Counted(Stream):
        def __len__(self):
            return 4

    for sides in ((Counted(), numbers(20)), (numbers(20), Counted())):
        with pytest.raises(ConfigurationError, match="found Counted: put it into a DataLoader"):
            Pairs(*sides, forget_batch=4, retain_batch=4)


def test_all_bad_numbers_at_once():
    with pytest.raises(ConfigurationError) as caught:
        Pairs(numbers(3), numbers(3), forget_batch=0, retain_batch=-1, micro=0, rank=2, world=2)
    assert len(caught.value.faults) == 4


def test_an_empty_loader():
    pairs = Pairs(DataLoader(numbers(3), batch_size=4, drop_last=True), numbers(3))
    with pytest.raises(ConfigurationError, match="at least one batch, found none"):
        next(iter(pairs))
