"""One run: a method with a setting in a world, from the original model to its scores."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from cell import Cell, Place
from settings import Setting
from torch import Tensor, nn
from world import World

from unweave.data.pairs import Pairs
from unweave.loop import Record, Stepper, unlearn
from unweave.losses import NPO, WGA, Until, remember, unseen_level
from unweave.methods import METHODS, REMEMBERING, Method
from unweave.modalities.texts.evaluation import Relearning, Sheet, log_scores, sheet
from unweave.repair import Repair
from unweave.run.environment import environment, now
from unweave.tasks import Language
from unweave.trust import TrustRegion

RELEARNING = Relearning(rows=20, steps=20, lr=1e-3)
PLACES = {"half": 0.5, "all": 1.0}
"""Shares of the budget at which a run may end: tuning chooses one, as of the settings."""
FORGET_BATCH = RETAIN_BATCH = 10
"""As in TOFU's protocol: as many of the one as of the other, ten times through the forget set."""
UNRELATED = ("holdout", "forget_paraphrased")  # sets that neither forget quality nor model utility reads
MET = 0.5  # share of the forget answers at the level of unseen ones at which a repair may begin
VERSIONS = ("python", "torch", "platform", "threads")


class Counter:
    """Sequences that went forward and backward through a model, and through every copy of it made from now on.

    Counted at the embedding, so that a pass that ends below the last block counts as a whole one.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model: Any = copy.deepcopy(model)
        self.forward = self.backward = 0

        def back(gradient: Tensor) -> None:
            self.backward += len(gradient)

        def seen(module: nn.Module, inputs: Any, output: Tensor) -> None:
            self.forward += len(output)
            if output.requires_grad:
                output.register_hook(back)

        self.model.get_input_embeddings().register_forward_hook(seen)  # a plain function: copies share it

    @property
    def gradients(self) -> float:
        """Cost in plain gradients of single sequences: a backward pass counts as two forward ones."""
        return (self.forward + 2 * self.backward) / 3


class Bench:
    """A world with its original and its reference; makes cells. `order` draws the batches, by default the seed's."""

    def __init__(self, world: World, epochs: int, order: int | None = None) -> None:
        self.world, self.task, self.order = world, Language(), order
        self.forget, self.retain = world.rows(world.data.forget), world.rows(world.data.retain)
        self.budget = float(epochs * len(self.forget) * (FORGET_BATCH + RETAIN_BATCH) / FORGET_BATCH)
        self.parts = world.parts()
        self.original = world.original()
        self.reference = self._sheet(world.retrained(), None)

    def end(self, name: str) -> Cell:
        """One of the ends of the scale."""
        if name == "retrained":
            scores = log_scores(self.reference.log, self.reference.log)
        else:
            model = self.original if name == "original" else self.world.retrained(again=True)
            scores = self._sheet(model, self.reference).scores
        return self._cell(self.world.place(name), {"all": scores})

    def run(self, setting: Setting, places: Sequence[str], whole: bool) -> Cell:
        """Unlearns and scores.

        Args:
            setting: what is run.
            places: where on the way it is scored; it ends with the last.
            whole: the whole sheet, or what tuning reads.
        """
        counter = Counter(self.original)
        states: dict[str, dict[str, Tensor]] = {}
        spent: dict[str, float] = {}
        steps: dict[str, int] = {}
        begin = time.process_time()
        model = copy.deepcopy(counter.model)
        left = [name for name in PLACES if name in places]
        repair = self._repair(setting, counter.model, model)

        def arrived(record: Record) -> str | None:
            if repair is not None and repair.phase == "push":  # as many as the budget lets it take at this price
                repair.steps = round(record.number * self.budget / counter.gradients)
            while left and counter.gradients >= self.budget * PLACES[left[0]]:
                name = left.pop(0)
                states[name] = {k: v.clone() for k, v in model.state_dict().items()}
                spent[name], steps[name] = counter.gradients, record.number
            return None if left else "the budget is spent"

        method, rows = self._method(setting, counter.model)
        seed = self.world.seed if self.order is None else self.order
        pairs = Pairs(rows, self.retain, forget_batch=FORGET_BATCH, retain_batch=RETAIN_BATCH, seed=seed)
        if repair is not None:
            repair.sample = pairs.sample()
        result = unlearn(model, method, pairs, _stepper(setting, model), stop=[arrived], repair=repair)
        seconds = time.process_time() - begin
        for name in left:  # a rule refused to go on, or nothing was finite: it ends as it is
            states[name] = model.state_dict()
            spent[name], steps[name] = counter.gradients, result.steps
        scores = {}
        for name, state in states.items():
            ended = copy.deepcopy(self.original)
            ended.load_state_dict(state)
            scores[name] = self._sheet(ended, self.reference, whole).scores
        written = {**asdict(setting), "places": list(places), "whole": whole}
        return self._cell(
            replace(self.world.place(setting.key, setting.name), order=self.order), scores, settings=written,
            budget=self.budget, spent=spent, steps=steps, reason=result.reason, seconds=seconds,
        )  # fmt: skip

    def _method(self, setting: Setting, original: nn.Module) -> tuple[Method, Any]:
        """The row of the catalogue, with the setting's forget loss and its end, and the rows it forgets."""
        rows, task, row, data = self.forget, self.task, METHODS[setting.method], self.world.data
        if setting.method in ("dpo", "altpo"):
            rows = self.world.rows(data.forget, data.refusals if setting.method == "dpo" else data.other)
        if setting.method in REMEMBERING:
            return row(task, remember(original, task, rows), **setting.arguments), rows
        made = row(task, original, **setting.arguments)
        if setting.over == "npo":
            made = replace(made, forget=NPO(task, remember(original, task, rows)))
        if setting.over == "wga":
            made = replace(made, forget=WGA(task))
        if setting.end:
            assert made.forget is not None
            made = replace(made, forget=Until(made.forget, task, self._level(original)))
        return made, rows

    def _repair(self, setting: Setting, original: nn.Module, model: nn.Module) -> Repair | None:
        """What comes after the push, if anything does; what is read of the forget answers is counted."""
        if setting.repair is None:
            return None
        if setting.repair == "last":
            return Repair(steps=int(self.budget))  # of which `arrived` knows better
        level, batches = self._level(original), torch.arange(len(self.forget)).split(FORGET_BATCH)

        def met(record: Record) -> str | None:
            with torch.no_grad():
                nll = torch.cat([self.task.nll(model, self.forget.batch(rows)) for rows in batches])
            return "it is forgotten" if float((nll >= level).float().mean()) >= MET else None

        return Repair(met, steps=int(self.budget))

    def _level(self, original: nn.Module) -> float:
        """Of unseen answers; what it costs is counted."""
        unseen = self.world.rows(self.world.data.unseen)
        batches = torch.arange(len(unseen)).split(FORGET_BATCH + RETAIN_BATCH)
        return unseen_level(original, self.task, map(unseen.batch, batches))

    def _sheet(self, model: nn.Module, reference: Sheet | None, whole: bool = True) -> Sheet:
        parts = self.parts if whole else {n: p for n, p in self.parts.items() if n not in UNRELATED}
        log = None if reference is None else reference.log
        tokenizer, again = self.world.tokenizer, RELEARNING if whole else None
        return sheet(model, tokenizer, parts, retrained=log, relearning=again, prefix=0, name="model")

    def _cell(self, place: Place, found: dict[str, Any], **more: Any) -> Cell:
        known = environment()
        return Cell(
            place,
            {name: {key: score.value for key, score in of.items()} for name, of in found.items()},
            world=self.world.about(),
            fingerprint=self.world.fingerprint,
            versions={name: known[name] for name in VERSIONS},
            created=now(),
            **more,
        )


def _stepper(setting: Setting, model: nn.Module) -> torch.optim.Optimizer | Stepper:
    if setting.lr is None:
        return TrustRegion(**setting.region)
    return torch.optim.AdamW(model.parameters(), lr=setting.lr, weight_decay=0.0)
