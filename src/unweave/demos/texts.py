"""People who do not exist, a small language model that knows them, and what is left when some are to be forgotten."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any

from torch import nn

from unweave.contract import Contract, Forget
from unweave.demos.compare import SCALE, Entry, Json, about, chosen, compared
from unweave.execution import one_thread
from unweave.extras import require
from unweave.modalities.texts.data.people import People, people
from unweave.modalities.texts.evaluation import Part, Relearning, Sheet, encoder, examples, log_scores, sheet
from unweave.modalities.texts.training import FORM, TextTraining, as_tokens, trained_model, trained_tokenizer
from unweave.tasks import Language
from unweave.watch import Watch, silent

# docs/LOG.md says what these settings were chosen from, on people of another seed.
ADAM = {"name": "adamw", "lr": 1e-3, "weight_decay": 0.0}
REGION = {"name": "trust", "budget": 0.1, "start": 5e-3}  # the original's retain loss is near 0: so is the default
ENTRIES = (
    Entry("NPO", "npo", {"forget": 0.03}, ADAM, "baseline"),
    Entry("GradDiff", "graddiff", {}, ADAM, "baseline"),
    Entry("HAMU-Q over ascent", "hamu_q", {"ratio": 0.5}, ADAM, "headline"),
    Entry("HAMU-Q over NPO", "hamu_q", {"ratio": 0.5, "over": "npo"}, ADAM, "headline"),
    Entry("EUPMU", "eupmu", {}, ADAM, "headline"),
    Entry("OFMU", "ofmu", {}, REGION, "headline"),
)
NAMES = ("original", "first retrained", "second retrained")  # of the models, as they are trained
STEPS, SHOWN = 40, 3  # of every method, at most; questions per side whose answers are shown
LONGEST_ANSWER = 16  # tokens that are generated, at most
RELEARNING = Relearning(rows=20, steps=20, lr=1e-3)

COLUMNS = (
    *("forget_probability", "forget_rouge", "forget_truth_ratio", "extraction_strength", "mia_loss"),
    *("paraphrased_prompt_rouge", "relearned_probability", "model_utility", "retain_probability", "retain_rouge"),
)
"""What the distance is over; the table has forget quality, too, which is no distance to anything."""


def demo_text(
    methods: Sequence[str] = (),
    *,
    seed: int = 0,
    steps: int | None = None,
    training: Mapping[str, Any] | None = None,
    watch: Watch = silent,
    tell: Callable[[Json], None] = lambda request: None,
    count: int = 150,
    batches: tuple[int, int] = (20, 40),
) -> Json:
    """Trains, forgets, compares; what `demo_text.json` holds.

    Args:
        methods: keys of `ENTRIES`; none means all.
        seed: of the people, the models and the batches.
        steps: of every method, at most, in the place of `STEPS`.
        training: overrides for the `TextTraining` of all models.
        watch: told about every phase.
        tell: given the results.
        count: people to learn, a tenth of them to forget; a fifth as many are never learned.
        batches: rows of forget and retain set in a step.

    Raises:
        ConfigurationError: an unknown method.
        UnsupportedError: the extra `language` is not installed.
    """
    begin = time.perf_counter()
    entries = list(chosen("method", methods, {entry.key: entry for entry in ENTRIES}).values())
    for module in ("transformers", "tokenizers", "rouge_score"):
        require(module, "language")
    world, how = people(count, holdout=count // 5, known=count // 15, seed=seed), TextTraining(**(training or {}))
    half, learned = len(world.holdout) // 2, [*world.forget, *world.kept]
    with one_thread():
        tokenizer, trained = trained_tokenizer(learned, how), []
        for i, (name, rows) in enumerate(zip(NAMES, (learned, world.kept, world.kept), strict=True)):
            told = partial(_told, watch, f"training the {name} model")
            trained.append(trained_model(as_tokens(rows, tokenizer), tokenizer, how, seed + i, told))
        parts = _parts(world, half, tokenizer)
        models = dict(zip(SCALE, trained, strict=True))
        log = sheet(models["retrained"], tokenizer, parts, relearning=RELEARNING, name="retrained").log
        reference, sheets = Sheet(log_scores(log, log), log), dict[str, Sheet]()

        def measure(name: str, model: nn.Module) -> Json:
            if name == "retrained":
                sheets[name] = reference
            else:
                sheets[name] = sheet(model, tokenizer, parts, retrained=log, relearning=RELEARNING, name=name)
            return _columns(sheets[name], reference)

        forget, retain, holdout = (as_tokens(r, tokenizer) for r in (world.forget, world.retain, world.holdout[:half]))
        call = {
            **{"task": Language(), "forget": forget, "retain": retain, "holdout": holdout, "seed": seed},
            "repair": True,
            "contract": Contract(keep=(), forget=(Forget("unseen"),)),
            **{"steps": steps or STEPS, "forget_batch": min(batches[0], len(forget)), "retain_batch": batches[1]},
        }
        rows = [row for row, _ in compared(models["original"], models, measure, call, entries, watch)]
    found = {
        **about(begin, entries, rows),
        "counts": {name: len(rows) for name, rows in vars(world).items()},
        "weights": sum(p.numel() for p in models["original"].parameters()),
        "vocabulary": len(tokenizer),
        "rows": rows,
        "answers": {side: _answers(world, side, sheets) for side in ("forget", "retain")},
    }
    tell(found)
    return found


def _told(watch: Watch, name: str, phase: str, done: int, total: int) -> None:
    watch(name, done, total)


def _parts(world: People, half: int, tokenizer: Any) -> dict[str, Part]:
    """TOFU's sets; what is measured is asked of people at whom no run looks: the half of the holdout that ends none."""
    encode = encoder(tokenizer, FORM)

    def part(rows: Sequence[Mapping[str, Any]], question: str = "question", generate: int = LONGEST_ANSWER) -> Part:
        return Part(examples(rows, encode, question=question), generate=generate)

    reworded = [{key: row[key] for key in ("paraphrased_question", "answer")} for row in world.forget]
    return {
        "forget": part(world.forget),
        "holdout": part(world.holdout[half:], generate=0),
        "forget_paraphrased": part(reworded, "paraphrased_question"),
        "retain": part(world.retain[: len(world.forget)]),
        "real_authors": part(world.known),
        "world_facts": part(world.places),
    }


