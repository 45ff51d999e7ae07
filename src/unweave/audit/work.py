"""Pieces of work that do not know of each other, in as many processes as there are cores; what is done is kept."""

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
from threadpoolctl import threadpool_limits

from unweave.audit.experiment import Experiment
from unweave.audit.kits import kit
from unweave.audit.models import make
from unweave.execution import one_thread

Piece = tuple[str, str, int]
"""What is to be done ("model" or "attack"), with the model of which kind and number."""

_world: Experiment | None = None  # of a worker process, set when it begins


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pieces(world: Experiment, what: str, *kinds: str) -> list[Piece]:
    """One for every model of these kinds."""
    return [(what, kind, number) for kind in kinds for number in range(world.count(kind))]


def do(world: Experiment, piece: Piece) -> dict[str, Any]:
    """One piece of work; returns what is known about the model, a shadow's margins, or the attacks, as plain data."""
    what, kind, number = piece
    if what == "attack":
        return kit(world).attack(world, kind, number)
    made = make(world, kind, number)
    if kind == "shadow":  # whose records are those of this world's forget set, in their order
        return {"margins": kit(world).records(world, made.model)}
    kit(world).see(world, made)
    return dict(made.about)


Work = Callable[[Sequence[Piece], Callable[[Piece], None]], dict[Piece, dict[str, Any]]]


@contextlib.contextmanager
def crew(world: Experiment, workers: int) -> Iterator[Work]:
    """What does all pieces that it is given, one thread each, and tells of each that ends.

    The processes begin with the first pieces and wait for further ones: a beginning takes longer than a small model.
    Ctrl-C, or a fault in one, ends the others at once: what they had finished is in the cache.
    """

    def alone(todo: Sequence[Piece], done: Callable[[Piece], None]) -> dict[Piece, dict[str, Any]]:
        found = {}
        with one_thread():
            for piece in todo:
                found[piece] = do(world, piece)
                done(piece)
        return found

    if workers <= 1:
        yield alone
        return
    with processes(workers, _begin, world) as pool:

        def together(todo: Sequence[Piece], done: Callable[[Piece], None]) -> dict[Piece, dict[str, Any]]:
            if len(todo) <= 1:
                return alone(todo, done)
            futures = {pool.submit(_do, piece): piece for piece in todo}
            found = {}
            for future in as_completed(futures):
                found[futures[future]] = future.result()
                done(futures[future])
            return {piece: found[piece] for piece in todo}

        yield together


def ready() -> None:
    """Begins a process that works for another: one thread, deaf to Ctrl-C, and it ends with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of the group: the parent decides
    threading.Thread(target=_follow, daemon=True).start()
    torch.set_num_threads(1)
    threadpool_limits(1)


@contextlib.contextmanager
def processes(workers: int, begin: Callable[..., None] = ready, *given: Any) -> Iterator[ProcessPoolExecutor]:
    """So many processes, each begun by `begin(*given)`; what goes wrong here ends them at once."""
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    pool = ProcessPoolExecutor(workers, context, begin, given)
    try:
        yield pool
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        raise
    pool.shutdown()


def _begin(world: Experiment) -> None:
    global _world
    ready()
    _world = world


def _follow() -> None:
    """Ends this worker with its parent: one that a kill -9 orphaned would train on, then wait for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _do(piece: Piece) -> dict[str, Any]:
    assert _world is not None
    return do(_world, piece)
