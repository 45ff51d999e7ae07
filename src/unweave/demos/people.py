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
from unweave.demos.shared import chosen
from unweave.demos.text_world import DEMO, Json, Size, World, places
from unweave.execution import one_thread
from unweave.extras import require
from unweave.guards import GuardWarning
from unweave.loop import Result
from unweave.losses import NPO, remember
from unweave.methods import METHODS, Method
from unweave.modalities.texts.data import TextRows
from unweave.modalities.texts.evaluation import Sheet
from unweave.run.environment import environment, now
from unweave.tasks import Language
from unweave.trust import TrustRegion
from unweave.watch import Watch, silent


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
        world = World.trained(seed, size, watch)
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


def _unlearn(world: World, entry: Entry, seed: int) -> Result:
    forget, task = world.rows(world.people.forget), Language()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GuardWarning)  # they stay in the result
        return unlearn(
            world.original,
            forget=forget,
            retain=world.rows(world.people.retain),
            holdout=world.unseen(),
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


def _row(name: str, kind: str, found: Sheet, reference: Sheet, result: Result | None) -> Json:
    """One line of the table: shares, the distance in points, None where undefined; `scores` has it all."""
    columns = (*FORGOTTEN, *ELSEWHERE, *KEPT)
    own = {key: found.scores[key].value for key in (*columns, "forget_quality")}
    other = {key: reference.scores[key].value for key in columns}
    gaps = [abs(a - b) for key in columns if (a := own[key]) is not None and (b := other[key]) is not None]
    return {
        "name": name,
        "kind": kind,
        "distance": 100 * sum(gaps) / len(gaps) if len(gaps) == len(columns) else None,
        **own,
        "scores": {key: found.scores[key].as_dict() for key in own},
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
    return [str(made[place]) for place in places(len(made), shown)]