def _columns(own: Sheet, reference: Sheet) -> Json:
    """Shares, the distance in points, None where undefined; `scores` has it all, `recited` what is said by heart."""
    values = {key: own.scores[key].value for key in (*COLUMNS, "forget_quality")}
    pairs = [(values[key], reference.scores[key].value) for key in COLUMNS]
    gaps = [abs(a - b) for a, b in pairs if a is not None and b is not None]
    said = {side: own.log.values[side] for side in ("forget", "retain")}
    return {
        "distance": 100 * sum(gaps) / len(gaps) if len(gaps) == len(COLUMNS) else None,
        **values,
        "scores": {key: own.scores[key].brief() for key in values},
        "recited": {s: fmean(said[s]["truth"][i] == t for i, t in said[s]["generation"].items()) for s in said},
    }


def _answers(world: People, side: str, sheets: Mapping[str, Sheet]) -> list[Json]:
    """Some questions, of different people and of different kinds: the true answer and what every model says."""
    rows = getattr(world, side)[: len(world.forget)]  # as many as the sheet asks
    return [
        {
            "question": rows[i]["question"],
            "truth": rows[i]["answer"],
            "answers": {name: str(found.log.values[side]["generation"][i]) for name, found in sheets.items()},
        }
        for i in [(5 * i) % len(rows) for i in range(min(SHOWN, len(rows)))]
    ]
