"""A recipe becomes a run directory."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from unweave.data.cache import atomically
from unweave.errors import InfeasibleError
from unweave.loop import Record, Result, unlearn
from unweave.methods import METHODS
from unweave.objectives import Objectives
from unweave.parameters import choose
from unweave.run import checkpoint, directory, faults, outcome, prepare
from unweave.run.environment import environment
from unweave.run.interrupt import REASON, Interrupt
from unweave.run.outcome import Sheet
from unweave.run.prepare import Request
from unweave.run.recipe import NamedSection, OpenSection, Recipe
from unweave.run.record import StepLog, write_json
from unweave.run.session import Session
from unweave.run.steps import STEPS
from unweave.run.watch import Watch, silent


def run(
    recipe: Recipe, folder: Path, *, resume: bool = False, overwrite: bool = False, watch: Watch = silent
) -> dict[str, Any]:
    """Unlearns as the recipe says; everything that a run leaves is in `folder` (all but `report.html`).

    Ctrl-C, between two steps or while a reference is trained, ends the run and still saves model and scores.

    Args:
        recipe: what to do.
        folder: new or empty, unless a run is resumed or replaced.
        resume: continue from `folder/checkpoint`.
        overwrite: replace the run that `folder` holds.
        watch: told about every phase.

    Returns:
        What `summary.json` holds.

    Raises:
        ConfigurationError: the recipe does not fit its data, or the directory is in use.
        InfeasibleError: the rule refused the very first step.
    """
    directory.check(folder, resume, overwrite)
    request = prepare.request(recipe)
    original = prepare.original(recipe, request, watch)
    session = Session.start(recipe, request, original)
    if resume:
        session.restore(checkpoint.load(folder / "checkpoint"))
    else:
        directory.clear(folder)
    atomically(folder / "recipe.yaml", _resolved(recipe, request, folder).to_yaml().encode())
    result = _loop(session, request, folder, watch)
    directory.save(session.model, folder / "model")
    models = {"original": original, "unlearned": session.model}
    sheets = {name: _score(model, request, recipe, watch, name) for name, model in models.items()}
    write_json(folder / "scores.json", outcome.scores(sheets))
    if result.reason != REASON:
        try:
            for number, name in enumerate(("retrained", "retrained again")[: recipe.evaluation.retrained], 1):
                model = request.retrained(request.training.seed + number, watch)
                sheets[name] = _score(model, request, recipe, watch, name)
                write_json(folder / "scores.json", outcome.scores(sheets))
        except KeyboardInterrupt:
            result.reason = REASON
    summary = outcome.summary(session, request, original, result, sheets)
    write_json(folder / "summary.json", summary)
    return summary


def _loop(session: Session, request: Request, folder: Path, watch: Watch) -> Result:
    """Runs the steps that are left; a checkpoint every so often, and when the run is interrupted."""
    settings, begin = session.recipe.run, time.perf_counter()

    def save(record: Record, objectives: Objectives) -> None:
        done = session.before + record.number
        watch("unlearning", done, settings.steps)
        if done % settings.checkpoint_every == 0 or done == settings.steps or interrupt.came:
            checkpoint.save(folder / "checkpoint", session.state(record.number, time.perf_counter() - begin))

    parameters = session.recipe.model.parameters
    with (
        Interrupt() as interrupt,
        StepLog(folder / "steps.jsonl", before=session.before) as log,
        choose(session.model, parameters),
    ):
        result = unlearn(
            session.model,
            session.method,
            session.pairs,
            session.optimizer,
            monitors=(log, save),
            stop=(interrupt, *session.criteria(request)),
            steps=settings.steps - session.before,
            mask=session.mask,
        )
    refused = result.history[-1].step.stop if result.history else None
    if refused and not result.steps and not session.before:
        raise InfeasibleError(f"no step was possible, the model is as it was: {refused}")
    return result


def _score(model: nn.Module, request: Request, recipe: Recipe, watch: Watch, name: str) -> Sheet:
    watch(f"scoring the {name} model", 0, 1)
    sheet = outcome.sheet(model, request, recipe.evaluation.seed)
    watch(f"scoring the {name} model", 1, 1)
    return sheet


def _resolved(recipe: Recipe, request: Request, folder: Path) -> Recipe:
    """The recipe with every default written out, also those of the functions that it names."""
    training = OpenSection(**asdict(request.training))
    method, step = (
        NamedSection(name=section.name, **(faults.defaults(table[section.name]) | section.arguments))
        for section, table in ((recipe.method, METHODS), (recipe.step, STEPS))
    )
    fingerprints = {"train": request.train.fingerprint(), "test": request.test.fingerprint()}
    about = environment() | {"created": outcome.now(), "data": fingerprints}
    model = recipe.model.model_copy(update={"network": request.network.name})
    changes = {"training": training, "method": method, "step": step, "model": model}
    return recipe.model_copy(update={**changes, "output": folder.resolve(), "environment": about})
