"""Which setting comes next, and which trial is the best: a function of the trials that are done, and of a seed.

optuna's TPE sampler is asked anew for every trial, of a study that is made of all trials before it: what is kept is our
own list of trials, and a search that goes on asks as one that never stopped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from unweave.tuning.space import Setting, Space
from unweave.tuning.trial import FAR, Json, Rivals

AGAIN = 20  # settings that are drawn until one is new


def ordered(row: Json) -> tuple[float, float, int]:
    """The least of a complete trial is the best: first what it misses, then how far it is, then its number."""
    return row["violation"], row["objective"], row["number"]


def best(rows: Sequence[Json]) -> Json | None:
    """The best complete trial; one that misses a clause never wins over one that misses none."""
    return min((row for row in rows if row["state"] == "complete"), key=ordered, default=None)


def rivals(rows: Sequence[Json]) -> Rivals:
    """What the next trial is told of the others."""
    complete = [row for row in rows if row["state"] == "complete"]
    met = [row["objective"] for row in complete if not row["violation"]]
    looks = [{int(step): value for step, value in row["looks"].items()} for row in complete if row["looks"]]
    return Rivals(looks, min(met, default=None))


def following(
    space: Space, first: Sequence[Setting], rows: Sequence[Json], taken: Sequence[Setting], number: int, seed: int
) -> Setting | None:
    """The setting of a trial: of those to begin with the next, then what the sampler asks for; None: none is new.

    Args:
        space: where it is looked for.
        first: settings that are tried in any case: the recipe's own, and every method as it comes.
        rows: trials that are done.
        taken: settings of all that are done or under way.
        number: of the trial.
        seed: of the search.
    """
    if number < len(first):
        return first[number]
    for attempt in range(AGAIN):
        setting = space.ask(_study(space, rows, len(first), _seed(seed, number, attempt)).ask())
        if setting not in taken:
            return setting
    return None


def _study(space: Space, rows: Sequence[Json], begun: int, seed: int) -> Any:
    """Of all trials that are done."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=begun + 3))
    for row in sorted(rows, key=lambda row: row["number"]):
        known = space.params(row["setting"])
        if known is None:  # the recipe's own, which the space need not hold
            continue
        value = row["objective"] + FAR * row["violation"] if row["state"] == "complete" else None
        state = optuna.trial.TrialState.COMPLETE if value is not None else optuna.trial.TrialState.PRUNED
        steps = {} if value is not None else {int(step): each for step, each in row["looks"].items()}
        study.add_trial(
            optuna.trial.create_trial(
                state=state, value=value, params=known[0], distributions=known[1], intermediate_values=steps
            )
        )
    return study


def _seed(*parts: int) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big")
