"""The command on several processes, as torchrun starts it: forks of this one, which need not import torch once more."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from torch.distributed import TCPStore

from unweave import cli
from unweave.commands import run as _loaded

assert _loaded  # by the parent: a fork need not

PATIENCE = 30.0  # seconds that the others may take to end


class Ended(NamedTuple):
    """Exit codes of all processes (minus the signal that killed one), and what each said on stderr and stdout."""

    codes: list[int]
    said: list[str]
    told: list[str]


def command(
    *arguments: str | Path,
    world: int = 2,
    during: Callable[[list[int]], None] | None = None,
    child: Callable[[int], None] | None = None,
) -> Ended:
    """Runs `unweave` with these arguments on so many processes; none may go on for long after another one has failed.

    Args:
        arguments: of the command.
        world: how many.
        during: given the processes' numbers while they run.
        child: called in each before it begins, with its rank.
    """
    with tempfile.TemporaryDirectory() as folder:
        return _ended([str(each) for each in arguments], Path(folder), world, during, child or (lambda _: None))


def _ended(
    arguments: list[str],
    folder: Path,
    world: int,
    during: Callable[[list[int]], None] | None,
    child: Callable[[int], None],
) -> Ended:
    store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)  # torchrun keeps it, no rank does
    processes: list[int] = []
    for rank in range(world):
        if (process := os.fork()) == 0:
            _be(rank, world, store.port, arguments, folder, child)
        processes.append(process)
    if during is not None:
        during(processes)
    left, codes, until = dict(enumerate(processes)), [0] * world, float("inf")
    while left:
        for rank, process in list(left.items()):
            done, status = os.waitpid(process, os.WNOHANG)
            if done:
                codes[rank] = os.waitstatus_to_exitcode(status)
                del left[rank]
                if codes[rank]:
                    until = min(until, time.monotonic() + PATIENCE)
        if time.monotonic() > until:
            for process in left.values():
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)
            raise AssertionError(f"processes {sorted(left)} hang after the others ended with {codes}")
        time.sleep(0.01)
    said, told = ([(folder / f"{rank}.{name}").read_text() for rank in range(world)] for name in ("err", "out"))
    return Ended(codes, said, told)


def _be(rank: int, world: int, port: int, arguments: list[str], folder: Path, child: Callable[[int], None]) -> None:
    """What a child does, and never returns."""
    code = 70
    with contextlib.suppress(BaseException):
        os.environ.update(
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE=str(world),
            MASTER_ADDR="localhost",
            MASTER_PORT=str(port),
            TORCHELASTIC_USE_AGENT_STORE="True",
        )
        for name, number in (("out", 1), ("err", 2)):
            handle = os.open(folder / f"{rank}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, number)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
        child(rank)
        try:
            cli.main(arguments)
        except SystemExit as end:  # of one process
            code = int(end.code or 0)
        sys.stdout.flush()
    os._exit(code)
