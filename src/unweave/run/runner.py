"""A recipe becomes a run directory."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from unweave import devices, modalities, ranks
from unweave.callbacks import Callback, Watched, chosen
from unweave.contract import Keeper, Verdict
from unweave.errors import InfeasibleError
from unweave.execution import world
from unweave.guards import GuardWarning, check
from unweave.modalities import read
from unweave.modalities._base import Job, Scored
from unweave.objectives import Objectives
from unweave.parameters import choose
from unweave.recipe.auto import AUTO
from unweave.recipe.recipe import Recipe
from unweave.results import Record, Result
from unweave.run import checkpoint, directory, outcome, race
from unweave.run.checkpoint import of_this_version
from unweave.run.examples import examples, odds, quote
from unweave.run.identity import check_same, identity, resolve
from unweave.run.interrupt import REASON, Interrupt
from unweave.run.session import Session, check_readable
from unweave.run.steps_log import StepLog
from unweave.sharded import shard, unsharded
from unweave.store import atomically, file_sha256, write_json
from unweave.watch import Watch, silent

Promise = Callable[[Sequence[Verdict], Sequence[str]], None]
QUOTE = "quote.json"
UNQUOTED = "quote: it keeps both gradients, which a run with run.memory {} does not: there is none (evaluation.quote)."
QUOTED = 200  # examples of a side that `quote.json` holds


def forgot_before(recipe: Recipe) -> list[str]:
    """What to say where the model is one that a run left, and the recipe does not say that what it forgot is gone."""
    if recipe.already:
        return []
    for path in (value for _, value in recipe.model if isinstance(value, Path)):
        for folder in (path, *path.parents[:2]):
            if not ((folder / directory.SUMMARY).is_file() and (folder / "recipe.yaml").is_file()):
                continue
            asked = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8")).get("forget")
            if asked != yaml.safe_load(recipe.to_yaml()).get("forget"):
                told = json.dumps({key: value for key, value in (asked or {}).items() if value is not None})
                return [
                    f"{path}: a run left this model. What it forgot ({told}) is among the rows to keep "
                    "here, and may come back: name it in `already`, or ask for both in one recipe, in `requests`."
                ]
    return []


def unheard(clauses: Sequence[Verdict], notes: Sequence[str]) -> None:
    """Nobody listens."""


def run(
    recipe: Recipe,
    folder: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    watch: Watch = silent,
    promise: Promise = unheard,
) -> dict[str, Any]:
    """Unlearns as the recipe says; everything that a run leaves is in `folder` (all but `report.html`).

    Ctrl-C, between two steps or while a reference is trained, ends the run and still saves model and scores. Whatever
    ends it at whatever moment, it can be resumed, and the model is the one that it would have been.

    Args:
        recipe: what to do.
        folder: new or empty, unless a run is resumed or replaced.
        resume: do what is left of the run in `folder`: nothing, where it is finished; all, where it never began.
        overwrite: replace the run that `folder` holds.
        watch: told about every phase.
        promise: told the contract's clauses, as they will be judged, and the notes on them, when the run begins.

    Returns:
        What `summary.json` holds.

    Raises:
        ConfigurationError: the recipe does not fit its data, the directory is in use, or what is resumed is a run of
            another recipe or of other data.
        InfeasibleError: the rule refused the very first step.
    """
    with directory.claimed(folder):
        ranks.first(lambda: directory.check(folder, resume, overwrite))
        _said(forgot_before(recipe))
        return carry_out(recipe, modalities.job(recipe), folder, resume=resume, watch=watch, promise=promise)


def carry_out(
    recipe: Recipe,
    job: Job,
    folder: Path,
    *,
    first: Callable[[], nn.Module] | None = None,
    resume: bool = False,
    watch: Watch = silent,
    promise: Promise = unheard,
) -> dict[str, Any]:
    """One request of a recipe, from its original model to its summary: `run`, with the job made already.

    Args:
        recipe, folder, resume, watch, promise: as for `run`.
        job: what the recipe asks for.
        first: opens what keep clauses compare with, where it is not the model that the recipe starts from.
    """
    # A method that is still to be chosen is chosen first: what follows is an ordinary run of the one that won.
    auto = recipe.method.name == AUTO
    if auto:
        fresh = partial(_original, recipe, job, watch)
        recipe = race.raced(recipe, job, folder, fresh, resume=resume, watch=watch)
    # What is there already: a finished run is handed back, an interrupted one must be this very run.
    resolved = resolve(recipe, job, folder)
    if resume and (done := ranks.first(lambda: directory.finished(folder))) is not None:
        check_same(identity(read(folder / "recipe.yaml")), identity(resolved))
        return done
    states = checkpoint.load(folder / "checkpoint") if resume else None
    if states is not None:
        with of_this_version(folder / "checkpoint"):
            check_same(states["run"]["identity"], identity(resolved))
    elif resume and (folder / "steps.jsonl").exists():
        warnings.warn(f"{folder} has no checkpoint any more: the run begins again", stacklevel=2)
    # Refusals come as early as they can, and before anything is written.
    devices.chosen(recipe.run.device)
    logged = chosen(recipe.run.callbacks, folder) if ranks.lead() else []
    warned = _said(job.notes) if states is None else []
    check_readable(resolved, job)
    original = _original(recipe, job, watch)
    if states is None:
        warned += _said(_looked(recipe, job, original))
    retrained = None
    if recipe.contract is not None and recipe.contract.asks_retrained:
        retrained = ranks.before_others(lambda: job.reference(1, watch))
        retrained = retrained if retrained is None or not recipe.run.shard else placed(retrained, recipe)
    session = Session.start(resolved, job, original, retrained, first)
    if states is None:
        session.warnings = warned
        if recipe.evaluation.quote and not _quotes(session, recipe):
            session.warnings += _said([UNQUOTED.format(session.parts.memory)])
        if session.parts.keeper is not None:
            session.parts.keeper.check(session.model)
        # From here on the folder is this run's, and there is always a checkpoint to go on from. The first process
        # writes it, once all have read what was there.
        ranks.met()
        if ranks.lead():
            directory.clear(folder, keep=(race.FILE,) if auto else ())
            atomically(folder / "recipe.yaml", resolved.to_yaml().encode())
        _quoted(session, recipe, job, folder / QUOTE, original, watch)
        checkpoint.save(folder / "checkpoint", session.state())
    # Before the first step: scores of the original, and of a resumed run where it stood.
    scored = {"original": _score(original, job, folder, watch, "original")}
    seen = {"original": odds(job, original)}
    if states is not None:
        with of_this_version(folder / "checkpoint"):
            session.restore(states)
        ranks.met()
        if ranks.lead():
            (folder / directory.SUMMARY).unlink(missing_ok=True)  # of the run as it was, when it was interrupted
        _quoted(session, recipe, job, folder / QUOTE, original, watch)
    # The steps; then at once what must not be lost: the model, then its scores, then the examples.
    result = _loop(session, folder, watch, promise, logged)
    if (whole := unsharded(session.model, ranks.lead())) is not None and ranks.lead():
        job.save(whole, folder / "model")
    del whole
    scored["unlearned"] = _score(session.model, job, folder, watch, "unlearned")
    _write(folder / "scores.json", lambda: outcome.scores(job, scored))
    seen["unlearned"] = odds(job, session.model)
    asked = _quotes(session, recipe) and ranks.lead()
    quoted = json.loads((folder / QUOTE).read_text(encoding="utf-8")) if asked else None
    _write(folder / "examples.json", lambda: examples(job, quoted, seen))
    # Retrained models come last: they take the longest, and Ctrl-C leaves all that was there before them.
    if result.reason != REASON:
        try:
            for number, name in enumerate(("retrained", "retrained again")[: recipe.evaluation.retrained], 1):
                if (model := ranks.before_others(partial(job.reference, number, watch))) is None:
                    break
                model = placed(model, recipe)
                scored[name] = _score(model, job, folder, watch, name)
                _write(folder / "scores.json", lambda: outcome.scores(job, scored))
                if number == 1:
                    seen[name] = odds(job, model)
                    _write(folder / "examples.json", lambda: examples(job, quoted, seen))
        except KeyboardInterrupt:
            result.reason = REASON
    # The summary is written last and vouches for all files: where it is, the run is finished.
    found = outcome.summary(session, job, result, scored) | race.told(folder)

    def last() -> dict[str, Any]:
        job.leave(folder)
        summary = directory.sealed(folder, found)
        write_json(folder / directory.SUMMARY, summary)
        return summary

    return ranks.first(last)


def _original(recipe: Recipe, job: Job, watch: Watch) -> nn.Module:
    """What is unlearned, where the run computes."""
    return placed(ranks.before_others(lambda: modalities.original(recipe, job, watch)), recipe)


def placed(model: nn.Module, recipe: Recipe) -> nn.Module:
    """Where the recipe's run computes, and sharded if it says so."""
    device = devices.chosen(recipe.run.device)
    return shard(model) if recipe.run.shard and world() > 1 else model.to(device)


