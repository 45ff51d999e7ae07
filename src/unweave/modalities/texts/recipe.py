"""A recipe of texts: the keys that images do not have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, Field, model_validator

from unweave.pretrained import Quantised
from unweave.recipe.evidence import Points, TrainingsSection
from unweave.recipe.recipe import Recipe
from unweave.recipe.sections import (
    STRICT,
    Count,
    DataSection,
    EvaluationSection,
    ExistingPath,
    ForgetSection,
    GuardsSection,
    ListFile,
    ModelPlace,
    ModelSection,
    Natural,
    Place,
    Positive,
    RunSection,
    check_places,
)
from unweave.recipe.yaml_lines import Document, Location

BENCHMARKS = ("tofu", "waterdrum", "muse", "wmdp")
PEOPLE = "people"
"""The source that is built in, and whose model is made on the spot."""
SOURCES = ("texts", *BENCHMARKS, PEOPLE)
REQUESTS = ("requests", "already")  # lists of what `forget` is one of
_OWN = ("ids, indices, file or random", ("split",))  # what `forget` may be, and not
_TAKES: dict[str, tuple[str, tuple[str, ...]]] = {
    **dict.fromkeys(BENCHMARKS, ("split", ("ids", "indices", "file", "random"))),
    PEOPLE: ("split, ids, indices or random", ("file",)),
}
_GIVEN = ("path", "config", "columns", "holdout")  # keys of `data` that say what people who are made up need not
COUNT = 100  # people, where nothing is said


class TextData(DataSection):
    """Where the texts come from.

    `path` is a file, a folder or a name on the hub; `columns` are named where they are not the usual ones;
    `holdout` are texts like those to forget that the model never saw; `refusals`, one a line, are what DPO prefers;
    `format` is "chat" (the tokenizer's template) or a prompt of yours with {question} in it; `retain_sample` keeps so
    many of the texts to keep, drawn at random. `people` says how many there are in the source of that name, four texts
    each, and `seed` which; others, a fifth as many, are its holdout.
    """

    source: Literal["texts", "tofu", "waterdrum", "muse", "wmdp", "people"]
    config: str | None = None
    split: str = "train"
    columns: tuple[str, str] | str | None = None
    holdout: Place | None = None
    refusals: ExistingPath | None = None
    duplicates: Literal["exact", "semantic"] | None = None
    retain_sample: Count | None = None
    format: str = "chat"
    system: str | None = None
    max_length: Count | None = None
    too_long: Literal["error", "cut", "split", "drop"] = "error"
    people: Annotated[int, Field(ge=2, le=500)] | None = None
    seed: Natural | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.source == "texts" and self.path is None:
            raise ValueError("texts needs a 'path'")
        if self.format != "chat" and "{question}" not in self.format:
            raise ValueError(f"'format' must be chat, or a prompt with {{question}} in it; found {self.format!r}")
        return self


class TextForget(ForgetSection):
    """What is to be forgotten: exactly one of ids, indices, file, random, split.

    `indices` is a file with row numbers, `ids` one with the ids of texts, `file` one with texts that `data` does not
    hold; `split` is a benchmark's own request: forget01, forget05, forget10 (TOFU, WaterDrum, people), News, Books
    (MUSE), bio, cyber (WMDP). Of people `random` draws whole ones, and `ids` are their names.
    """

    ONE_OF: ClassVar[tuple[str, ...]] = ("ids", "indices", "file", "random", "split")
    ids: ListFile | None = None
    file: ExistingPath | None = None
    split: str | None = None


class LoraSection(BaseModel):
    """Low-rank adapters, made when the run begins; see `unweave.pretrained.Lora`."""

    model_config = STRICT
    rank: Count = 8
    alpha: Positive = 16
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    targets: str | tuple[str, ...] = "all-linear"


class PretrainingSection(BaseModel):
    """The small Llama that the source `people` makes; see `unweave.modalities.texts.training.TextTraining`."""

    model_config = STRICT
    epochs: Count = 30
    batch: Count = 32
    lr: Positive = 5e-3
    hidden: Annotated[int, Field(ge=16, multiple_of=16)] = 64
    layers: Count = 2
    vocabulary: Annotated[int, Field(ge=300)] = 800
    longest: Annotated[int, Field(ge=64)] = 64


class TextModel(ModelSection):
    """The language model, and which of its weights may move.

    `weights` is the folder or the name on the hub of the model to unlearn; or `base` is one, which is fine-tuned on the
    data first (`training`). With both, `weights` is unlearned, and references are fine-tuned from `base`. `lora` puts
    adapters on it, `adapter` loads some. Without `parameters` (shell-style patterns on their names) all may move, or
    all adapters. `quantised` keeps the linear layers under adapters in 8 or 4 bits (`pretrained.load`). Of the source
    `people` the base is made on the spot, as `pretraining` says.
    """

    base: ModelPlace | None = None
    pretraining: PretrainingSection | None = None
    revision: str | None = None
    lora: LoraSection | None = None
    adapter: ModelPlace | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    quantised: Quantised | None = None
    checkpointing: bool = False


class RelearningSection(BaseModel):
    """How some forgotten texts are learned again; see `unweave.modalities.texts.evaluation.Relearning`."""

    model_config = STRICT
    rows: Count = 20
    steps: Count = 20
    lr: Positive = 1e-5
    batch: Count = 4
    seed: Natural = 0


class TextEvaluation(EvaluationSection):
    """Against how many retrained models the end is measured; the second shows the noise of the first.

    `quote` looks at the request before the run, and says afterwards which examples were hardest and which paid: the run
    directory then holds small copies of them.

    `reference` is the folder or the name of a model that was retrained without the forget set; `at_most`
    examples of every set are scored, with answers of at most `generate` tokens; `gradient` adds the attack by gradient
    norm; `relearning` may be none; `prefix` tokens of an answer are given away by the prefix attack, 0 for none;
    `batch_tokens` go through the model at a time; `compat` forms the scores as that benchmark's code does.
    """

    reference: ModelPlace | None = None
    at_most: Count | None = 400
    generate: Natural = 200
    gradient: bool = False
    relearning: RelearningSection | Literal["none"] = RelearningSection()
    prefix: Natural = 5
    batch_tokens: Count | None = None
    compat: Literal["open-unlearning", "tofu", "muse"] | None = None


class TextMargins(BaseModel):
    """The gaps to retraining that do not matter, in points: settle them before the first run."""

    model_config = STRICT
    forget_probability: Points = 5.0
    forget_rouge: Points = 5.0
    forget_truth_ratio: Points = 5.0
    extraction_strength: Points = 5.0
    mia_loss: Points = 5.0
    paraphrased_prompt_rouge: Points = 5.0
    relearned_probability: Points = 5.0
    model_utility: Points = 2.0
    retain_probability: Points = 2.0
    retain_rouge: Points = 2.0
    verbmem: Points = 5.0
    knowmem_forget: Points = 5.0
    knowmem_retain: Points = 2.0
    choice_accuracy: Points = 2.0


class TextEvidence(TrainingsSection):
    """How many models of each kind `unweave evidence` fine-tunes and unlearns.

    `runs` originals are fine-tuned from `model.base`, each from a seed of its own, and each is unlearned; `retrained`
    (as many, and 4 at least, without it) learn the retain set alone. `shadows` more are fine-tuned and unlearned under
    coins, for U-LiRA: 0 for none, or nine at least. Who learns again is as `evaluation.relearning` says.
    """

    margins: TextMargins = TextMargins()
    retain_examples: Annotated[int, Field(ge=20)] = 500


class TextRun(RunSection):
    """The same on smaller batches: a text has many tokens."""

    forget_batch: Count = 8
    retain_batch: Count = 16


class TextGuards(GuardsSection):
    """The same; texts have no pixels to compare."""

    near_duplicates: Literal["pixels", "features", "off"] = "off"


class TextRecipe(Recipe):
    """One run on texts: data, request, model, method, step length, contract, evaluation."""

    data: TextData
    forget: TextForget | None = None
    requests: tuple[TextForget, ...] = ()
    already: tuple[TextForget, ...] = ()
    model: TextModel = TextModel()
    run: TextRun = TextRun()
    guards: TextGuards = TextGuards()
    evaluation: TextEvaluation = TextEvaluation()
    evidence: TextEvidence = TextEvidence()

    @model_validator(mode="after")
    def _people(self) -> Self:
        """With how many they are, which, and how their model is made, where the recipe does not say."""
        if self.data.source != PEOPLE:
            return self
        data, model = self.data, self.model
        data = data.model_copy(update={"people": data.people or COUNT, "seed": data.seed or 0})
        if model.weights is None and model.base is None:
            model = model.model_copy(update={"pretraining": model.pretraining or PretrainingSection()})
        return self.model_copy(update={"data": data, "model": model})

    def check_models(self) -> None:
        """Refuse models and adapters that are not there (`sections.check_places`)."""
        places = {f"model.{key}": getattr(self.model, key) for key in ("weights", "base", "adapter")}
        places["evaluation.reference"] = self.evaluation.reference
        how = (
            "fetch it (`hf download OWNER/NAME --local-dir FOLDER`; SmolLM2-135M-Instruct: `python "
            "scripts/smollm2.py`), or give a folder that holds it or its name on the hub, owner/name"
        )
        check_places(places, how)


def forgets(document: Document) -> Iterator[tuple[Location, Any]]:
    """All requests that a recipe names, and where."""
    yield ("forget",), document.content.get("forget", {})
    for name in REQUESTS:
        entries: Any = document.content.get(name)
        yield from (((name, n), each) for n, each in enumerate(entries)) if isinstance(entries, list | tuple) else ()


def faults_of(document: Document) -> list[str]:
    """What one source of texts takes and another does not, and what a model is given as."""
    found: list[str] = []
    source = document.content["data"]["source"]

    def told(what: str, *where: str | int) -> None:
        found.append(f"{document.place(where)}: {'.'.join(map(str, where))}: {what}")

    model, data = (each if isinstance(each := document.content.get(name), dict) else {} for name in ("model", "data"))
    takes, others = _TAKES.get(source, _OWN)
    given = model.get("weights") or model.get("base")
    made = source == PEOPLE and (model.get("pretraining") is not None or not given)
    if source in BENCHMARKS:
        for name in (name for name in REQUESTS if document.content.get(name)):
            told("several requests in a row are for texts of your own: give this one as 'forget'", name)
    for place, forget in forgets(document):
        for key in others if isinstance(forget, dict) else ():
            if forget.get(key) is not None:
                told(f"the source {source!r} takes {takes}", *place, key)
        if place != ("forget",) and isinstance(forget, dict) and forget.get("file") is not None:
            told("requests in a row are for texts that 'data' holds: name them with ids or indices", *place, "file")
    if data.get("duplicates") is not None and source not in ("tofu", "waterdrum", PEOPLE):
        told(f"the source {source!r} has none: they are TOFU's, WaterDrum's and those of people", "data", "duplicates")
    if source == PEOPLE:
        for key in (key for key in _GIVEN if data.get(key) is not None):
            told("the source 'people' makes its own texts: leave it out", "data", key)
        if data.get("duplicates") is not None and document.content.get("requests"):
            told("they repeat the texts of one request: give it as 'forget'", "data", "duplicates")
    else:
        for place in (("data", "people"), ("data", "seed"), ("model", "pretraining")):
            if (data if place[0] == "data" else model).get(place[1]) is not None:
                told(f"is for the source 'people', and the source is {source!r}", *place)
    if model.get("pretraining") is not None and model.get("base") is not None:
        told("makes a base, and base is one: give one of them", "model", "pretraining")
    if not made and model.get("weights") is None and model.get("base") is None:
        told("expected weights (the model to unlearn) or base (a model to fine-tune on the data first)", "model")
    if model.get("lora") is not None and model.get("adapter") is not None:
        told("lora makes new adapters and adapter loads old ones: give one of them", "model", "adapter")
    if model.get("parameters") is not None and (own := [k for k in ("lora", "adapter") if model.get(k) is not None]):
        told(f"adapters are what moves, and all that is saved: leave {own[0]} or parameters out", "model", "parameters")
    if not made and model.get("base") is None and model.get("weights") and document.content.get("training"):
        told("is how model.base is fine-tuned; model.weights is unlearned as it is", "training")
    return found


def left(model: TextModel, folder: Path) -> TextModel:
    """The model or the adapters that a run left: no adapters are put on those that are there."""
    learned = model.base is not None or model.pretraining is not None
    lora = model.lora if learned else None  # of references that are fine-tuned from the base
    return model.model_copy(update={"weights": folder, "adapter": None, "lora": lora})
