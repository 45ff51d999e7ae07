"""One run: a method with a setting on a request, from the original model to its scores."""

from __future__ import annotations

import copy
import math
import subprocess
import time
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from cell import SCORES, Cell, Place
from problems import Target, retrained_seeds, scored
from settings import Setting
from torch import Tensor, nn

from unweave.evaluation import Score, gaps, score
from unweave.loop import Result
from unweave.modalities.images.job import ImageJob
from unweave.recipe.recipe import Recipe
from unweave.recipe.sections import NamedSection, RunSection
from unweave.repair import Repair
from unweave.run.environment import environment
from unweave.run.outcome import now
from unweave.run.session import Session

Json = dict[str, Any]
Sheet = Mapping[str, Score]
VERSIONS = ("python", "torch", "platform", "threads")


class Counter:
    """Images that went forward and backward through a model, and through every copy of it made from now on."""

    def __init__(self, model: nn.Module) -> None:
        self.model = copy.deepcopy(model)
        self.forward = self.backward = 0

        def back(gradient: Tensor) -> None:
            self.backward += len(gradient)

        def seen(module: nn.Module, inputs: Any, output: Tensor) -> None:
            self.forward += len(output)
            if output.requires_grad:
                output.register_hook(back)

        self.model.register_forward_hook(seen)  # a plain function: copies of the model share it


class Bench:
    """A request with its original and its reference; makes cells."""

    def __init__(self, data: str, asked: ImageJob, recipe: Recipe, steps: int, order: int | None) -> None:
        self.data, self.asked, self.steps, self.recipe, self.order = data, asked, steps, recipe, order
        self.seed = asked.training.seed
        torch.optim.SGD([torch.zeros(1, requires_grad=True)])  # a process's first optimizer spends seconds on imports
        self.retain = scored(asked)
        self.original = asked.original()
        self.reference_seed, self.second_seed = retrained_seeds(data, self.seed)
        reference = asked.retrained(self.reference_seed)
        self.reference, self.target = self._sheet(reference), Target(asked, reference)

    def place(self, method: str, setting: str = "none") -> Place:
        return Place(self.data, self.asked.text, self.seed, method, setting, self.order)

    def original_cell(self) -> Cell:
        return self._cell(self.place("original"), self._sheet(self.original), reason="nothing done")

    def retrained_cell(self) -> Cell:
        seconds = self.asked.retrain_seconds(self.reference_seed)
        return self._cell(self.place("retrained"), self.reference, seconds=seconds, reason="the reference")

    def again_cell(self) -> Cell:
        found = self._sheet(self.asked.retrained(self.second_seed))
        seconds = self.asked.retrain_seconds(self.second_seed)
        return self._cell(self.place("retrained_again"), found, seconds=seconds, reason="another seed")

    def run(self, setting: Setting) -> Cell:
        counter = Counter(self.original)
        begin = time.process_time()
        model, result, rule = self._unlearned(setting, counter.model)
        spent = time.process_time() - begin
        counted = counter.forward, counter.backward
        sheet = self._sheet(model)
        retained = sheet["RA"].value
        undefined = any(sheet[name].value is None for name in SCORES)
        return self._cell(
            self.place(setting.method, setting.name),
            sheet,
            arguments=dict(setting.arguments),
            step=dict(setting.step),
            rule=rule,
            target=self.target.value,
            reached=self.target.met(model),
            diverged=result.skipped > 0 or undefined or retained is None or retained < 0.5,
            reason=result.reason,
            steps=result.steps,
            attempts=len(result.history),
            repairs=sum(record.phase == "repair" for record in result.history),
            restorations=sum(record.note == "restoration" for record in result.history),
            seconds=result.seconds,
            cpu_seconds=spent,
            forward=counted[0],
            backward=counted[1],
        )

    def _unlearned(self, setting: Setting, original: nn.Module) -> tuple[nn.Module, Result, Json]:
        changes = {
            "method": NamedSection(name=setting.method, **setting.arguments),
            "step": NamedSection(**setting.step),
        }
        session = Session.start(self.recipe.model_copy(update=changes), self.asked, original)
        criterion = self.target.criterion(session.model)
        ends: Json = {"repair": Repair(met=criterion, steps=self.steps)} if setting.repair else {"stop": [criterion]}
        with session.parts.ready():
            result = session.parts.run(self.steps, **ends)
        rule = session.parts.method.rule
        return session.model, result, {f.name: _plain(getattr(rule, f.name)) for f in fields(rule) if f.init}

    def _sheet(self, model: nn.Module) -> Sheet:
        asked = self.asked
        return score(model, asked.task, forget=asked.forget, retain=self.retain, test=asked.test, seed=self.seed)

    def _cell(self, place: Place, sheet: Sheet, **found: Any) -> Cell:
        distances = gaps(sheet, self.reference)
        known = environment()
        return Cell(
            place=place,
            scores={name: sheet[name].value for name in SCORES},
            gaps={name: distance.value for name, distance in distances.items()},
            forget=len(self.asked.forget),
            retain=len(self.asked.retain),
            versions={name: known[name] for name in VERSIONS},
            commit=_commit(),
            created=now(),
            **found,
        )


def recipe(source: str, path: Path | None, order: int) -> Recipe:
    """What every run of a seed has in common; the request itself is made by `problems.request`."""
    run = RunSection(seed=order, forget_batch=64, retain_batch=256)
    content = {"data": {"source": source, "path": path}, "forget": {"random": 0.1}, "contract": "none"}
    return Recipe.model_validate(content).model_copy(update={"run": run})


def _plain(value: Any) -> Any:
    """JSON has no infinity."""
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def _commit() -> str:
    answer = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    return answer.stdout.strip()
