"""One run on texts: what the runner asks of data, models and scores."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unweave import devices, ranks
from unweave.data.batches import moved
from unweave.data.splits import Split
from unweave.diagnosis.examples import log_odds
from unweave.modalities._base import Json, Rows, Scored, Sheet
from unweave.modalities.texts import models
from unweave.modalities.texts.data import Chat, Plain, TextRows
from unweave.modalities.texts.evaluation import Log, Part, Relearning, log_scores, sheet, text_gaps
from unweave.modalities.texts.evaluation.stored import fingerprint, read_lines
from unweave.modalities.texts.memory import estimate
from unweave.modalities.texts.recipe import TextRecipe
from unweave.modalities.texts.requests import Asked, together, words
from unweave.modalities.texts.training import Finetuning, beginning, finetuned, noted
from unweave.modules import evaluating
from unweave.oneshot import ONESHOT
from unweave.pretrained import without_bars
from unweave.recipe.contract import ContractSection
from unweave.recipe.sections import OpenSection
from unweave.sharded import is_sharded
from unweave.store import model_in, write_json
from unweave.tasks import Language
from unweave.watch import Watch, silent

ASKED = ("forget", "retain", "forget_knowmem", "retain_knowmem", "forget_verbmem")
SHOWN = 20  # questions of a side whose answers a run directory holds
_NO_RELEARNING = (
    "run.shard: no process holds the model whole, so that it does not relearn: what a few of the forgotten texts would "
    "bring back is not measured. `unweave evaluate DIR` in one process measures it on the saved model."
)
_NO_HOLDOUT = (
    "no holdout: no forget clause says when forgetting is enough, and the run uses its steps up. Give data.holdout, "
    "texts like those to forget that the model never saw, or a clause such as contract.forget: "
    "[{metric: loss, at_least: 3.0}]."
)


@dataclass(eq=False)
class TextJob:
    """See `Job`; `build.request` makes it.

    Attributes:
        recipe, asked, tokenizer, form: what it was made from.
        forget, retain: what is to be forgotten, and what is kept, that which is held out included.
        holdout: unseen texts that steer the run; None where neither a clause nor the end of the forget
            loss looks at any.
        parts: what models are scored on.
        measured: unseen texts that steer nothing.
        held: guard and final set of the contract, given; None: taken from the retain set.
        training: how `model.base` learns the data, where the recipe has one (`retrains`).
        drawn: the seed of new adapters.
        learns: what the original and what retrained models learn, where that is not both sides and the retain set: of a
            proxy request.
    """

    recipe: TextRecipe
    asked: Asked
    tokenizer: Any
    form: Chat | Plain
    forget: TextRows
    retain: TextRows
    holdout: TextRows | None
    parts: Mapping[str, Part]
    measured: TextRows | None = None
    held: tuple[TextRows, TextRows] | None = None
    training: Finetuning = field(default_factory=Finetuning)
    drawn: int = 0
    learns: tuple[TextRows, TextRows] | None = None
    task: Language = field(default_factory=Language)
    looked: int = 200
    _seconds: dict[str, float] = field(default_factory=dict)
    _logs: dict[str, Log] = field(default_factory=dict)
    _begun: dict[int, Mapping[str, str]] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """Of the request."""
        return self.asked.text

    @property
    def notes(self) -> list[str]:
        """That nothing says when forgetting is enough, and that a score is left out, if so."""
        run, how = self.recipe.run, self.recipe.evaluation
        apart = run.shard and ranks.world() > 1 and how.relearning != "none"
        return [_NO_HOLDOUT] * self._endless + [_NO_RELEARNING] * apart

    @property
    def retrains(self) -> bool:
        """Whether it is known how the original learned the data, so that others can be trained like it."""
        return self.recipe.model.base is not None

    @cached_property
    def train(self) -> TextRows:
        """What the original is fine-tuned on: the texts to forget, then those to keep."""
        return together(self.forget, self.retain) if self.learns is None else self.learns[0]

    @property
    def without(self) -> TextRows:
        """What retrained models are fine-tuned on."""
        return self.retain if self.learns is None else self.learns[1]

    @property
    def split(self) -> Split:
        """Rows of `train`."""
        return Split(*np.split(np.arange(len(self.train)), [len(self.forget)]))

    @property
    def test(self) -> TextRows:
        """Texts that no model was trained on, and that steer nothing; none where nobody gave any."""
        return self.retain.subset([]) if self.measured is None else self.measured

    def prints(self) -> dict[str, str]:
        """Of forget, retain and holdout set, and of what is held out."""
        guard, final = self.held or (None, None)
        sets = {"forget": self.forget, "retain": self.retain, "holdout": self.holdout, "guard": guard, "final": final}
        return {name: rows.fingerprint() for name, rows in sets.items() if rows is not None}

    def resolved(self, recipe: Any) -> dict[str, Any]:
        """The fine-tuning, and the contract where its default has nothing to read."""
        training = asdict(self.training) if self.retrains else {}
        found: dict[str, Any] = {"training": OpenSection(**training)}
        if recipe.run.memory == "auto" and recipe.method.name not in ONESHOT:
            mode = estimate(self.recipe, models.config_of(self.recipe.model), self.forget, self.retain).mode
            found["run"] = recipe.run.model_copy(update={"memory": mode})
        if self._endless and recipe.contract is not None:
            found["contract"] = recipe.contract.model_copy(update={"forget": ()})
        return found

    def divided(self) -> tuple[TextRows, dict[str, TextRows]]:
        """The retain set without what is held out, and that."""
        if self.held is None:
            return self.retain, {}
        gone = {text for part in self.held for text in part.texts}
        rows = [row for row, text in enumerate(self.retain.texts) if text not in gone]
        given = zip(("guard", "final"), self.held, strict=True)
        return self.retain.subset(rows), {name: each for name, each in given if len(each)}

    def opened(self, path: Path | None, watch: Watch = silent) -> nn.Module:
        """The model to unlearn, fine-tuned if the recipe says so, or what a run left."""
        if path is None or path == self.recipe.model.weights:
            model = self.loaded(path)
            if path is None and self.retrains:
                self._seconds["original"] = finetuned(model, self.train, self.training, "training the original", watch)
            return model
        folder = model_in(path)
        self._check_tokenizer(folder)
        if (folder / models.ADAPTER).is_file():
            return models.loaded(self.recipe.model, self.recipe.run.seed, adapter=folder)
        return models.loaded(self.recipe.model.model_copy(update={"weights": folder, "lora": None}), 0)

    def _check_tokenizer(self, folder: Path) -> None:
        models.check_tokenizer(folder, self.tokenizer, self.form, [*self.asked.forget, *self.asked.retain])

    def movable(self, model: nn.Module) -> nn.Module:
        """The model itself."""
        return model

    def reference(self, number: int, watch: Watch = silent) -> nn.Module | None:
        """The recipe's reference, or the base fine-tuned on the retain set alone, from another seed."""
        given = self.recipe.evaluation.reference
        if given is not None:
            self._check_tokenizer(given)
            changes = {"weights": given, "base": None, "lora": None, "adapter": None, "revision": None}
            return models.loaded(self.recipe.model.model_copy(update=changes), 0) if number == 1 else None
        return self.retrained(self.training.seed + number, watch) if self.retrains else None

    def retrained(self, seed: int, watch: Watch = silent) -> nn.Module:
        """The base fine-tuned on the retain set alone, from this seed; from the cache if it was before."""
        job, phase = self.seeded(seed), f"retraining without the forget set (seed {seed})"
        model = job.loaded(None)
        self._seconds[f"retrained {seed - self.training.seed}"] = finetuned(
            model, self.without, job.training, phase, watch
        )
        return model

    def noted(self, seed: int, *, without: bool = False) -> Mapping[str, Any] | None:
        """What the cache notes of the model of this seed that learned all, or all but the forget set."""
        job = self.seeded(seed)
        draw = 0 if self.recipe.model.lora is None else job.drawn
        if draw not in self._begun:
            self._begun[draw] = beginning(job.loaded(None))
        return noted(self._begun[draw], self.without if without else self.train, job.training)

    def seeded(self, seed: int) -> TextJob:
        """The same, whose original is fine-tuned from this seed, and new adapters are drawn from another."""
        how = replace(self.training, seed=seed)
        return self._like(training=how, drawn=self.drawn + seed - self.training.seed)

    def within(self, rows: Rows, split: Split) -> TextJob:
        """The same among these rows of `train`; `split` is of them, and forgets nothing that was to be kept."""
        gone, kept = rows[split.forget], rows[split.retain]
        back, rest = kept[kept < len(self.forget)], kept[kept >= len(self.forget)] - len(self.forget)
        retain = self.retain.subset(rest)
        retain = together(self.forget.subset(back), retain) if len(back) else retain
        return self._like(forget=self.forget.subset(gone), retain=retain, held=None)

    def _like(self, **changed: Any) -> TextJob:
        return replace(self, **changed, _seconds={}, _logs={})

    def reference_seconds(self) -> float | None:
        """Of the first fine-tuning without the forget set."""
        return self._seconds.get("retrained 1")

    def retraining(self) -> tuple[float | None, int | None]:
        """Of the original's fine-tuning, by the share of texts."""
        if not self.retrains:
            return None, None
        known, total = self._seconds.get("original"), len(self.forget) + len(self.retain)
        return None if known is None else known * len(self.retain) / total, self.training.epochs

    def scoring_seconds(self, model: nn.Module) -> None:
        """Nobody looked."""

    def score(self, model: nn.Module, name: str, folder: Path | None = None, watch: Watch = silent) -> Scored:
        """The standard sheet; values are streamed to `values/NAME` and not computed twice for the same weights."""
        how = self.recipe.evaluation
        place = None if folder is None else folder / "values" / name.replace(" ", "-")
        if place is not None:
            _of_this_model(place, model)
        relearning = None if how.relearning == "none" else Relearning(**how.relearning.model_dump())
        found = sheet(
            model,
            self.tokenizer,
            self.parts,
            relearning=relearning if len(self.parts["forget"].examples) > 1 and not is_sharded(model) else None,
            prefix=how.prefix,
            folder=place,
            name=name,
            batch_tokens=how.batch_tokens,
            compat=how.compat,
        )
        self._logs[name] = found.log
        return Scored(found.scores, found.log, log_scores)

    def gaps(self, sheet: Sheet, retrained: Sheet) -> Sheet:
        """In what both have."""
        return text_gaps(sheet, retrained)

    def save(self, model: nn.Module, folder: Path) -> None:
        """A folder as `transformers` or PEFT writes it, tokenizer included."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = folder.with_name(f".{folder.name}")
        shutil.rmtree(partial, ignore_errors=True)
        saved: Any = model
        with without_bars():
            saved.save_pretrained(partial)
        self.tokenizer.save_pretrained(partial)
        (partial / "README.md").unlink(missing_ok=True)  # PEFT's form, with nothing filled in
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)

    def rows(self, side: str) -> list[int]:
        """The number of each text in its set."""
        return list(range(len(self._side(side) or ())))

    def odds(self, model: nn.Module, side: str, places: Sequence[int]) -> Tensor:
        """From the mean nll of the answer's tokens."""
        rows, loss, found = self._side(side), log_odds(self.task), []
        assert rows is not None, "it has places"
        device = next(model.parameters()).device
        with torch.no_grad(), evaluating(model):
            for chosen in torch.as_tensor(list(places)).split(self.recipe.run.retain_batch):
                found.append(loss(model, moved(rows.batch(chosen), device)).cpu().double())
        return torch.cat(found)

    def shown(self, side: str, place: int) -> Json:
        """The text."""
        return {"text": words((self.forget if side == "forget" else self.retain).texts[place])}

    def memory(self) -> str:
        """From the configuration of the model, and the longest texts."""
        found = estimate(self.recipe, models.config_of(self.recipe.model), self.forget, self.retain)
        device = devices.chosen(self.recipe.run.device)
        return found.text(devices.memory(device), "lora, checkpointing", "docs/language-models.md")

    def leave(self, folder: Path) -> None:
        """`answers.json`: some questions with the true answer and what every model says."""
        found = {}
        for side in (name for name in ASKED if name in self.parts and self.parts[name].generate):
            said = {name: log.values.get(side, {}).get("generation", {}) for name, log in self._logs.items()}
            found[side] = [
                {
                    "question": _end(str(self.tokenizer.decode(list(e.answer.prompt), skip_special_tokens=True))),
                    "truth": e.text,
                    "answers": {name: texts[e.index] for name, texts in said.items()},
                }
                for e in self.parts[side].examples[:SHOWN]
                if all(e.index in texts for texts in said.values())
            ]
        write_json(folder / "answers.json", found)

    def loaded(self, weights: Path | None) -> nn.Module:
        """The recipe's weights, or its base as it was before it learned the data, where the run computes."""
        named = self.recipe.model.model_copy(update={"weights": weights})
        model = models.loaded(named, self.drawn)
        sharded = self.recipe.run.shard and ranks.several()  # then no device is to hold all of it
        return model if sharded else model.to(devices.chosen(self.recipe.run.device))

    def base(self) -> nn.Module:
        """`model.base`, or where nobody gave one, the model to unlearn."""
        return self.loaded(None if self.retrains else self.recipe.model.weights)

    @property
    def _endless(self) -> bool:
        contract: ContractSection | None = self.recipe.contract
        return contract is not None and contract.forget is None and self.holdout is None

    def _side(self, side: str) -> TextRows | None:
        sides = {"forget": self.forget, "retain": self.retain, "holdout": self.holdout, "measured": self.measured}
        return sides[side]


def _of_this_model(place: Path, model: nn.Module) -> None:
    """Removes values that a run that was interrupted collected of other weights; the first process does."""
    now = fingerprint(model)

    def remove() -> None:
        for path in place.glob("values*.jsonl") if place.is_dir() else ():
            header, _ = read_lines(path)
            if header is not None and header.get("model") != now:
                shutil.rmtree(place)
                return

    ranks.first(remove)


def _end(prompt: str, most: int = 600) -> str:
    """The end of a prompt, where the question stands."""
    return prompt if len(prompt) <= most else "..." + prompt[-most:]
