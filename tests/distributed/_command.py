"""The command on several processes, as torchrun starts it: forks of this one, which need not import torch once more."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from unweave import cli


class Ended(NamedTuple):
    """Exit codes of all processes (minus the signal that killed one), and what each said on stderr and stdout."""

    codes: list[int]
    said: list[str]
    told: list[str]


def command(
    arguments: Sequence[str | Path], folder: Path, world: int = 2, during: Callable[[list[int]], None] | None = None
) -> Ended:
    """Runs `unweave` with these arguments on so many processes; as torchrun does, all end soon after one has failed.

    Args:
        arguments: of the command.
        folder: for what they say.
        world: how many.
        during: given the processes' numbers while they run.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    processes: list[int] = []
    for rank in range(world):
        if (child := os.fork()) == 0:
            _be(rank, world, port, [str(each) for each in arguments], folder)
        processes.append(child)
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
                    until = min(until, time.monotonic() + 30)
        if time.monotonic() > until:
            for process in left.values():
                os.kill(process, signal.SIGKILL)
            until = float("inf")
            raise AssertionError(f"processes {sorted(left)} hang after the others ended with {codes}")
        time.sleep(0.01)
    said, told = ([(folder / f"{rank}.{name}").read_text() for rank in range(world)] for name in ("err", "out"))
    return Ended(codes, said, told)


def _be(rank: int, world: int, port: int, arguments: list[str], folder: Path) -> None:
    """What a child does, and never returns."""
    code = 70
    with contextlib.suppress(BaseException):
        os.environ.update(
            RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), MASTER_ADDR="localhost", MASTER_PORT=str(port)
        )
        for name, number in (("out", 1), ("err", 2)):
            handle = os.open(folder / f"{rank}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(handle, number)
        sys.stdin = open(os.devnull)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False, buffering=1)
        cli.main(arguments)
    os._exit(code)
