"""People who do not exist, a small language model that knows them, and what is left when some are to be forgotten."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from unweave.api import unlearn
from unweave.contract import Contract, Forget
from unweave.data.text import TextRows
from unweave.data.text.people import People, people
from unweave.evaluation.text import Part, Relearning, Sheet, encoder, examples, log_scores, sheet
from unweave.extras import require
from unweave.guards import GuardWarning
from unweave.loop import Result
from unweave.losses import NPO, remember
from unweave.methods import METHODS, Method
from unweave.run.demos import chosen, one_thread
from unweave.run.environment import environment, now
from unweave.run.text_training import FORM, TextTraining, as_tokens, trained_model, trained_tokenizer
from unweave.run.watch import Watch, silent
from unweave.tasks import Language
from unweave.trust import TrustRegion

Json = dict[str, Any]
LONGEST_ANSWER = 16  # tokens that are generated, at most
RELEARNING = Relearning(rows=20, steps=20, lr=1e-3)


@dataclass(frozen=True)
class Entry:
    """One method: a name for people and one for `--method`, its row of the catalogue, and how it is run.

    Args:
        name: in tables.
        key: in the shell.
        method: name in the catalogue.
        arguments: other than the defaults.
        over_npo: with NPO on the forget side instead of the row's ascent.
        region: in a trust region instead of AdamW.
        baseline: what the headline methods are compared with.
    """

    name: str
    key: str
    method: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    over_npo: bool = False
    region: bool = False
    baseline: bool = False


# docs/LOG.md says what these settings were chosen from, on people of another seed.
ENTRIES = (
    Entry("NPO", "npo", "npo", {"forget": 0.03}, baseline=True),
    Entry("GradDiff", "graddiff", "graddiff", baseline=True),
    Entry("HAMU-Q over ascent", "hamu_q", "hamu_q", {"ratio": 0.5}),
    Entry("HAMU-Q over NPO", "hamu_q_npo", "hamu_q", {"ratio": 0.5}, over_npo=True),
    Entry("EUPMU", "eupmu", "eupmu"),
    Entry("OFMU", "ofmu", "ofmu", region=True),
)
LR = 1e-3  # of AdamW
REGION = TrustRegion(budget=0.1, start=5e-3)  # the original's retain loss is near 0: the default budget, too


@dataclass(frozen=True)
class Size:
    """How much of everything: the demo's own numbers, or less.

    Args:
        people: to learn, a tenth of them to forget; a fifth as many are never learned.
        training: of the three models.
        steps: of every method, at most.
        forget_batch, retain_batch: rows in a step.
        shown: questions per side whose answers are shown.
    """

    people: int = 150
    training: TextTraining = field(default_factory=TextTraining)
    steps: int = 40
    forget_batch: int = 20
    retain_batch: int = 40
    shown: int = 3

    def of(self, *, steps: int | None, epochs: int | None) -> Size:
        """The same with other numbers, where they are given."""
        training = self.training if epochs is None else replace(self.training, epochs=epochs)
        return replace(self, steps=steps or self.steps, training=training)


DEMO = Size()
# What the table holds; the distance is over all of it but forget quality, which is no distance to anything.
FORGOTTEN = ("forget_probability", "forget_rouge", "forget_truth_ratio", "extraction_strength", "mia_loss")
ELSEWHERE = ("paraphrased_prompt_rouge", "relearned_probability")
KEPT = ("model_utility", "retain_probability", "retain_rouge")


def demo_text(
    methods: Sequence[str] = (),
    *,
    seed: int = 0,
    size: Size = DEMO,
    watch: Watch = silent,
) -> Json:
    """Trains, forgets, compares; what `demo_text.json` holds.

    Args:
        methods: keys of `ENTRIES`; none means all.
        seed: of the people, the models and the batches.
        size: how much of everything.
        watch: told about every phase.

    Raises:
        ConfigurationError: an unknown method.
        UnsupportedError: the extra `language` is not installed.
    """
    begin = time.perf_counter()
    names = chosen("method", methods, [entry.key for entry in ENTRIES])
    for module in ("transformers", "tokenizers", "rouge_score"):
        require(module, "language")
    with one_thread():
        world = _World.trained(seed, size, watch)
        rows: list[Json] = []
        answers: dict[str, Mapping[str, list[str]]] = {}

        def add(name: str, kind: str, model: nn.Module, result: Result | None = None) -> None:
            found = world.sheet(model, name)
            rows.append(_row(name, kind, found, world.reference, result))
            answers[name] = {side: _said(found, side, size.shown) for side in ("forget", "retain")}

        add("original", "end", world.original)
        add("retrained", "reference", world.retrained)
        add("retrained again", "end", world.again)
        for entry in ENTRIES:
            if entry.key in names:
                watch(entry.name, 0, 1)
                result = _unlearn(world, entry, seed)
                add(entry.name, "baseline" if entry.baseline else "headline", result.model, result)
                watch(entry.name, 1, 1)
    return {
        "created": now(),
        "seconds": time.perf_counter() - begin,
        "environment": environment(),
        **world.about(),
        "settings": {entry.name: _settings(entry) for entry in ENTRIES if entry.key in names},
        "rows": rows,
        "answers": {side: world.asked(side, answers) for side in ("forget", "retain")},
    }


@dataclass(frozen=True, eq=False)
class _World:
    """The people, the models, and what is asked of every model."""

    people: People
    size: Size
    tokenizer: Any
    original: nn.Module
    retrained: nn.Module
    again: nn.Module
    parts: Mapping[str, Part]
    reference: Sheet

    @classmethod
    def trained(cls, seed: int, size: Size, watch: Watch) -> _World:
        world = people(size.people, holdout=size.people // 5, known=size.people // 15, seed=seed)
        tokenizer = trained_tokenizer([*world.forget, *world.kept], size.training)

        def model(name: str, rows: Sequence[Json], seed: int) -> nn.Module:
            def told(phase: str, done: int, total: int) -> None:
                watch(f"training the {name} model", done, total)

            return trained_model(as_tokens(rows, tokenizer), tokenizer, size.training, seed, told)

        original = model("original", [*world.forget, *world.kept], seed)
        retrained, again = (model(f"{n} retrained", world.kept, seed + i) for i, n in ((1, "first"), (2, "second")))
        parts = _parts(world, tokenizer)
        reference = sheet(retrained, tokenizer, parts, relearning=RELEARNING, name="retrained")
        return cls(world, size, tokenizer, original, retrained, again, parts, reference)

    def rows(self, rows: Sequence[Json]) -> TextRows:
        return as_tokens(rows, self.tokenizer)

    def sheet(self, model: nn.Module, name: str) -> Sheet:
        if model is self.retrained:
            return Sheet(log_scores(self.reference.log, self.reference.log), self.reference.log)
        return sheet(model, self.tokenizer, self.parts, retrained=self.reference.log, relearning=RELEARNING, name=name)

    def about(self) -> Json:
        """The world in numbers."""
        counts = {name: len(rows) for name, rows in vars(self.people).items()}
        weights = sum(p.numel() for p in self.original.parameters())
        return {"counts": counts, "weights": weights, "vocabulary": len(self.tokenizer)}

    def asked(self, side: str, answers: Mapping[str, Mapping[str, list[str]]]) -> list[Json]:
        """Some questions with the true answer and what every model says."""
        rows = getattr(self.people, side)
        places = _places(len(rows), self.size.shown)
        return [
            {
                "question": rows[place]["question"],
                "truth": rows[place]["answer"],
                "answers": {name: said[side][i] for name, said in answers.items()},
            }
            for i, place in enumerate(places)
        ]


def _unlearn(world: _World, entry: Entry, seed: int) -> Result:
    forget, task = world.rows(world.people.forget), Language()
    held = world.people.holdout[: len(world.people.holdout) // 2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GuardWarning)  # they stay in the result
        return unlearn(
            world.original,
            forget=forget,
            retain=world.rows(world.people.retain),
            holdout=world.rows(held),
            task=task,
            method=_method(entry, task, world.original, forget),
            step=REGION if entry.region else _adam,
            contract=Contract(keep=(), forget=(Forget("unseen"),)),
            steps=world.size.steps,
            forget_batch=min(world.size.forget_batch, len(forget)),
            retain_batch=world.size.retain_batch,
            seed=seed,
        )


def _settings(entry: Entry) -> str:
    """How a method was run, in words."""
    given = "".join(f", {name} = {value}" for name, value in entry.arguments.items())
    how = f"trust region, budget {REGION.budget} nats, start {REGION.start}" if entry.region else f"AdamW, lr {LR}"
    return how + given


def _adam(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=LR, weight_decay=0.0)


def _method(entry: Entry, task: Language, original: nn.Module, forget: TextRows) -> Method:
    if entry.method == "npo":
        return METHODS["npo"](task, remember(original, task, forget), **entry.arguments)
    made = METHODS[entry.method](task, original, **entry.arguments)
    return replace(made, forget=NPO(task, remember(original, task, forget))) if entry.over_npo else made


def _parts(world: People, tokenizer: Any) -> dict[str, Part]:
    """TOFU's sets; what is measured is asked of people whom the runs did not look at: the other half of the holdout."""
    encode = encoder(tokenizer, FORM)

    def part(rows: Sequence[Mapping[str, Any]], question: str = "question", generate: int = LONGEST_ANSWER) -> Part:
        return Part(examples(rows, encode, question=question), generate=generate)

    reworded = [{key: row[key] for key in ("paraphrased_question", "answer")} for row in world.forget]
    return {
        "forget": part(world.forget),
        "holdout": part(world.holdout[len(world.holdout) // 2 :], generate=0),
        "forget_paraphrased": part(reworded, "paraphrased_question"),
        "retain": part(world.retain[: len(world.forget)]),
        "real_authors": part(world.known),
        "world_facts": part(world.places),
    }


def _row(name: str, kind: str, found: Sheet, reference: Sheet, result: Result | None) -> Json:
    """One line of the table: shares, the distance in points, None where a value is undefined."""
    columns = (*FORGOTTEN, *ELSEWHERE, *KEPT)
    own = {key: found.scores[key].value for key in (*columns, "forget_quality")}
    other = {key: reference.scores[key].value for key in columns}
    gaps = [abs(a - b) for key in columns if (a := own[key]) is not None and (b := other[key]) is not None]
    return {
        "name": name,
        "kind": kind,
        "distance": 100 * sum(gaps) / len(gaps) if len(gaps) == len(columns) else None,
        **own,
        "recited": {side: _recited(found, side) for side in ("forget", "retain")},
        "steps": None if result is None else result.steps,
        "seconds": None if result is None else result.seconds,
        "ended": "" if result is None else result.reason,
        "warnings": [] if result is None else list(result.warnings),
    }


def _recited(found: Sheet, side: str) -> float:
    """Share of questions that are answered word by word."""
    columns = found.log.values[side]
    hits = [columns["generation"][i] == columns["truth"][i] for i in columns["generation"]]
    return sum(hits) / len(hits)


def _said(found: Sheet, side: str, shown: int) -> list[str]:
    made = found.log.values[side]["generation"]
    return [str(made[place]) for place in _places(len(made), shown)]


def _places(total: int, shown: int) -> list[int]:
    """So many questions of different people and of different kinds."""
    return [(5 * i) % total for i in range(min(shown, total))]