def _write(path: Path, content: Callable[[], Any]) -> None:
    """A file of the run, which the first process writes."""
    if ranks.lead():
        write_json(path, content())


def _quoted(session: Session, recipe: Recipe, job: Job, path: Path, original: nn.Module, watch: Watch) -> None:
    """Writes `quote.json`, where the recipe asks for it and the one that the checkpoint knows is not there."""
    known = session.files.get(path.name)
    there = ranks.first(lambda: path.is_file() and file_sha256(path) == known)
    if not _quotes(session, recipe) or (known and there):
        return
    if known:
        warnings.warn(f"{path} is not what the run wrote: it is made again", stacklevel=3)
    watch("looking at the request", 0, 1)
    found = quote(recipe, job, original)
    if ranks.lead():
        write_json(path, found.as_dict(most=QUOTED))
        session.files[path.name] = file_sha256(path)
    watch("looking at the request", 1, 1)


def _quotes(session: Session, recipe: Recipe) -> bool:
    """Whether there is a quote; it keeps both gradients."""
    return recipe.evaluation.quote and session.parts.memory == "fast"


def _looked(recipe: Recipe, job: Job, original: nn.Module) -> list[str]:
    """What does not look right, before anything long is done or anything is written."""
    with choose(original, recipe.model.parameters):
        return check(original, job.task, job.forget, job.retain, guards=recipe.guards.guards(), seed=recipe.run.seed)


