"""A search from its recipe to its folder: trials, the tuned recipe, the run of it, and what the page says."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unweave import modalities
from unweave.errors import ConfigurationError, InfeasibleError
from unweave.extras import require
from unweave.modalities._base import Job
from unweave.recipe.auto import AUTO, HEADLINE
from unweave.recipe.recipe import Recipe
from unweave.recipe.sections import NamedSection
from unweave.run import directory
from unweave.run.environment import environment, now
from unweave.run.identity import differing, identity, resolve
from unweave.run.interrupt import REASON
from unweave.run.runner import run as run_one
from unweave.store import atomically, kept_json, strict, write_json
from unweave.tuning import search
from unweave.tuning.cost import estimate
from unweave.tuning.crew import search_on
from unweave.tuning.space import Setting, Space, space_of
from unweave.tuning.trial import Json, with_setting
from unweave.tuning.trials import Trials
from unweave.tuning.world import By, World, check, prepared, requests
from unweave.watch import Watch, silent

FILE, TRIALS, TUNED, RUN = "tune.json", "trials.jsonl", "tuned.yaml", "run"
OURS = {FILE, TRIALS, TUNED, RUN, "report.html", "runs"}  # where `unweave run tuned.yaml` writes
LEVEL = 0.05  # of the bound on what the best gains over the recipe


@dataclass(frozen=True)
class Asked:
    """How a search is made.

    Attributes:
        trials: settings that are tried, the recipe's own among them.
        methods: that are tried; none: as `space.space_of` has it.
        proxies: requests that they are tried on.
        by: what they are judged by.
        seed: of proxies and sampler.
        free: try also what the recipe fixes.
    """

    trials: int = 20
    methods: tuple[str, ...] = ()
    proxies: int = 2
    by: By = "proxies"
    seed: int = 0
    free: bool = False


def tune(
    recipe: Recipe,
    folder: Path,
    asked: Asked,
    *,
    jobs: int = 1,
    executor: Executor | None = None,
    watch: Watch = silent,
    promise: Callable[[str], None] = lambda text: None,
) -> Json:
    """Does what is left of a search, and then the run of what it found, the first that reads the final set.

    Args:
        recipe: of one request.
        folder: new, or of the same search: `trials.jsonl` has a line for every trial that is done.
        asked: how.
        jobs: trials at a time; with one, the search is the same for a seed, whether it was interrupted or not.
        executor: does the trials, on whatever machines (`audit.work`).
        watch: told about every phase.
        promise: told what it will take, before the first trial, and which methods so few trials leave out.

    Returns:
        What `tune.json` holds; `status` is "interrupted" if Ctrl-C ended it.

    Raises:
        ConfigurationError: the folder is of something else or of another search, there is nothing to search, or no
            room for proxies; and the recipe's faults.
        UnsupportedError: optuna is not here, or the data have no proxies.
    """
    require("optuna", "tune")
    check_single(recipe)
    with directory.claimed(folder):
        _check(folder)
        job = modalities.job(recipe)
        space = space_of(recipe, job.task, asked.methods, asked.free)
        first = begun(recipe, space)
        if asked.trials < 2:
            raise ConfigurationError(
                f"--trials: expected 2 at least, the recipe's own and another; found {asked.trials}"
            )
        base = with_setting(_corrected(recipe, asked.trials), first[0])
        trials = Trials(folder / TRIALS)
        found = _begun(folder, base, job, asked, space, trials)
        found["own"] = f"{HEADLINE[0]} for auto" if recipe.method.name == AUTO else "the recipe"
        chosen = requests(base, job, asked.by, asked.proxies, asked.seed)
        try:
            check(base, chosen, watch)
            write_json(folder / FILE, strict(found))
            if untried := [setting["method"]["name"] for setting in first[asked.trials :]]:
                promise(f"not tried: {', '.join(untried)}; --trials {len(first)} tries every method once")
            if len(trials.rows) < asked.trials:
                promise(str(estimate(base, job, chosen, asked.by, asked.trials - len(trials.rows), jobs, watch)))
            world = prepared(base, asked.by, chosen, watch)
            search_on(world, space, first, trials, asked.trials, asked.seed, jobs, executor, watch)
            found |= _chosen(world, trials.rows) | {"trials": trials.rows}
            won = next(row["setting"] for row in trials.rows if row["number"] == found["best"])
            atomically(folder / TUNED, _tuned(with_setting(base, won), found, asked).encode())
            write_json(folder / FILE, strict(found))
            found |= _final(folder, watch)
        except KeyboardInterrupt:
            found["status"] = REASON
        found |= {"trials": trials.rows, "created": now(), "environment": environment()}
        write_json(folder / FILE, strict(found))
    return found


def check_single(recipe: Recipe) -> None:
    """Refuses several requests in a row."""
    if recipe.requests:
        raise ConfigurationError("tune is about one request: give a recipe with 'forget', not with 'requests'")


def begun(recipe: Recipe, space: Space) -> list[Setting]:
    """What is tried in any case: the recipe as it is (with `method: auto`, the first headline method), and every method
    of the space as it comes.
    """
    method = NamedSection(name=HEADLINE[0]) if recipe.method.name == AUTO else recipe.method
    own = space.filled({"method": {"name": method.name, **method.arguments}, "step": _plain(recipe.step)})
    return [own, *(setting for setting in space.usual() if setting != own)]


def _plain(section: NamedSection) -> dict[str, Any]:
    return {"name": section.name, **section.arguments}


def _corrected(recipe: Recipe, trials: int) -> Recipe:
    """With the guard set's level divided by the number of trials: it is what each of them is judged by."""
    if recipe.contract is None:
        return recipe
    tried = recipe.contract.tried * trials
    return recipe.model_copy(update={"contract": recipe.contract.model_copy(update={"tried": tried})})


