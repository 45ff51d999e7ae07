"""Several processes are refused before anything is done; a machine that is full ends in one message and exit code 1."""

from __future__ import annotations

import errno
import resource
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from unweave import cli
from unweave.commands import machine
from unweave.errors import ConfigurationError, UnsupportedError
from unweave.modalities import read
from unweave.run.runner import run

Write = Callable[..., Path]
COMMANDS = (
    *(["run", "recipe.yaml"], ["run", "--resume", "."], ["diagnose", "recipe.yaml"], ["evaluate", "."], ["demo"]),
    *(["evidence", "recipe.yaml"], ["requests", "run", "recipe.yaml"], ["requests", "add", "a", "--class", "3"]),
)
STARTED = {
    "torchrun": {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"},
    "its second node": {"WORLD_SIZE": "16", "LOCAL_RANK": "0"},
    "srun": {"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "0"},
    "mpirun": {"OMPI_COMM_WORLD_SIZE": "3", "OMPI_COMM_WORLD_RANK": "0"},
    "another mpirun": {"PMI_SIZE": "3", "PMI_RANK": "0"},
}
ALONE = {
    "nothing": {},
    "torchrun of one": {"WORLD_SIZE": "1", "RANK": "0"},
    "left in the shell": {"WORLD_SIZE": "8"},
    "Slurm's own script": {"SLURM_NTASKS": "8", "SLURM_PROCID": "0"},
    "srun of one": {"SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"},
    "no number": {"WORLD_SIZE": "many", "RANK": "0"},
    "no digit that int reads": {"WORLD_SIZE": "²", "RANK": "0"},
}


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for size, ranks in machine._LAUNCHERS:
        for name in (size, *ranks):
            monkeypatch.delenv(name, raising=False)


def code(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    return int(caught.value.code or 0)


@pytest.mark.parametrize("launcher", STARTED)
def test_several_processes_are_refused_by_every_command(
    launcher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in STARTED[launcher].items():
        monkeypatch.setenv(name, value)
    ran = 0
    for command in COMMANDS:
        assert code(command) == 2, command
        told = capsys.readouterr()
        assert told.err.startswith(f"error: unweave {command[0]} ") and "a launcher started" in told.err
        assert told.err.count("\n") == 1
        assert not told.out and not list(tmp_path.iterdir())
        ran += 1
    assert ran == len(COMMANDS)


def test_the_others_end_without_a_word(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    waited: list[float] = []
    monkeypatch.setattr(machine.time, "sleep", waited.append)
    for name, value in {"WORLD_SIZE": "2", "RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert code(["demo"]) == 2 and capsys.readouterr().err == "" and waited == [machine._PATIENCE]


def test_one_process_is_served() -> None:
    for environment in ALONE.values():
        assert not machine.shared(["run"], environment)


def test_what_several_processes_can_share(capsys: pytest.CaptureFixture[str]) -> None:
    started = {**STARTED["torchrun"], "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
    assert machine.SERVED == ("run", "evaluate", "evidence")
    assert all(machine.shared([each, "x"], started) for each in machine.SERVED)
    with pytest.raises(UnsupportedError, match=r"^unweave demo runs in one process, and a launcher started 2"):
        machine.shared(["demo", "x"], started)
    assert not machine.shared(["run"], {"ACCELERATE_USE_CPU": "true"})
    assert "accelerate launch started one process. For several: torchrun" in capsys.readouterr().err


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """No file that is written inside can be larger: a disk that is full, for real."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_one_message_and_what_was_written_stays(
    recipe: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, out = read(recipe()), tmp_path / "out"
    whole = run(settings, tmp_path / "whole")
    with files_of_at_most(20_000):  # the checkpoint's tensors, which safetensors writes, do not fit
        assert code(["run", str(recipe()), "-o", str(out)]) == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("error: ") and "file too large. What was written before is whole." in told
    assert run(settings, out, resume=True)["model_after"] == whole["model_after"]
    assert not list(out.rglob(".*")), "nothing is left of what could not be written"


def wrapped(error: Exception) -> Exception:
    made = ConfigurationError("out: cannot be created")
    made.__cause__ = error
    return made


def full() -> sqlite3.Error:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorname = "SQLITE_FULL"
    return error


FAULTS: dict[str, tuple[BaseException, str]] = {
    "no space": (OSError(errno.ENOSPC, "No space left on device", "a/b"), "a/b: no space left on device. What"),
    "no space, nobody says where": (OSError(errno.ENOSPC, "x"), "no space left on device. What"),
    "a quota": (OSError(errno.EDQUOT, "x"), "disk quota exceeded. What"),
    "a broken disk": (OSError(errno.EIO, "x", "c"), "c: input/output error"),
    "read only": (OSError(errno.EROFS, "x", "c"), "c: read-only file system"),
    "safetensors": (SafetensorError("Error while serializing: I/O error: No space (os error 28)"), "no space left"),
    "an error of ours about it": (wrapped(OSError(errno.ENOSPC, "x", "out")), "out: no space left"),
    "SQLite": (full(), "no space left on device. What"),
    "memory": (MemoryError(), "out of memory"),
    "a GPU's memory": (torch.OutOfMemoryError("CUDA out of memory. Tried 3 GiB"), "out of memory: CUDA out of memory."),
}
OTHERS = (FileNotFoundError(errno.ENOENT, "x", "d"), ConfigurationError("x"), ValueError("x"), sqlite3.Error("x"))


def test_what_the_machine_has_run_out_of(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for error, says in FAULTS.values():

        def fail(*_: object, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr(cli, "app", fail)
        assert code([]) == 1
        told = capsys.readouterr().err
        assert told.startswith(f"error: {says}") and told.count("\n") == 1, told
    assert not [error for error in OTHERS if machine.fault(error)]
