"""Evidence about a run that is there: its own model is number 0, and the others are made as its recipe says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from unweave.errors import ConfigurationError
from unweave.modalities import read
from unweave.modalities.diffusion.job import DiffusionJob
from unweave.modalities.images.job import ImageJob
from unweave.modalities.records.job import RecordsJob
from unweave.modalities.texts.job import TextJob
from unweave.recipe.recipe import Recipe
from unweave.run import checkpoint, directory
from unweave.run.directory import TOLD
from unweave.run.identity import differing, identity
from unweave.store import file_sha256

Request = ImageJob | DiffusionJob | RecordsJob | TextJob
HELD = ("held out set", "guard set", "final set")
"""Of the identity: a sequence draws what is held out for all of its requests, a run for itself."""


@dataclass(frozen=True)
class Own:
    """A finished run: number 0 of the original and of the unlearned models.

    Args:
        folder: the run directory.
        weights: of the model that it started from; None: that was trained as the recipe says.
        recipe: SHA-256 of its `recipe.yaml`.
        before, after: SHA-256 of its weights, as in its `summary.json`.
        about: what is noted of its unlearned model.
    """

    folder: Path
    weights: Path | None
    recipe: str
    before: str
    after: str
    about: Mapping[str, Any]

    def original(self, request: Request) -> nn.Module:
        """The model that it started from.

        Raises:
            ConfigurationError: it is not there, or another one.
        """
        where = f"{self.folder}: trained again here, " if self.weights is None else f"{self.weights}: "
        return self._same(request.opened(self.weights), self.before, f"{where}the model that this run started from")

    def unlearned(self, request: Request) -> nn.Module:
        """The model that it left.

        Raises:
            ConfigurationError: it is not there, or another one.
        """
        file = self.folder / "model"
        return self._same(request.opened(file), self.after, f"{file}: the model that this run left")

    def check(self, request: Request) -> None:
        """Refuses models that moved or were edited, before anything is trained.

        Raises:
            ConfigurationError: as `original` and `unlearned`.
        """
        self.unlearned(request)
        if self.weights is not None:
            self.original(request)

    def part(self) -> dict[str, str]:
        """`own_run` of `evidence.json`."""
        return {"recipe": self.recipe, "before": self.before, "after": self.after}

    def _same(self, model: nn.Module, wanted: str, what: str) -> nn.Module:
        directory.check_weights(model, wanted, what, self.folder / directory.SUMMARY)
        return model


def finished_run(folder: Path) -> Own:
    """The run in a directory.

    Raises:
        ConfigurationError: it is not finished, holds several runs, or was edited.
    """
    file = folder / "recipe.yaml"
    recipe = read(file)
    if recipe.requests:
        raise ConfigurationError(
            f"{folder}: evidence is about one request, found a sequence: give the folder of one of its runs, DIR/01-..."
        )
    summary = directory.finished(folder, also=TOLD)  # the recipe and both models are looked at here, by what they are
    if summary is None:
        raise ConfigurationError(
            f"{folder}: expected the summary.json of a finished run: finish it with `unweave run --resume`, or give "
            "its recipe to collect evidence about other models of it"
        )
    states = checkpoint.load(folder / "checkpoint")
    if states is not None and (changed := differing(states["run"]["identity"], identity(recipe))):
        raise ConfigurationError([f"{file} was edited since the run: {key}: {how}" for key, how in changed.items()])
    try:
        ends = summary["model_before"], summary["model_after"]
        return Own(folder, recipe.model.weights, file_sha256(file), *ends, _about(recipe, summary))
    except KeyError as error:
        raise ConfigurationError(f"{folder / 'summary.json'}: expected what a run writes, {error} is missing") from None


def check_recipe(folder: Path, own: Mapping[str, Any]) -> None:
    """Refuses evidence of one recipe beside, or about, the run of another; how it is judged may differ.

    Raises:
        ConfigurationError: with the keys that differ.
    """
    other = identity(read(folder / "recipe.yaml"))
    keys = {key for key in {**other, **own} if other.get(key) != own.get(key)}
    if keys := {key for key in keys if not key.startswith(("evaluation.", "evidence.")) and key not in HELD}:
        raise ConfigurationError(
            f"{folder} holds the run of another recipe (it differs in {', '.join(sorted(keys)[:5])}): choose another "
            "--output"
        )


def trained_anew(recipe: Any) -> Any:
    """The recipe of the other models: their originals are trained, whatever the run started from."""
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"weights": None})})


def _about(recipe: Recipe, summary: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "kind": "unlearned",
        "seed": recipe.run.seed,
        "sha256": summary["model_after"],
        "changed": summary["model_before"] != summary["model_after"],
        "seconds": summary["seconds"],
        "steps": summary["steps"],
        "ended": summary["stop_reason"],
        "contract": summary["contract"],
        "peak_memory_bytes": summary["peak_memory_bytes"],
    }
