"""What is drawn for an example depends on the seed, the epoch and the example, and on nothing else."""

from __future__ import annotations

from itertools import islice
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

from unweave.data.draws import numbers
from unweave.data.pairs import Pairs

FORGET, RETAIN = TensorDataset(torch.arange(23)), TensorDataset(torch.arange(100, 140))


def test_published_values_of_splitmix64() -> None:
    """The first three outputs of seed 1234567, as 64-bit integers, without the highest bit."""
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    found = numbers(1234567, torch.arange(3)).tolist()
    assert found == [value % 2**63 for value in expected]


def test_they_are_uniform_and_apart() -> None:
    """10 000 numbers modulo 10: 1000 of each residue (sd 30); neighbouring seeds agree in a tenth."""
    one, other = (numbers(seed, torch.arange(10_000)) % 10 for seed in (5, 6))
    assert ((one.bincount() - 1000).abs() < 150).all()
    assert 850 < int((one == other).sum()) < 1150
    each = numbers(numbers(3, torch.arange(1000)), torch.zeros(1000).long())
    assert len(each.unique()) == 1000 and int(each.min()) >= 0


def epoch(steps: int, skip: int = 0, **settings: Any) -> dict[int, int]:
    """The draw of every forget example in some steps."""
    found: dict[int, int] = {}
    for pair in islice(iter(Pairs(FORGET, RETAIN, retain_batch=9, **settings)), skip, skip + steps):
        for (rows,), drawn in zip(pair.forget, pair.draws[0], strict=True):
            found |= dict(zip(rows.tolist(), drawn.tolist(), strict=True))
    return found


def test_an_example_draws_the_same_however_the_step_is_divided() -> None:
    whole = epoch(1, forget_batch=23)
    assert len(whole) == len(set(whole.values())) == 23
    assert epoch(3, forget_batch=8) == epoch(3, forget_batch=8, micro=3) == whole
    ranks = [epoch(3, forget_batch=8, micro=2, world=2, rank=rank) for rank in (0, 1)]
    assert ranks[0] | ranks[1] == whole and not ranks[0].keys() & ranks[1].keys()
    for other in (epoch(1, skip=1, forget_batch=23), epoch(1, forget_batch=23, seed=1)):
        assert not set(other.values()) & set(whole.values())
    pair = next(iter(Pairs(FORGET, FORGET, forget_batch=23, retain_batch=23)))
    assert not set(pair.draws[0][0].tolist()) & set(pair.draws[1][0].tolist()), "the sides draw apart"


def test_a_loader_draws_by_place() -> None:
    def seen(**settings: Any) -> list[int]:
        loader = DataLoader(FORGET, batch_size=10)
        pairs = islice(iter(Pairs(loader, RETAIN, **settings)), 6)
        return [int(value) for pair in pairs for drawn in pair.draws[0] for value in drawn]

    assert seen() == seen(micro=3) and len(set(seen())) == 46
    assert not set(seen()) & set(seen(world=2, rank=1))


def test_a_resumed_stream_draws_on() -> None:
    pairs = Pairs(FORGET, RETAIN, forget_batch=8, retain_batch=9)
    list(islice(iter(pairs), 4))
    state = pairs.state_dict()
    expected = next(iter(pairs)).draws[0][0]
    again = Pairs(FORGET, RETAIN, forget_batch=8, retain_batch=9)
    again.load_state_dict(state)
    assert next(iter(again)).draws[0][0].equal(expected)
