"""`--cluster`: a running Dask scheduler, or jobs of a batch system that Dask starts."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from unweave.errors import ConfigurationError
from unweave.extras import require

RETRIES = 3  # of a piece of work whose worker died
PATIENCE = 60.0  # seconds until the first worker of a running scheduler has to be there
_QUEUED = 24 * 3600.0  # and of jobs that wait in a queue
_FORMS = "expected tcp://HOST:PORT of a Dask scheduler, or slurm:FILE.yaml"


@contextmanager
def cluster(where: str) -> Iterator[tuple[Executor, int]]:
    """An executor on the workers there, and how many they are, now or once their jobs have begun.

    Args:
        where: `tcp://HOST:PORT` (or `tls://`) of a scheduler, or `slurm:FILE`, a YAML file with the arguments of
            `dask_jobqueue.SLURMCluster` and `jobs`, how many to start.

    Raises:
        ConfigurationError: it is neither, nobody answers there, or a worker has several threads.
        UnsupportedError: the extra `cluster` is not installed.
    """
    kind, _, rest = where.partition(":")
    if kind not in ("tcp", "tls", "slurm") or not rest:
        raise ConfigurationError(f"--cluster: {_FORMS}; found {where!r}")
    dask = require("distributed", "cluster")
    with ExitStack() as open_:
        jobs, address, patience = None, where, PATIENCE
        if kind == "slurm":
            jobs, settings = _settings(Path(rest))
            address = open_.enter_context(_slurm(settings))
            address.scale(jobs=jobs)
            patience = _QUEUED
        try:
            client = open_.enter_context(dask.Client(address, timeout=PATIENCE))
            client.wait_for_workers(1, timeout=patience)
        except (OSError, TimeoutError) as error:
            raise ConfigurationError(f"--cluster: no worker answers at {where} ({error}): {_FORMS}") from error
        if several := [name for name, threads in client.nthreads().items() if threads != 1]:
            raise ConfigurationError(
                f"--cluster: expected workers of one thread, found {len(several)} with more ({several[0]}): start "
                "them with --nthreads 1, several for each machine. Threads of one process share its random state."
            )
        yield client.get_executor(pure=False, retries=RETRIES), jobs or len(client.nthreads())


def _settings(file: Path) -> tuple[int, dict[str, Any]]:
    try:
        found = yaml.safe_load(file.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigurationError(f"--cluster: {file} cannot be read ({error})") from error
    jobs = found.pop("jobs", None) if isinstance(found, dict) else None
    if not isinstance(jobs, int) or jobs < 1:
        raise ConfigurationError(
            f"--cluster: {file} must hold 'jobs: N' beside the arguments of dask_jobqueue.SLURMCluster (queue, "
            f"account, walltime, memory); found {found if jobs is None else jobs!r}"
        )
    return jobs, {"cores": 1, "processes": 1, **found}


def _slurm(settings: dict[str, Any]) -> Any:
    jobqueue = require("dask_jobqueue", "cluster")
    try:
        return jobqueue.SLURMCluster(**settings)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"--cluster: dask_jobqueue refuses these settings: {error}") from error
