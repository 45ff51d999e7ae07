"""`unweave evaluate`: score any saved model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from unweave import modalities, ranks
from unweave.audit.every_metric import described
from unweave.audit.evidence_parts.attacks import one_model
from unweave.commands.progress import say
from unweave.commands.tables import evidence_table, scores_of
from unweave.errors import ConfigurationError
from unweave.modalities import read
from unweave.run import directory, outcome
from unweave.run.identity import check_trained_on
from unweave.run.runner import placed
from unweave.watch import watching


def main(
    model: Path, recipe_file: Path | None, overrides: Sequence[str], *, everything: bool = False, as_json: bool
) -> None:
    """Prints the scores of a model beside those of the retrained ones that the recipe asks for, and attacks on it."""
    recipe_file = recipe_file or model / "recipe.yaml"
    if not recipe_file.is_file():
        raise ConfigurationError(
            f"{model}: expected a run directory, or weights together with --recipe; found no {recipe_file}"
        )
    recipe = read(recipe_file, overrides)
    if recipe.requests:
        raise ConfigurationError(
            f"{recipe_file}: evaluate is about one request, found a sequence: give the folder of one of its runs, "
            "DIR/01-..."
        )
    finished = directory.finished(model, also={"model"})
    job: Any = modalities.job(recipe)
    check_trained_on(recipe, job)
    with watching() as watch:
        found = ranks.before_others(lambda: job.opened(model, watch))
        if finished is not None and not any(each.startswith("model") for each in overrides):
            what = f"{model}: the model that this run left, what its adapters stand on included"
            directory.check_weights(found, finished["model_after"], what, model / directory.SUMMARY)
        opened = placed(found, recipe)
        alone, blind = {}, ""
        if (asked := getattr(job, "outputs", None)) is not None:
            outputs = asked(opened)  # once, for the scores and for the attacks
            scored = {"unlearned": job.scored(outputs)}
            evidence, baseline = one_model(job, outputs, recipe.evaluation.seed)
            alone, blind = {name: each.as_dict() for name, each in evidence.items()}, baseline.text
        else:
            scored = {"unlearned": job.score(opened, "unlearned", None, watch)}
        for number, name in enumerate(("retrained", "retrained again")[: recipe.evaluation.retrained], 1):
            if (other := ranks.before_others(partial(job.reference, number, watch))) is None:
                break
            scored[name] = job.score(placed(other, recipe), name, None, watch)
    shown = outcome.scores(job, scored)
    if alone:
        shown |= {"attacks": alone, "blind": blind}
    if as_json:
        print(json.dumps({**shown, "metrics": described(shown["models"]["unlearned"])}, indent=2))
    else:
        Console(highlight=False).print(scores_of(shown, everything=everything))
        if alone:
            Console(highlight=False).print(evidence_table("AUC, forget against holdout", alone))
            say(blind)
