"""Splits: complete, disjoint, seeded, and clear about requests that cannot be met."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from unweave.data.index_file import read_rows
from unweave.data.splits import Split, by_class, by_index, by_person, by_random_fraction, hardness_mix
from unweave.errors import ConfigurationError
from unweave.modalities.images.recipe import poison_random, poison_swap

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 100))


def complete(split):
    return np.array_equal(np.sort(np.concatenate([split.forget, split.retain])), np.arange(len(LABELS)))


@pytest.mark.parametrize("labels", [LABELS, torch.tensor(LABELS), LABELS.tolist()], ids=["numpy", "torch", "list"])
def test_by_class(labels):
    split = by_class(labels, 3)
    assert complete(split)
    assert (LABELS[split.forget] == 3).all()
    assert not (LABELS[split.retain] == 3).any()
    assert len(by_class(labels, (3, 5)).forget) == 200


def test_by_random_fraction():
    split = by_random_fraction(1000, 0.1, seed=4)
    assert complete(split)
    assert len(split.forget) == 100
    assert np.array_equal(split.forget, by_random_fraction(1000, 0.1, seed=4).forget)
    assert not np.array_equal(split.forget, by_random_fraction(1000, 0.1, seed=5).forget)
    assert len(by_random_fraction(1000, 1e-9).forget) == 1


@pytest.mark.parametrize(("rho", "replaced"), [(0.25, 25), (0.5, 50), (0.999, 99)])
def test_hardness_mix_keeps_and_draws(rho, replaced):
    own, counts = np.flatnonzero(LABELS == 2), []
    for seed in range(40):
        split = hardness_mix(LABELS, 2, rho, seed)
        assert complete(split)
        assert len(split.forget) == 100
        counts.append(np.isin(own, split.forget).sum())
    assert min(counts) >= 100 - replaced
    assert max(counts) > 100 - replaced  # the rows that were left out may be drawn again
    assert np.mean(counts) == pytest.approx(100 - replaced + replaced * replaced / (900 + replaced), abs=1.5)


def test_hardness_mix_at_its_ends():
    assert np.array_equal(hardness_mix(LABELS, 2, 0).forget, np.flatnonzero(LABELS == 2))
    tenth = hardness_mix(LABELS, 2, 1, seed=3)
    assert len(tenth.forget) == 100
    assert len(np.unique(LABELS[tenth.forget])) > 5


REFUSED = {
    "class": (lambda: by_class(LABELS, 12), "class 12 is not in the training set, whose 10 classes are 0, 1"),
    "all": (lambda: by_index(range(1000), 1000), "retain set must hold at least one example"),
    "none": (lambda: by_index([], 1000), "forget set must hold at least one example"),
    "twice": (lambda: by_index([1, 1], 1000), "must name each row once"),
    "outside": (lambda: by_index([5, 1000, -1], 1000), r"found 2 outside \(first: 1000, -1\)"),
    "real": (lambda: by_index([0.5], 1000), "must be integers, found float64"),
    "fraction": (lambda: by_random_fraction(1000, 1.5), "above 0 and below 1, found 1.5"),
    "rho": (lambda: hardness_mix(LABELS, 0, -0.1), r"rho must be in \[0, 1\], found -0.1"),
    "mix class": (lambda: hardness_mix(LABELS, 11, 1), "class 11 is not"),
    "shared": (lambda: Split(np.arange(7), np.arange(5, 20)), r"found 2 in both \(first: 5, 6\)"),
    "share": (lambda: poison_random(LABELS, 0, 10), "found 0 and 10"),
    "one class": (lambda: poison_random(LABELS, 0.1, 1), "at least two classes"),
    "same": (lambda: poison_swap(LABELS, 3, 3), "two classes, found 0.5, 3 and 3"),
    "swap class": (lambda: poison_swap(LABELS, 3, 77), "class 77 is not"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_requests_that_cannot_be_met(case):
    make, words = REFUSED[case]
    with pytest.raises(ConfigurationError, match=words):
        make()


def test_poison_random():
    poisoned, rows = poison_random(torch.tensor(LABELS), 0.1, 10, seed=1)
    assert len(rows) == 100
    assert np.array_equal(np.flatnonzero(poisoned != LABELS), rows)
    assert set(poisoned) == set(range(10))
    assert len(np.unique((poisoned - LABELS)[rows] % 10)) == 9
    assert np.array_equal(poison_random(LABELS, 0.1, 10, seed=1)[0], poisoned)


def test_poison_swap():
    poisoned, rows = poison_swap(LABELS, 3, 5, share=0.5, seed=1)
    changed = np.flatnonzero(poisoned != LABELS)
    assert np.array_equal(changed, rows)
    assert {(int(a), int(b)) for a, b in zip(LABELS[rows], poisoned[rows], strict=True)} == {(3, 5), (5, 3)}
    assert np.array_equal(np.bincount(poisoned), np.bincount(LABELS))
    assert len(rows) == 100


def test_rows_from_files(tmp_path):
    (tmp_path / "a.txt").write_text("3\n1\n\n4\n")
    (tmp_path / "a.json").write_text("[3, 1, 4]")
    (tmp_path / "a.csv").write_text("index,why\n3,x\n1,y\n4,z\n")
    (tmp_path / "b.csv").write_text("3\n1\n4\n")
    np.save(tmp_path / "a.npy", np.array([3, 1, 4], dtype=np.int32))
    files = sorted(tmp_path.iterdir())
    assert len(files) == 5
    for path in files:
        assert read_rows(path).tolist() == [3, 1, 4]
        assert read_rows(path).dtype == np.int64


def test_files_that_hold_no_rows(tmp_path):
    np.save(tmp_path / "pickled.npy", np.array([print], dtype=object))
    np.save(tmp_path / "real.npy", np.array([0.5]))
    (tmp_path / "words.txt").write_text("one two")
    (tmp_path / "table.json").write_text(json.dumps({"rows": [1]}))
    (tmp_path / "deep.json").write_text("[[1, 2], [3]]")
    (tmp_path / "torn.json").write_text("[1, 2")
    (tmp_path / "rows.bin").write_bytes(b"1")
    files = [*sorted(tmp_path.iterdir()), tmp_path / "absent.txt"]
    assert len(files) == 8
    for path in files:
        with pytest.raises(ConfigurationError, match=path.name):
            read_rows(path)


def test_a_person_is_all_of_her_rows() -> None:
    split = by_person([7, "anna", "anna", 8, 7], ["anna", 8])
    assert split.forget.tolist() == [1, 2, 3] and split.retain.tolist() == [0, 4]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ([], "at least one person"),
        (["anna", "anna"], "1 named again"),
        (["ana"], r"1 of 1 ids are not in the data \(ana\): no such records to forget. Did you mean 'anna'"),
        (["anna", "7"], "the retain set must hold at least one example"),
    ],
)
def test_people_who_cannot_be_forgotten(wanted: list[str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        by_person(["anna", 7, "anna"], wanted)
