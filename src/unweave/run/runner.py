"""A recipe becomes a run directory."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from unweave.contract import Verdict
from unweave.data.cache import atomically
from unweave.errors import InfeasibleError
from unweave.guards import FirstStep, GuardWarning, check
from unweave.loop import Record, Result, unlearn
from unweave.objectives import Objectives
from unweave.parameters import choose
from unweave.run import checkpoint, directory, outcome, prepare
from unweave.run.examples import examples
from unweave.run.identity import check_same, identity, resolve
from unweave.run.interrupt import REASON, Interrupt
from unweave.run.outcome import Sheet
from unweave.run.prepare import Request
from unweave.run.quote import quote
from unweave.run.recipe import Recipe, read
from unweave.run.record import StepLog, write_json
from unweave.run.session import Session
from unweave.run.watch import Watch, silent

Promise = Callable[[Sequence[Verdict], Sequence[str]], None]
QUOTED = 200  # examples of a side that `quote.json` holds


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
    directory.check(folder, resume, overwrite)
    return carry_out(recipe, prepare.request(recipe), folder, resume=resume, watch=watch, promise=promise)


def carry_out(
    recipe: Recipe,
    request: Request,
    folder: Path,
    *,
    first: nn.Module | None = None,
    resume: bool = False,
    watch: Watch = silent,
    promise: Promise = unheard,
) -> dict[str, Any]:
    """One request of a recipe, from its original model to its summary: `run`, with the request made already.

    Args:
        recipe, folder, resume, watch, promise: as for `run`.
        request: what the recipe asks for.
        first: what keep clauses compare with, where it is not the model that the recipe starts from.
    """
    resolved = resolve(recipe, request, folder)
    if resume and (done := directory.finished(folder)) is not None:
        check_same(identity(read(folder / "recipe.yaml")), identity(resolved))
        return done
    states = checkpoint.load(folder / "checkpoint") if resume else None
    if states is not None:
        check_same(states["run"]["identity"], identity(resolved))
    original = prepare.original(recipe, request, watch)
    contract = recipe.contract
    retrained = None
    if contract is not None and contract.asks_retrained:
        retrained = request.retrained(request.training.seed + 1, watch)
    session = Session.start(resolved, request, original, retrained, first)
    if states is None:
        _guard(session, request, original)
        directory.clear(folder)
        atomically(folder / "recipe.yaml", resolved.to_yaml().encode())
        if recipe.evaluation.quote:
            watch("looking at the request", 0, 1)
            write_json(folder / "quote.json", quote(recipe, request, original).as_dict(most=QUOTED))
            watch("looking at the request", 1, 1)
        checkpoint.save(folder / "checkpoint", session.state())
    else:
        session.restore(states)
    result = _loop(session, folder, watch, promise)
    directory.save(session.model, folder / "model")
    models = {"original": original, "unlearned": session.model}
    sheets = {name: _score(model, request, recipe, watch, name) for name, model in models.items()}
    write_json(folder / "scores.json", outcome.scores(sheets))
    path = folder / "quote.json"
    quoted = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    write_json(folder / "examples.json", examples(request, quoted, models))
    if result.reason != REASON:
        try:
            for number, name in enumerate(("retrained", "retrained again")[: recipe.evaluation.retrained], 1):
                model = request.retrained(request.training.seed + number, watch)
                sheets[name] = _score(model, request, recipe, watch, name)
                write_json(folder / "scores.json", outcome.scores(sheets))
                if number == 1:
                    write_json(folder / "examples.json", examples(request, quoted, {**models, name: model}))
        except KeyboardInterrupt:
            result.reason = REASON
    summary = outcome.summary(session, request, original, result, sheets)
    write_json(folder / "summary.json", summary)
    return summary


def _guard(session: Session, request: Request, original: nn.Module) -> None:
    """Says what does not look right, before anything is written."""
    told, seed = session.recipe.guards.guards(), session.recipe.run.seed
    sides = request.forget, request.retain
    session.warnings = check(original, request.task, *sides, guards=told, mask=session.mask, seed=seed)
    for text in session.warnings:
        warnings.warn(text, GuardWarning, stacklevel=3)


def _loop(session: Session, folder: Path, watch: Watch, promise: Promise) -> Result:
    """Runs the steps that are left; a checkpoint every so often, when the run is interrupted, and at the end."""
    settings, progress, keeper, begin = session.recipe.run, session.progress, session.keeper, time.perf_counter()
    if session.ended:
        with choose(session.model, session.recipe.model.parameters):
            found = None if keeper is None else keeper.finish(session.model, session.ended)
        return Result(session.model, reason=session.ended, progress=progress, contract=found)
    first, paused = progress.made + 1, False

    def tell(record: Record, objectives: Objectives) -> None:
        if keeper is not None and record.number == first:
            promise(keeper.clauses, keeper.notes)
        watch("unlearning", record.number, settings.steps)

    def save() -> None:
        log.sync()
        checkpoint.save(folder / "checkpoint", session.state(time.perf_counter() - begin))

    def pause(record: Record) -> str | None:
        """Comes last between two steps, when everything has read the one before: a checkpoint, and Ctrl-C."""
        nonlocal paused
        paused = interrupt.came
        if paused or progress.made % settings.checkpoint_every == 0:
            save()
        return REASON if paused else None

    parameters = session.recipe.model.parameters
    with (
        Interrupt() as interrupt,
        StepLog(folder / "steps.jsonl", before=progress.made) as log,
        choose(session.model, parameters),
    ):
        begun = progress.made > progress.skipped + progress.rejected
        guard = FirstStep(session.model, session.mask, begun=begun, warnings=session.warnings)
        result = unlearn(
            session.model,
            session.method,
            session.pairs,
            session.optimizer,
            monitors=(log, tell, guard),
            stop=(pause,),
            steps=settings.steps - progress.made,
            mask=session.mask,
            progress=progress,
            contract=keeper,
        )
        if result.reason == REASON and not paused:
            raise KeyboardInterrupt  # a second signal, in the middle of a step: the last checkpoint is what is left
        refused = result.history[-1].step.stop if result.history else None
        if refused and progress.made == 1:
            raise InfeasibleError(f"no step was possible, the model is as it was: {refused}")
        if not paused:
            session.ended = result.reason
            save()
    return result


def _score(model: nn.Module, request: Request, recipe: Recipe, watch: Watch, name: str) -> Sheet:
    watch(f"scoring the {name} model", 0, 1)
    sheet = outcome.sheet(model, request, recipe.evaluation.seed)
    watch(f"scoring the {name} model", 1, 1)
    return sheet
