"""Checkpoints: what was saved comes back, what was changed is refused."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unweave.errors import ConfigurationError
from unweave.run import checkpoint
from unweave.store import tensors_sha256

STATES = {
    "model": {
        "w": torch.arange(6.0).reshape(2, 3),
        "b": torch.tensor(3),
        "half": torch.ones(2, dtype=torch.bfloat16),
    },
    "optimizer": {
        "state": {0: {"step": torch.tensor(4.0)}, 1: {}},
        "param_groups": [{"lr": 0.1, "betas": (0.9, 0.99)}],
    },
    "rule": {
        "multiplier": 0.1 + 0.2,
        "limit": float("inf"),
        "name": "x",
        "none": None,
        "flag": True,
        "count": 3,
    },
    "empty": {},
}


def same(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def test_round_trip(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "c", STATES)
    assert same(STATES, checkpoint.load(tmp_path / "c"))
    assert not [path for path in (tmp_path / "c").iterdir() if path.suffix in (".pt", ".pkl", ".pickle")]


def test_complex_tensors_come_back_as_they_were(tmp_path: Path) -> None:
    """Of both widths, also one that torch holds as the conjugate of another."""
    tensors = {str(kind): torch.randn(3, 2, dtype=kind) for kind in (torch.complex64, torch.complex128)}
    tensors |= {"conjugate": torch.randn(3, dtype=torch.complex64).conj(), "scalar": torch.tensor(1 - 2j)}
    checkpoint.save(tmp_path / "c", {"model": tensors})
    assert same({"model": tensors}, checkpoint.load(tmp_path / "c"))
    assert len({tensors_sha256({"w": tensor}) for tensor in tensors.values()}) == 4


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_newest_is_read_and_the_one_before_it_kept(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path / "c") is None
    for n in range(4):
        checkpoint.save(tmp_path / "c", {"a": {"n": n}})
        assert checkpoint.load(tmp_path / "c") == {"a": {"n": n}}
        assert names(tmp_path / "c") == [f"{i:06}" for i in range(max(n - 1, 0), n + 1)]


class Killed(BaseException):
    """The process ends here."""


WRITES = {os: ("replace", "fsync", "open"), shutil: ("rmtree",), checkpoint: ("save_tensors", "write_json")}


def test_killed_at_any_write_the_newest_whole_one_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before and after every call that writes, for the first checkpoint and for a later one."""
    calls = 0
    left = -1

    def dying(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal left, calls
            outcome = None
            for act in (lambda: None, lambda: function(*arguments, **named)):
                outcome = act()
                left, calls = left - 1, calls + 1
                if left == 0:
                    raise Killed
            return outcome

        return call

    for module, functions in WRITES.items():
        for name in functions:
            monkeypatch.setattr(module, name, dying(getattr(module, name) if name != "fsync" else lambda _: None))
    checkpoint.save(tmp_path / "count", {"a": {"n": 0}})
    total, deaths = calls, 0
    for before in (0, 3):
        for moment in range(1, total + 1):
            folder, left = tmp_path / f"{before}-{moment}", -1
            for n in range(before):
                checkpoint.save(folder, {"a": {"n": n}})
            left = moment
            try:
                checkpoint.save(folder, {"a": {"n": before}})
            except Killed:
                deaths += 1
            left = -1
            found = checkpoint.load(folder)
            assert found in ({"a": {"n": before}}, {"a": {"n": before - 1}} if before else None)
            checkpoint.save(folder, {"a": {"n": 9}})
            assert checkpoint.load(folder) == {"a": {"n": 9}} and len(names(folder)) <= 2
    assert deaths >= 2 * 25 and total >= 25


def test_a_failed_save_leaves_the_old_one(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "c", {"a": {"n": 1}})
    with pytest.raises(TypeError, match="a/bad"):
        checkpoint.save(tmp_path / "c", {"a": {"bad": object()}})
    assert checkpoint.load(tmp_path / "c") == {"a": {"n": 1}}


def damage(folder: Path, how: str) -> None:
    """`folder` is one checkpoint."""
    tensors, state, hashes = (folder / name for name in ("tensors.safetensors", "state.json", "sha256.json"))
    match how:
        case "one bit of a tensor":
            content = bytearray(tensors.read_bytes())
            content[-1] ^= 1
            tensors.write_bytes(content)
        case "truncated":
            tensors.write_bytes(tensors.read_bytes()[:20])
        case "state edited":
            state.write_text(state.read_text().replace("true", "false"))
        case "state missing":
            state.unlink()
        case "no hashes":
            hashes.write_text("{}")
        case "hashes not JSON":
            hashes.write_text("[")
        case "hashes a list":
            hashes.write_text("[]")
        case "empty":
            for path in folder.iterdir():
                path.unlink()


DAMAGE = [
    "one bit of a tensor",
    "truncated",
    "state edited",
    "state missing",
    "no hashes",
    "hashes not JSON",
    "hashes a list",
    "empty",
]


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "c"
    checkpoint.save(folder, {"a": {"n": 1}})
    checkpoint.save(folder, STATES)
    damage(folder / "000001", how)
    with pytest.warns(UserWarning, match="cannot be read") as caught:
        assert checkpoint.load(folder) == {"a": {"n": 1}}
    assert all(str(folder / name) in str(caught[0].message) for name in ("000001", "000000"))
    checkpoint.save(folder, STATES)
    assert same(STATES, checkpoint.load(folder)), "and what is written next takes its place, without a warning"
    assert names(folder) == ["000000", "000001"]


@pytest.mark.parametrize("how", DAMAGE)
def test_two_damaged_checkpoints_are_one_clear_message(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "c"
    for _ in range(2):
        checkpoint.save(folder, STATES)
    for name in ("000000", "000001"):
        damage(folder / name, how)
    with pytest.raises(ConfigurationError, match="no checkpoint can be read") as caught:
        checkpoint.load(folder)
    text = str(caught.value)
    assert "\n" not in text and "--overwrite" in text and "000000" in text and "000001" in text
    assert names(folder) == ["000000", "000001"], "nothing is moved where nothing is better"


def test_digest_of_a_model_sees_names_values_types_and_shapes() -> None:
    base = {"a": torch.zeros(2, 2), "b": torch.zeros(3)}
    digests = {
        tensors_sha256(tensors)
        for tensors in (
            base,
            {"a": torch.zeros(2, 2), "c": torch.zeros(3)},
            {"a": torch.zeros(2, 2), "b": torch.tensor([0.0, 0.0, 1e-30])},
            {"a": torch.zeros(2, 2), "b": torch.zeros(3, dtype=torch.float64)},
            {"a": torch.zeros(4), "b": torch.zeros(3)},
        )
    }
    assert len(digests) == 5
    assert tensors_sha256(dict(reversed(base.items()))) in digests


def test_random_state(tmp_path: Path) -> None:
    def draw() -> tuple[list[float], float, float, float]:
        return torch.rand(3).tolist(), np.random.rand(), np.random.randn(), random.random()

    np.random.randn()  # the second of a pair of normal numbers is kept inside
    checkpoint.save(tmp_path / "c", {"rng": checkpoint.rng_state()})
    first = draw()
    states = checkpoint.load(tmp_path / "c")
    assert states is not None
    checkpoint.set_rng_state(states["rng"])
    assert draw() == first != draw()