def _check(folder: Path) -> None:
    directory.creatable(folder)
    inside = {each.name for each in folder.iterdir()} if folder.is_dir() else set()
    if strange := sorted(name for name in inside - OURS if not name.startswith(".")):
        raise ConfigurationError(
            f"{folder} holds more than a search ({', '.join(strange[:3])}): choose another --output"
        )


def _begun(folder: Path, base: Recipe, job: Job, asked: Asked, space: Space, trials: Trials) -> Json:
    """`tune.json` as it begins; trials that are there must be of the same search."""
    kept = {key: value for key, value in identity(resolve(base, job, folder)).items() if value is not None}
    same = json.loads(json.dumps({**kept, **{f"--{key}": value for key, value in asdict(asked).items()}}))
    if trials.rows:
        before = (kept_json(folder / FILE) or {}).get("identity")
        if not isinstance(before, dict):
            raise ConfigurationError(
                f"{folder / FILE}: expected what a search wrote, which says of what the {len(trials.rows)} trials in "
                f"{TRIALS} are: choose another --output"
            )
        if changed := differing(before, same):
            raise ConfigurationError(
                [f"{key} changed since the search began: {how}" for key, how in changed.items()],
                advice=f"{folder}: put back what changed, or choose another --output",
            )
    found = {"status": "running", "identity": same, "asked": asdict(asked), "request": job.text, "created": now()}
    return found | {"space": space.lines(), "trials": []}


def _chosen(world: World, rows: Sequence[Json]) -> Json:
    """The best trial, the recipe's own, and what may be said of their difference."""
    best, own = search.best(rows), next(row for row in rows if row["number"] == 0)
    if best is None:
        raise ConfigurationError("no trial went to its end: there is nothing to choose from (trials.jsonl says why)")
    return {
        "status": "chosen",
        "best": best["number"],
        "met": not best["violation"],
        "tried": len(rows),
        "original": [*world.original],
        "gain": gain(own, best, len(rows)) if world.by == "proxies" else None,
        "texts": [request.text for request in world.requests],
    }


def gain(own: Json, best: Json, tried: int) -> Json:
    r"""How much nearer the best is than the recipe over the proxies, with a lower bound that counts the selection.

    Of k proxies with differences d: `mean(d) - t(k - 1) sd / sqrt k`, at the level `0.05 / tried` (Bonferroni): the
    best of so many trials looks better on the requests that it was chosen on than it is. One proxy gives no bound.
    """
    from scipy.special import stdtrit

    if own["state"] != "complete":
        return {"value": None, "low": None, "level": LEVEL / tried}
    d = [a["objective"] - b["objective"] for a, b in zip(own["requests"], best["requests"], strict=True)]
    mean, k, low = sum(d) / len(d), len(d), None
    if k > 1:
        spread = math.sqrt(sum((each - mean) ** 2 for each in d) / (k - 1))
        low = mean - float(stdtrit(k - 1, 1 - LEVEL / tried)) * spread / math.sqrt(k)
    return {"value": mean, "low": low, "level": LEVEL / tried}


def _tuned(recipe: Recipe, found: Json, asked: Asked) -> str:
    """The recipe with the best setting, and how it was chosen."""
    how = f"nearest to retraining over {asked.proxies} proxy requests"
    if asked.by == "contract":
        how = "it uses least of what may be lost"
    lines = [f"Chosen by unweave tune: trial {found['best']} of {found['tried']} (the first is 0): {how}."]
    if not found["met"]:
        lines.append("NO trial met every clause of the contract: this one comes nearest to it.")
    if recipe.contract is not None:
        lines.append(
            "contract.tried: all trials were judged by the guard set, so its level is divided by their number."
        )
        lines.append("No trial read the final set.")
    return "".join(f"# {line}\n" for line in lines) + recipe.to_yaml()


def _final(folder: Path, watch: Watch) -> Json:
    """The run of the tuned recipe: an ordinary run directory."""
    recipe = modalities.read(folder / TUNED)
    try:
        summary = run_one(recipe, folder / RUN, resume=True, watch=watch)
    except InfeasibleError as error:
        return {"status": "done", "run": None, "why": str(error)}
    if summary["status"] == REASON:
        raise KeyboardInterrupt
    scores = json.loads((folder / RUN / "scores.json").read_text(encoding="utf-8"))
    kept = ("status", "stop_reason", "contract", "contract_reading", "steps", "seconds", "warnings")
    return {"status": "done", "run": {key: summary[key] for key in kept} | {"gaps": scores["gaps"]}, "why": ""}
