"""Evidence on workers that others began: any executor, a Dask cluster, one of whose workers is killed."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.audit.test_collect import RECIPE
from unweave.audit.collect import evidence
from unweave.commands.cluster import cluster
from unweave.errors import ConfigurationError
from unweave.modalities import read

TEXT = RECIPE.replace("epochs: 1", "epochs: 1, seed: 300").replace("retrained: 4", "retrained: 2")
PARTS = ("gaps", "per_example", "attacks", "over_runs", "robustness", "claim")


class Killing(Executor):
    """Kills one worker, kill -9, once the first piece of work is done."""

    def __init__(self, inner: Executor, workers: list[int]) -> None:
        self.inner, self.workers, self.killed, self.pieces = inner, workers, 0, 0

    def submit(self, task: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        future = self.inner.submit(task, *given, **named)
        self.pieces += 1
        if self.pieces > 1:  # the first asks what a worker sees
            future.add_done_callback(self._kill)
        return future

    def _kill(self, future: Future[Any]) -> None:
        if not self.killed:
            self.killed = self.workers[0]
            os.kill(self.killed, signal.SIGKILL)


@pytest.fixture
def dask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster of two processes that see the cache of this test; told address and processes."""
    distributed = pytest.importorskip("distributed")
    monkeypatch.setenv("UNWEAVE_CACHE", str(tmp_path / "cache"))
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50) as made:
        yield made


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_killed_worker_changes_nothing(
    dask: Any, recipe: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = read(recipe(TEXT))
    with cluster(dask.scheduler_address) as (executor, workers):
        killing = Killing(executor, [worker.pid for worker in dask.workers.values()])
        far = evidence(asked, tmp_path / "far", workers=workers, executor=killing)
    assert workers == 2 and killing.killed and killing.pieces > 6
    monkeypatch.setenv("UNWEAVE_CACHE", str(tmp_path / "other"))
    here = evidence(asked, tmp_path / "here")
    assert [m["sha256"] for m in far["runs"]["models"]] == [m["sha256"] for m in here["runs"]["models"]]
    assert {part: far[part] for part in PARTS} == {part: here[part] for part in PARTS}
    assert here["gaps"]["null"] is None, "two retrained models have no halves with a spread"


class Answers(Executor):
    """A worker whose first answer is given, or an error."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def submit(self, task: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        error = isinstance(self.answer, Exception)
        future.set_exception(self.answer) if error else future.set_result(self.answer)
        return future


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((True, "there", "of another version"), "another version of unweave"),
        (ModuleNotFoundError("No module named 'unweave'"), "a worker could not begin"),
    ],
)
def test_workers_of_another_version_are_refused(
    answer: Any, says: str, recipe: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        evidence(read(recipe(TEXT)), tmp_path / "out", executor=Answers(answer))


class Elsewhere(Executor):
    """A worker with a cache of its own, here."""

    def submit(self, task: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("UNWEAVE_CACHE", "elsewhere")
            future.set_result(task(*given, **named))
        return future


def test_workers_that_see_another_cache_are_refused(recipe: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="one of them has elsewhere"):
        evidence(read(recipe(TEXT)), tmp_path / "out", executor=Elsewhere())


def test_threads_are_refused(recipe: Callable[..., Path], tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool, pytest.raises(ConfigurationError, match="share its random state"):
        evidence(read(recipe(TEXT)), tmp_path / "out", executor=pool)


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("host:8786", "expected tcp://HOST:PORT"),
        ("tcp:", "expected tcp://HOST:PORT"),
        ("slurm:nowhere.yaml", "cannot be read"),
        ("slurm:jobs.yaml", "must hold 'jobs: N'"),
    ],
)
def test_what_is_no_cluster(where: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.chdir(tmp_path)
    Path("jobs.yaml").write_text("queue: long")
    with pytest.raises(ConfigurationError, match=says), cluster(where):
        pass


def test_slurm_is_asked_for_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of the file reach dask_jobqueue, whose script they make; nothing is queued here."""
    jobqueue = pytest.importorskip("dask_jobqueue")
    file, asked = tmp_path / "jobs.yaml", {}

    class Queue(contextlib.AbstractContextManager["Queue"]):
        def __init__(self, **settings: Any) -> None:
            asked.update(settings)

        def __exit__(self, *error: object) -> None: ...

        def scale(self, *, jobs: int) -> None:
            asked["jobs"] = jobs
            raise OSError("no queue")

    monkeypatch.setattr(jobqueue, "SLURMCluster", Queue)
    file.write_text("{jobs: 3, queue: long, memory: 4GB, walltime: '01:00:00'}")
    with pytest.raises(OSError, match="no queue"), cluster(f"slurm:{file}"):
        pass
    assert asked == {"cores": 1, "processes": 1, "queue": "long", "memory": "4GB", "walltime": "01:00:00", "jobs": 3}