def _said(found: Sequence[str]) -> list[str]:
    for text in found:
        warnings.warn(text, GuardWarning, stacklevel=3)
    return list(found)


@dataclass(frozen=True)
class _Promised:
    """A callback that tells the contract, once its limits are known."""

    keeper: Keeper
    promise: Promise
    first: int

    def on_step(self, record: Record, objectives: Objectives) -> None:
        """At the first step alone."""
        if record.number == self.first:
            self.promise(self.keeper.clauses, self.keeper.notes)


def _loop(session: Session, folder: Path, watch: Watch, promise: Promise, callbacks: Sequence[Callback] = ()) -> Result:
    """Runs the steps that are left; a checkpoint every so often, when the run is interrupted, and at the end."""
    settings, progress, parts, begin = session.recipe.run, session.progress, session.parts, time.perf_counter()
    keeper = parts.keeper
    steps = folder / "steps.jsonl"
    log = StepLog(steps if ranks.lead() else None, before=progress.made, sha256=session.files.get(steps.name))
    session.warnings += filter(None, [log.fault])
    if session.ended:
        with log, parts.ready():
            found = None if keeper is None else keeper.finish(session.model, session.ended)
        return Result(session.model, reason=session.ended, progress=progress, contract=found)
    told = [] if keeper is None else [_Promised(keeper, promise, progress.made + 1)]
    bar, paused = Watched(watch, settings.steps), False

    def save() -> None:
        log.sync()
        session.files[steps.name] = log.sha256
        checkpoint.save(folder / "checkpoint", session.state(time.perf_counter() - begin))

    def pause(record: Record) -> str | None:
        """Comes last between two steps, when everything has read the one before: a checkpoint, and Ctrl-C."""
        nonlocal paused
        paused = ranks.any_of(interrupt.came)
        if paused or progress.made % settings.checkpoint_every == 0:
            save()
        return REASON if paused else None

    with Interrupt() as interrupt, log, parts.ready():
        result = parts.run(
            settings.steps - progress.made,
            callbacks=(log, *told, bar, *callbacks),
            stop=(pause,),
            progress=progress,
            warnings=session.warnings,
            repair=session.repair,
        )
        if result.reason == REASON and not paused:
            raise KeyboardInterrupt  # a second signal, in the middle of a step: the last checkpoint is what is left
        last = result.history[-1] if result.history else None
        refused = last.step.stop if last is not None and not last.accepted else None
        if refused and progress.made == 1:
            raise InfeasibleError(
                f"no step was possible, the model is as it was: {refused} ({folder} holds nothing but this attempt: "
                "--overwrite it with the next)"
            )
        if not paused:
            session.ended = result.reason
            save()
            if ranks.any_of(interrupt.came):  # in the step that ended the run
                result.reason = REASON
    return result


def _score(model: nn.Module, job: Job, folder: Path, watch: Watch, name: str) -> Scored:
    watch(f"scoring the {name} model", 0, 1)
    found = job.score(model, name, folder, watch)
    watch(f"scoring the {name} model", 1, 1)
    return found
