"""The sections of a recipe. Which keys belong to images and which to texts is said in `modality`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, model_validator

from unweave.guards.finding import NEAR, Guards


def _beside(path: Path, info: ValidationInfo) -> Path:
    """A relative path is relative to the recipe's folder; ~ is the user's."""
    try:
        path = path.expanduser()
    except RuntimeError as error:  # the home of nobody
        raise ValueError(f"{path}: {error}") from error
    return Path(info.context["folder"] / path) if info.context else path


def _existing(path: Path) -> Path:
    if not _exists(path):
        raise ValueError(f"no such file or folder: {path}")
    return path


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        raise ValueError(f"{path}: {error.strerror}") from error


def _found(path: Path, info: ValidationInfo) -> Path:
    """A file or folder beside the recipe; what has one slash and is none may be a name on the hub."""
    found = _beside(path, info)
    there = _exists(found)
    return path if is_name(path) and not there else found


def _there(path: Path) -> Path:
    return path if is_name(path) else _existing(path)


def is_name(path: Path) -> bool:
    """Whether a path may be a name on the hub, owner/name."""
    return not path.is_absolute() and len(path.parts) == 2 and not {"~", ".", ".."} & set(path.parts)


Fraction = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
ClassName = Natural | str
RequestId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
AnyPath = Annotated[Path, AfterValidator(_beside)]
ExistingPath = Annotated[Path, AfterValidator(_beside), AfterValidator(_existing)]
Place = Annotated[Path, AfterValidator(_found), AfterValidator(_there)]
ModelPlace = Annotated[Path, AfterValidator(_found)]
"""Where a model lies by the time of the run: `Recipe.check_models` says whether it does."""
OPEN = ConfigDict(extra="allow", frozen=True, strict=True, ser_json_inf_nan="constants")
STRICT = OPEN | ConfigDict(extra="forbid", populate_by_name=True)


class DataSection(BaseModel):
    """Where the training and the test data come from.

    Texts: `path` is a file, a folder or a name on the hub; `columns` are named where they are not the usual ones;
    `holdout` are texts like those to forget that the model never saw; `refusals`, one a line, are what DPO prefers;
    `format` is "chat" (the tokenizer's template) or a prompt of yours with {question} in it; `retain_sample` keeps so
    many of the texts to keep, drawn at random.
    """

    model_config = STRICT
    source: Literal["digits", "cifar10", "image_folder", "texts", "tofu", "waterdrum", "muse", "wmdp"]
    path: Place | None = None
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

    @model_validator(mode="after")
    def _path_where_needed(self) -> Self:
        needs = self.source in ("cifar10", "image_folder", "texts")
        if self.path is None and needs:
            raise ValueError(f"{self.source} needs a 'path'")
        if self.path is not None and self.source == "digits":
            raise ValueError("digits is built in and takes no path")
        if self.path is not None and self.source in ("cifar10", "image_folder"):
            _existing(self.path)
        if self.format != "chat" and "{question}" not in self.format:
            raise ValueError(f"'format' must be chat, or a prompt with {{question}} in it; found {self.format!r}")
        return self


class ForgetSection(BaseModel):
    """What is to be forgotten: exactly one of class, indices, random, poison; of texts ids, indices, random, file,
    split.

    `mix`, with `class`, is HAMU's hardness mix rho: that share of the set is drawn at random instead.
    `poison` gives that share of the training set wrong labels, which the original is trained on.
    `indices` is a file with row numbers, `ids` one with the ids of texts, `file` one with texts that `data` does not
    hold; `split` is a benchmark's own request: forget01, forget05, forget10 (TOFU, WaterDrum), News, Books (MUSE), bio,
    cyber (WMDP).
    `id` names the request among several, in reports and as a folder.
    """

    model_config = STRICT
    id: RequestId | None = None
    class_: ClassName | tuple[ClassName, ...] | None = Field(default=None, alias="class")
    indices: ExistingPath | None = None
    random: Fraction | None = None
    poison: Fraction | None = None
    ids: ExistingPath | None = None
    file: ExistingPath | None = None
    split: str | None = None
    mix: Share = 0.0
    seed: Natural = 0

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        options = {
            "class": self.class_,
            "indices": self.indices,
            "random": self.random,
            "poison": self.poison,
            "ids": self.ids,
            "file": self.file,
            "split": self.split,
        }
        given = [name for name, value in options.items() if value is not None]
        if len(given) != 1:
            raise ValueError(f"expected exactly one of {', '.join(options)}, found {' and '.join(given) or 'none'}")
        if self.mix and self.class_ is None:
            raise ValueError("'mix' is a share of a class request: it needs 'class'")
        return self


class LoraSection(BaseModel):
    """Low-rank adapters, made when the run begins; see `unweave.pretrained.Lora`."""

    model_config = STRICT
    rank: Count = 8
    alpha: Positive = 16
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    targets: str | tuple[str, ...] = "all-linear"


class ModelSection(BaseModel):
    """The network, its weights, and which of them may move.

    Images: without a network the data source's own is taken; without weights it is trained, and cached. Texts:
    `weights` is the folder or the name on the hub of the model to unlearn; or `base` is one, which is fine-tuned on the
    data first (`training`). With both, `weights` is unlearned, and references are fine-tuned from `base`. `lora` puts
    adapters on it, `adapter` loads some. Without `parameters` (shell-style patterns on their names) all may move, or
    all adapters.
    """

    model_config = STRICT
    network: str | None = None
    weights: ModelPlace | None = None
    base: ModelPlace | None = None
    revision: str | None = None
    lora: LoraSection | None = None
    adapter: ModelPlace | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    checkpointing: bool = False
    parameters: tuple[str, ...] | None = None


class OpenSection(BaseModel):
    """Something with parameters of its own, which are checked against its signature."""

    model_config = OPEN

    @property
    def arguments(self) -> dict[str, Any]:
        """What was written, as keyword arguments."""
        return dict(self.model_extra or {})


class NamedSection(OpenSection):
    """The same, with the name of what the parameters belong to."""

    name: str


class RunSection(BaseModel):
    """How long, on what batches, from which seed.

    `train_mode` runs dropout and BatchNorm as in training, not as in evaluation. `device` is where; auto is a GPU if
    there is one. `precision` of the passes: bfloat16 is autocast, on a GPU; weights that move stay float32.
    """

    model_config = STRICT
    steps: Count = 100
    train_mode: bool = False
    forget_batch: Count = 64
    retain_batch: Count = 256
    micro: Count = 1
    seed: Natural = 0
    checkpoint_every: Count = 50
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"


class RelearningSection(BaseModel):
    """How some forgotten texts are learned again; see `unweave.evaluation.text.Relearning`."""

    model_config = STRICT
    rows: Count = 20
    steps: Count = 20
    lr: Positive = 1e-5
    batch: Count = 4
    seed: Natural = 0


class EvaluationSection(BaseModel):
    """Against how many retrained models the end is measured; the second shows the noise of the first.

    `quote` looks at the request before the run, and says afterwards which examples were hardest and which paid: the run
    directory then holds small copies of them.

    Texts: `reference` is the folder or the name of a model that was retrained without the forget set; `at_most`
    examples of every set are scored, with answers of at most `generate` tokens; `gradient` adds the attack by gradient
    norm; `relearning` may be none; `prefix` tokens of an answer are given away by the prefix attack, 0 for none;
    `batch_tokens` go through the model at a time; `compat` forms the scores as that benchmark's code does.
    """

    model_config = STRICT
    quote: bool = True
    retrained: Annotated[int, Field(ge=0, le=2)] = 1
    seed: Natural = 0
    reference: ModelPlace | None = None
    at_most: Count | None = 400
    generate: Natural = 200
    gradient: bool = False
    relearning: RelearningSection | Literal["none"] = RelearningSection()
    prefix: Natural = 5
    batch_tokens: Count | None = None
    compat: Literal["open-unlearning", "tofu", "muse"] | None = None


class GuardsSection(BaseModel):
    """What the guards compare forget and retain set by, to find near-duplicates; the other guards always look."""

    model_config = STRICT
    near_duplicates: Literal["pixels", "features", "off"] = "pixels"
    distance: Fraction = NEAR

    def guards(self) -> Guards:
        """As the library writes it."""
        return Guards(self.near_duplicates, self.distance)


class SequenceSection(BaseModel):
    """Several requests in a row. `repair` unlearns an earlier request once more if a later one undid it."""

    model_config = STRICT
    repair: bool = False
