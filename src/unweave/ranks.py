"""Several processes of one command: how they begin, what the first one does for all, and how they end together.

Every process runs the same code on the same data; the first one alone writes and speaks. What may differ among them
(what lies in a folder, who was interrupted) the first one decides, or all do (`first`, `any_of`).

Where most of the work is the first one's (`leading`), the others wait for what they are to share (`joined`, `tasks`).
"""

from __future__ import annotations

import io
import os
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

T = TypeVar("T")
_PATIENCE = 5.0  # seconds that one who fails leaves the others to fail alike, and to say it
_LOOK = 0.02  # seconds between two questions whether the first one is done
_SLOWEST = timedelta(hours=2)  # that a process may be behind the others in a step, as while the first one saves
_GONE = ("Connection closed by peer", "Connection reset", "Broken pipe", "Socket", "NCCL", "gloo", "timed out")


class _Group:
    """The store that the processes leave each other words in; None of one process.

    `alone`: what this process does now is its own, and no other one takes part.
    """

    store: Any = None
    asked = 0
    alone = False


def world() -> int:
    """How many processes share what is done now."""
    return 1 if _Group.alone or not dist.is_initialized() else dist.get_world_size()


def rank() -> int:
    """Which of them this one is."""
    return 0 if _Group.alone or not dist.is_initialized() else dist.get_rank()


def lead() -> bool:
    """Whether this is the first process, or the only one."""
    return rank() == 0


def several() -> bool:
    """Whether there are others."""
    return world() > 1


def commanded() -> bool:
    """Whether a command began the processes (`together`), and not a program of the user's."""
    return _Group.store is not None


def first(make: Callable[[], T]) -> T:
    """What the first process makes of this, or its error, on all; the others wait as long as it takes.

    What it gives must be small, and can be pickled.
    """
    if _Group.store is None or _Group.alone:
        return make()
    _Group.asked += 1
    key = f"first/{_Group.asked}"
    if lead():
        try:
            made = make()
        except (Exception, KeyboardInterrupt) as error:
            _Group.store.set(key, _sent(error))
            raise
        _Group.store.set(key, pickle.dumps((made, None)))
        return made
    made, fault = pickle.loads(_waited(key))
    if fault is not None:
        raise fault
    return made


def before_others(make: Callable[[], T]) -> T:
    """Made by the first process, then by all others, which find in a cache what it left there."""
    made: list[T] = []
    first(lambda: made.append(make()))
    return made[0] if made else make()


def any_of(own: bool) -> bool:
    """Whether it is so on any process; all ask together."""
    if _Group.store is None or _Group.alone:
        return own
    found = torch.tensor(float(own))
    dist.all_reduce(found)
    return bool(found)


def met() -> None:
    """Returns once all processes are here."""
    any_of(False)


@contextmanager
def alone(really: bool = True) -> Iterator[None]:
    """Inside, this process works as if there were no other one; they may wait for it in `first` and `tasks` alone."""
    before, _Group.alone = _Group.alone, really
    try:
        yield
    finally:
        _Group.alone = before


@contextmanager
def leading() -> Iterator[None]:
    """Inside, the first process works `alone` but for what it calls the others to (`joined`); then they may go on."""
    with alone():
        yield
    first(lambda: None)


@contextmanager
def joined(task: object) -> Iterator[None]:
    """Inside, the others take part: they were told this task, which is not None and can be pickled."""
    with alone(False):
        first(lambda: task)
        yield


def tasks() -> Iterator[Any]:
    """Of another process than the first: what that one calls for, one after the other, until it needs no help."""
    while (task := first(lambda: None)) is not None:
        yield task


@contextmanager
def together() -> Iterator[None]:
    """Inside, the processes that a launcher started are one group; at the end all end with their codes.

    The first one speaks for all. Another one speaks only where it failed alone.
    """
    store, rank, size = next(rendezvous("env://"))
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_SLOWEST)
    _Group.store, _Group.asked = PrefixStore("unweave", store), 0
    streams, kept = (sys.stdout, sys.stderr), io.StringIO()
    if rank:
        sys.stdout, sys.stderr = io.StringIO(), kept
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # between steps all agree on it; elsewhere the first one decides
    code = 1
    try:
        yield
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    except _Elsewhere as end:
        code = int(str(end))
    except BaseException as error:
        if _gone(error):
            sys.stderr.write(
                "error: another process of this run ended, and this one with it. What was written before is whole: "
                "go on with the same command, unweave run with --resume\n"
            )
        else:
            traceback.print_exc()
    sys.stdout, sys.stderr = streams
    _leave(rank, size, code, kept.getvalue())


def _gone(error: BaseException) -> bool:
    """Whether it is that a peer does not answer any more."""
    told = isinstance(error, RuntimeError) and any(text in str(error) for text in _GONE)
    return told or isinstance(error, dist.DistError)


class _Elsewhere(Exception):
    """The first process ended while others waited for what it makes, with this code."""


def _sent(error: BaseException) -> bytes:
    try:
        pickle.loads(found := pickle.dumps((None, error)))
    except Exception:
        return pickle.dumps((None, RuntimeError(str(error))))
    return found


def _waited(key: str) -> bytes:
    while not _Group.store.check([key]):
        if _Group.store.check(["ended/0"]):
            raise _Elsewhere(_Group.store.get("ended/0").decode())
        time.sleep(_LOOK)
    found: bytes = _Group.store.get(key)
    return found


def _leave(rank: int, size: int, code: int, said: str) -> None:
    """Ends this process, after the others where they end too: a launcher kills all as soon as one has failed."""
    with suppress(Exception):
        _Group.store.set(f"ended/{rank}", str(code))
        until, awaited = time.monotonic() + _PATIENCE, [f"left/{each}" for each in range(1, size)]
        while not (alike := _Group.store.check(["ended/0"] if rank else awaited)) and time.monotonic() < until:
            time.sleep(_LOOK)
        if rank and code and not alike:
            sys.stderr.write("".join(f"process {rank}: {line}\n" for line in said.splitlines()))
        _Group.store.set(f"left/{rank}", "")  # the first one may keep the store, and goes last
    _Group.store = None
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # gloo's threads may wait for a peer that is gone
