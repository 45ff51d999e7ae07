"""Checkpoints: what was saved comes back, what was changed is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from unweave.errors import ConfigurationError
from unweave.run import checkpoint

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


def test_replaced_in_one_rename_and_recovered_if_it_dies_between_the_two(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "c", {"a": {"n": 1}})
    checkpoint.save(tmp_path / "c", {"a": {"n": 2}})
    assert checkpoint.load(tmp_path / "c") == {"a": {"n": 2}}
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    (tmp_path / "c").rename(tmp_path / ".c.old")
    assert checkpoint.load(tmp_path / "c") == {"a": {"n": 2}}


def test_a_failed_save_leaves_the_old_one(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "c", {"a": {"n": 1}})
    with pytest.raises(TypeError, match="a/bad"):
        checkpoint.save(tmp_path / "c", {"a": {"bad": object()}})
    assert checkpoint.load(tmp_path / "c") == {"a": {"n": 1}}


def damage(folder: Path, how: str) -> None:
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
        case "gone":
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()


DAMAGE = [
    "one bit of a tensor",
    "truncated",
    "state edited",
    "state missing",
    "no hashes",
    "hashes not JSON",
    "hashes a list",
    "gone",
]


@pytest.mark.parametrize("how", DAMAGE)
def test_a_corrupted_checkpoint_is_one_clear_message(tmp_path: Path, how: str) -> None:
    checkpoint.save(tmp_path / "c", STATES)
    damage(tmp_path / "c", how)
    with pytest.raises(ConfigurationError, match="the checkpoint cannot be read") as caught:
        checkpoint.load(tmp_path / "c")
    assert "\n" not in str(caught.value) and "--resume" in str(caught.value)


def test_digest_of_a_model_sees_names_values_types_and_shapes() -> None:
    base = {"a": torch.zeros(2, 2), "b": torch.zeros(3)}
    digests = {
        checkpoint.tensors_sha256(tensors)
        for tensors in (
            base,
            {"a": torch.zeros(2, 2), "c": torch.zeros(3)},
            {"a": torch.zeros(2, 2), "b": torch.tensor([0.0, 0.0, 1e-30])},
            {"a": torch.zeros(2, 2), "b": torch.zeros(3, dtype=torch.float64)},
            {"a": torch.zeros(4), "b": torch.zeros(3)},
        )
    }
    assert len(digests) == 5
    assert checkpoint.tensors_sha256(dict(reversed(base.items()))) in digests


def test_random_state(tmp_path: Path) -> None:
    state = checkpoint.rng_state()
    first = torch.rand(3)
    checkpoint.save(tmp_path / "c", {"rng": state})
    checkpoint.set_rng_state(checkpoint.load(tmp_path / "c")["rng"])
    assert torch.equal(first, torch.rand(3))
