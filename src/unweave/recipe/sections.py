"""The sections that every recipe has. A modality adds its own keys to them (`modalities/*/recipe.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from unweave.data.text_file import short
from unweave.devices import named
from unweave.errors import ConfigurationError, of_set
from unweave.guards.finding import NEAR, Guards
from unweave.store import model_in


def beside(path: Path, info: ValidationInfo) -> Path:
    """A relative path is relative to the recipe's folder; ~ is the user's."""
    try:
        path = path.expanduser()
    except RuntimeError as error:  # the home of nobody
        raise ValueError(f"{path}: {error}") from error
    return Path(info.context["folder"] / path) if info.context else path


def existing(path: Path) -> Path:
    """The path, of a file or folder that is there."""
    if not _exists(path):
        raise ValueError(f"no such file or folder: {path}")
    return path


def _path(given: object, what: str = "a path") -> object:
    if not isinstance(given, str | Path | None):
        raise ValueError(f"expected {what}, found {short(given)}")
    return given


_in_a_file = partial(_path, what="the path of a file that lists them, one a line")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        raise ValueError(f"{path}: {error.strerror}") from error


def _found(path: Path, info: ValidationInfo) -> Path:
    """A file or folder beside the recipe; what has one slash and is none may be a name on the hub."""
    found = beside(path, info)
    there = _exists(found)
    return path if is_name(path) and not there else found


def _there(path: Path) -> Path:
    return path if is_name(path) else existing(path)


def is_name(path: Path) -> bool:
    """Whether a path may be a name on the hub, owner/name."""
    return not path.is_absolute() and len(path.parts) == 2 and not {"~", ".", ".."} & set(path.parts)


Fraction = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
ClassName = Natural | str


def _device(name: str) -> str:
    try:
        _ = name == "auto" or named(name)
    except ConfigurationError as error:
        raise ValueError(str(error).removeprefix("run.device: ")) from error
    return name


RequestId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
AnyPath = Annotated[Path, BeforeValidator(_path), AfterValidator(beside)]
ExistingPath = Annotated[AnyPath, AfterValidator(existing)]
ListFile = Annotated[ExistingPath, BeforeValidator(_in_a_file)]
ModelPlace = Annotated[Path, BeforeValidator(_path), AfterValidator(_found)]
"""Where a model lies by the time of the run: `Recipe.check_models` says whether it does."""
Place = Annotated[ModelPlace, AfterValidator(_there)]
OPEN = ConfigDict(extra="allow", frozen=True, strict=True, ser_json_inf_nan="constants")
STRICT = OPEN | ConfigDict(extra="forbid", populate_by_name=True)


def nothing(value: Any) -> Any:
    """Of a section that may be left out: "none" is None."""
    return None if value == "none" else value


class DataSection(BaseModel):
    """Where the data come from; `source` says of which modality they are."""

    model_config = STRICT
    source: str
    path: Place | None = None


class ForgetSection(BaseModel):
    """What is to be forgotten: exactly one of the keys in `ONE_OF`.

    `indices` is a file with row numbers of the training set. `random` is a share of it, drawn with `seed`. `id` names
    the request among several, in reports and as a folder.
    """

    model_config = STRICT
    ONE_OF: ClassVar[tuple[str, ...]] = ("indices", "random")
    id: RequestId | None = None
    indices: ListFile | None = None
    random: Fraction | None = None
    seed: Natural = 0

    @field_validator("*")
    @classmethod
    def _names_something(cls, given: Any) -> Any:
        within = given.values() if isinstance(given, dict) else ()
        if any(each in ((), {}) for each in (given, *within)):
            raise ValueError("it names nothing that is to be forgotten: give one at least")
        return given

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [name for name in self.ONE_OF if getattr(self, {"class": "class_"}.get(name, name)) is not None]
        if len(given) != 1:
            raise ValueError(f"expected exactly one of {', '.join(self.ONE_OF)}, found {' and '.join(given) or 'none'}")
        return self


class ModelSection(BaseModel):
    """The model's weights, and which of them may move: `parameters`, shell-style patterns on their names; or all."""

    model_config = STRICT
    weights: ModelPlace | None = None
    parameters: tuple[str, ...] | None = None


class EvaluationSection(BaseModel):
    """Against how many retrained models the end is measured; the second shows the noise of the first.

    `quote` looks at the request before the run, and says afterwards which examples were hardest and which paid: the run
    directory then holds small copies of them.
    """

    model_config = STRICT
    quote: bool = True
    retrained: Annotated[int, Field(ge=0, le=2)] = 1
    seed: Natural = 0


class OpenSection(BaseModel):
    """Something with parameters of its own, which `open_sections` checks against its signature (`training`)."""

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

    `repair` pays back what forgetting cost (`unweave.repair.Repair`); auto does so under a contract, in a trust region;
    lean is true with averages in bfloat16.
    `until` ends the forget loss for each example (`unweave.losses.Until`): at a level of its nll, or at that of unseen
    examples; auto ends plain ascent in nats at 20. `relearner` reads it where up to so many steps of relearning on
    other forget examples lead (`unweave.losses.Relearned`); 0 does not. `memory` keeps both gradients of a rule that
    compares them (fast), one (lean) or none (least), for more passes; auto is the first that there is room for. `place`
    is where the states to go back to lie; auto is the device, or with less than fast on an accelerator the host.
    `train_mode` runs dropout and BatchNorm as in training, not as in evaluation. `device` is where: torch's name of it
    (cpu, cuda, cuda:1, mps, xpu); auto is an accelerator if there is one. `precision` of the passes: bfloat16 is
    autocast, on a GPU; weights that move stay float32. `shard` spreads the weights over the processes that torchrun
    started (FSDP2), where each else holds a copy. `callbacks` write the run's numbers elsewhere, too:
    TensorBoard's to `tensorboard` in the run's directory.
    """

    model_config = STRICT
    steps: Count = 100
    train_mode: bool = False
    repair: bool | Literal["auto", "lean"] = "auto"
    until: Positive | Literal["auto", "unseen"] | None = "auto"
    relearner: Natural = 0
    memory: Literal["auto", "fast", "lean", "least"] = "auto"
    place: Literal["auto", "device", "host", "disk"] = "auto"
    forget_batch: Count = 64
    retain_batch: Count = 256
    micro: Count = 1
    seed: Natural = 0
    checkpoint_every: Count = 50
    shard: bool = False
    device: Annotated[str, AfterValidator(_device)] = "auto"
    precision: Literal["float32", "bfloat16"] = "float32"
    callbacks: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = ()


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


def check_places(places: Mapping[str, Path | None], how: str) -> None:
    """Refuse models that are not where the recipe says; a recipe is read without them, a run needs them.

    Args:
        places: file, folder or name on the hub, by key; None where the recipe names none.
        how: one gets it.

    Raises:
        ConfigurationError: each that is no file or folder and no name on the hub, or a run that has not ended.
    """
    gone = {key: path for key, path in places.items() if path and not is_name(path) and not path.exists()}
    if gone:
        raise ConfigurationError([f"{key}: no such file or folder: {path}: {how}" for key, path in gone.items()])
    for key, path in places.items():
        if path is not None:
            with of_set(key):
                model_in(path)
