"""Jobs that do not know of each other, in as many processes as there are cores; what is done is kept by each."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing.connection import wait
from typing import Any

import torch

from unweave.audit.models import World, make
from unweave.audit.seen import attack, see
from unweave.audit.shadows import shadow
from unweave.execution import one_thread

Training = tuple[str, str, int]
"""What is to be done ("model", "attack" or "shadow"), with the model of which kind and number."""

_world: World | None = None  # of a worker process, set when it begins


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def do(world: World, job: Training) -> dict[str, Any]:
    """One job: the model and its outputs, or the attacks on it; returns what is known about it, plain data."""
    what, kind, number = job
    if what == "attack":
        return attack(world, kind, number)
    if what == "shadow":
        return shadow(world, number)
    made = make(world, kind, number)
    see(world, made)
    return dict(made.about)


def work(
    world: World, jobs: Sequence[Training], workers: int, done: Callable[[Training], None] = lambda job: None
) -> dict[Training, dict[str, Any]]:
    """Does all jobs, one thread each; `done` is told of each that ends.

    Ctrl-C, or a fault in one job, ends the others at once: what they had finished is in the cache.
    """
    if workers <= 1 or len(jobs) <= 1:
        found = {}
        with one_thread():
            for job in jobs:
                found[job] = do(world, job)
                done(job)
        return found
    with _pool(world, min(workers, len(jobs))) as pool:
        futures = {pool.submit(_do, job): job for job in jobs}
        found = {}
        for future in as_completed(futures):
            found[futures[future]] = future.result()
            done(futures[future])
    return {job: found[job] for job in jobs}


@contextlib.contextmanager
def _pool(world: World, workers: int) -> Iterator[ProcessPoolExecutor]:
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    pool = ProcessPoolExecutor(workers, context, _begin, (world,))
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        raise
    pool.shutdown()


def _begin(world: World) -> None:
    global _world
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of the group: the parent decides
    threading.Thread(target=_follow, daemon=True).start()
    torch.set_num_threads(1)
    _world = world


def _follow() -> None:
    """Ends this worker with its parent: one that a kill -9 orphaned would train on, then wait for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _do(job: Training) -> dict[str, Any]:
    assert _world is not None
    return do(_world, job)
