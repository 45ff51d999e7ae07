"""Pieces of work that do not know of each other: in processes of this machine, or wherever an executor takes them.

What is done is kept in the cache, which all of them see.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from multiprocessing.connection import wait
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from unweave.audit.experiment import Experiment
from unweave.audit.kits import kit
from unweave.audit.models import make
from unweave.errors import ConfigurationError
from unweave.execution import one_thread
from unweave.run.environment import code_sha256
from unweave.store import cache_folder

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
def crew(world: Experiment, workers: int, executor: Executor | None = None) -> Iterator[Work]:
    """What does all pieces that it is given, one thread each, and tells of each that ends.

    The processes begin with the first pieces and wait for further ones: a beginning takes longer than a small model.
    Ctrl-C, or a fault in one, ends the others at once: what they had finished is in the cache.

    Args:
        world: what the pieces are of.
        workers: processes of this machine.
        executor: does the pieces in their place, on whatever machines; it is left open.

    Raises:
        ConfigurationError: the executor's workers are threads, see another cache, or run another version.
    """

    def alone(todo: Sequence[Piece], done: Callable[[Piece], None]) -> dict[Piece, dict[str, Any]]:
        found = {}
        with one_thread():
            for piece in todo:
                found[piece] = do(world, piece)
                done(piece)
        return found

    def by(pool: Executor, task: Callable[..., dict[str, Any]], *given: Any) -> Work:
        def together(todo: Sequence[Piece], done: Callable[[Piece], None]) -> dict[Piece, dict[str, Any]]:
            if len(todo) <= 1:
                return alone(todo, done)
            futures = {pool.submit(task, *given, piece): piece for piece in todo}
            found = {}
            try:
                for future in as_completed(futures):
                    found[futures[future]] = future.result()
                    done(futures[future])
            except BaseException:
                for future in futures:
                    future.cancel()
                raise
            return {piece: found[piece] for piece in todo}

        return together

    if executor is not None:
        check(executor)
        yield by(executor, _far, world)
    elif workers <= 1:
        yield alone
    else:
        with processes(workers, _begin, world) as pool:
            yield by(pool, _do)


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


def _far(world: Experiment, piece: Piece) -> dict[str, Any]:
    """One piece in a process that others began, and that may do other things."""
    with one_thread():
        return do(world, piece)


def check(executor: Executor) -> None:
    """Asks one worker what it sees: results travel by the cache, and what is kept there is named by the code."""
    if isinstance(executor, ThreadPoolExecutor):
        raise ConfigurationError(
            "executor: expected workers that are processes; trainings in threads of one process share its random state"
        )
    token = cache_folder("evidence") / f".{uuid.uuid4().hex}"
    token.parent.mkdir(parents=True, exist_ok=True)
    token.touch()
    try:
        there, folder, code = executor.submit(_seen, token.name).result()
    except (BrokenExecutor, ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"executor: a worker could not begin ({type(error).__name__}: {error}). Every worker needs this version of "
            "unweave and its extras."
        ) from error
    finally:
        token.unlink(missing_ok=True)
    if not there:
        raise ConfigurationError(
            f"executor: expected all workers to see the cache {token.parent}; one of them has {folder}. Set "
            "UNWEAVE_CACHE to a folder that all of them share, here and for the workers."
        )
    if code != code_sha256():
        raise ConfigurationError(
            "executor: a worker runs another version of unweave; install the same one everywhere, and start the "
            "workers anew."
        )


def _seen(token: str) -> tuple[bool, str, str]:
    folder = cache_folder("evidence")
    return (folder / token).exists(), str(folder), code_sha256()
