"""`unweave evidence` and kill -9: nothing that was made is lost, and no process is left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.audit.test_collect import RECIPE
from unweave.audit.collect import evidence
from unweave.modalities import read

TEXT = RECIPE.replace("epochs: 1", "epochs: 3, seed: 200").replace("retrained: 4", "retrained: 2")
PARTS = ("gaps", "per_example", "attacks", "over_runs", "robustness", "claim")


def begun(path: Path, out: Path, cache: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "unweave", "evidence", str(path), "-o", str(out), "--workers", "2"]
    there = {**os.environ, "UNWEAVE_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=there, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


@pytest.mark.slow
def test_killed_it_ends_as_it_would_have(
    recipe: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the parent is killed, once models are kept: its workers end by themselves, and the rest is made later."""
    path, out, cache = recipe(TEXT), tmp_path / "out", tmp_path / "cache"
    process = begun(path, out, cache)
    try:
        wait(lambda: len(made(cache)) >= 2, 120)
    finally:
        process.kill()
        process.wait()
    wait(lambda: not alive(process.pid), 20)
    there = json.loads((out / "evidence.json").read_text())
    assert there["status"] == "running" and there["claim"] is None
    before = {file: file.stat().st_mtime_ns for file in made(cache)}
    monkeypatch.setenv("UNWEAVE_CACHE", str(cache))
    found = evidence(read(path), out)
    assert all(file.stat().st_mtime_ns == time for file, time in before.items()), "made once"
    assert found["status"] == "complete" and len(made(cache)) > len(before) >= 2
    monkeypatch.setenv("UNWEAVE_CACHE", str(tmp_path / "other"))
    whole = evidence(read(path), tmp_path / "whole")
    assert [same(found[part]) for part in PARTS] == [same(whole[part]) for part in PARTS]


def made(cache: Path) -> list[Path]:
    """What is kept whole: the JSON comes last."""
    return sorted(path for room in ("models", "evidence") for path in (cache / room).glob("*.json"))


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def wait(until: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.02)


def same(part: Any) -> str:
    return json.dumps(part, sort_keys=True)
