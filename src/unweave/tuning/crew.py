"""Who does the trials: this process, others of this machine, or an executor's workers; and what each is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import ExitStack, contextmanager

from unweave.audit import work
from unweave.tuning import search
from unweave.tuning.space import Setting, Space
from unweave.tuning.trial import Json, Rivals, attempt
from unweave.tuning.trials import Trials
from unweave.tuning.world import World
from unweave.watch import Watch


def search_on(
    world: World,
    space: Space,
    first: Sequence[Setting],
    trials: Trials,
    count: int,
    seed: int,
    jobs: int,
    executor: Executor | None,
    watch: Watch,
) -> None:
    """Runs the trials that are not there, until there are so many or no setting is new.

    Args:
        world: what they are tried on.
        space, first: settings, and those to begin with.
        trials: that are done; each further one is added as it ends.
        count: of trials, in all.
        seed: of the search.
        jobs: at a time.
        executor: does them in this process's place.
        watch: told how many are done.
    """
    pending = dict[Future[Json], tuple[int, Setting]]()
    with _crew(world, jobs, executor) as submit, _cancelled(pending):
        while True:
            watch("trials", len(trials.rows), count)
            while len(pending) < jobs:
                under = [number for number, _ in pending.values()]
                number = trials.next(under)
                if number >= count:
                    break
                taken = [row["setting"] for row in trials.rows] + [setting for _, setting in pending.values()]
                setting = search.following(space, first, trials.rows, taken, number, seed)
                if setting is None:
                    break
                pending[submit(number, setting, search.rivals(trials.rows))] = number, setting
            if not pending:
                return
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in sorted(done, key=lambda each: pending[each][0]):
                trials.add(future.result())
                del pending[future]


@contextmanager
def _cancelled(pending: Mapping[Future[Json], object]) -> Iterator[None]:
    """What ends the search, Ctrl-C or a fault, calls off the trials that have not begun."""
    try:
        yield
    except BaseException:
        for future in pending:
            future.cancel()
        raise


Submit = Callable[[int, Setting, Rivals], "Future[Json]"]
_world: World | None = None  # of a worker process, set when it begins


@contextmanager
def _crew(world: World, jobs: int, executor: Executor | None) -> Iterator[Submit]:
    """What does a trial: here and now, in processes of this machine, or by an executor."""

    def here(number: int, setting: Setting, rivals: Rivals) -> Future[Json]:
        future = Future[Json]()
        future.set_result(attempt(world, number, setting, rivals))
        return future

    with ExitStack() as open_:
        if executor is not None:
            work.check(executor)
            yield lambda *given: executor.submit(attempt, world, *given)
        elif jobs <= 1:
            yield here
        else:
            pool = open_.enter_context(work.processes(jobs, _begin, world))
            yield lambda *given: pool.submit(_attempt, *given)


def _begin(world: World) -> None:
    global _world
    work.ready()
    _world = world


def _attempt(number: int, setting: Setting, rivals: Rivals) -> Json:
    assert _world is not None
    return attempt(_world, number, setting, rivals)
