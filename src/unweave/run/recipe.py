"""A recipe: one run as strict YAML, every fault reported at once with its file and line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_serializer,
    model_validator,
)

from unweave.errors import ConfigurationError, suggest
from unweave.guards.finding import NEAR, Guards
from unweave.run import faults
from unweave.run.contract import ContractSection
from unweave.run.marks import Document, load


def _beside(path: Path, info: ValidationInfo) -> Path:
    """A relative path is relative to the recipe's folder."""
    return Path(info.context["folder"] / path) if info.context else path


def _existing(path: Path) -> Path:
    if not path.exists():
        raise ValueError(f"no such file or folder: {path}")
    return path


Fraction = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
ClassName = Annotated[int, Field(ge=0)] | str
Natural = Annotated[int, Field(ge=0)]
RequestId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
AnyPath = Annotated[Path, AfterValidator(_beside)]
ExistingPath = Annotated[Path, AfterValidator(_beside), AfterValidator(_existing)]
_OPEN = ConfigDict(extra="allow", frozen=True, strict=True, ser_json_inf_nan="constants")
_STRICT = _OPEN | ConfigDict(extra="forbid", populate_by_name=True)


class DataSection(BaseModel):
    """Where the training and the test data come from."""

    model_config = _STRICT
    source: Literal["digits", "cifar10", "image_folder"]
    path: ExistingPath | None = None

    @model_validator(mode="after")
    def _path_where_needed(self) -> Self:
        if (self.source == "digits") != (self.path is None):
            raise ValueError("digits is built in and takes no path" if self.path else f"{self.source} needs a 'path'")
        return self


class ForgetSection(BaseModel):
    """What is to be forgotten: exactly one of class, indices, random, poison.

    `mix`, with `class`, is HAMU's hardness mix rho: that share of the set is drawn at random instead.
    `poison` gives that share of the training set wrong labels, which the original is trained on.
    `id` names the request among several, in reports and as a folder.
    """

    model_config = _STRICT
    id: RequestId | None = None
    class_: ClassName | tuple[ClassName, ...] | None = Field(default=None, alias="class")
    indices: ExistingPath | None = None
    random: Fraction | None = None
    poison: Fraction | None = None
    mix: Share = 0.0
    seed: Natural = 0

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        options = {
            "class": self.class_,
            "indices": self.indices,
            "random": self.random,
            "poison": self.poison,
        }
        given = [name for name, value in options.items() if value is not None]
        if len(given) != 1:
            raise ValueError(f"expected exactly one of {', '.join(options)}, found {' and '.join(given) or 'none'}")
        if self.mix and self.class_ is None:
            raise ValueError("'mix' is a share of a class request: it needs 'class'")
        return self


class ModelSection(BaseModel):
    """The network, its weights, and which of them may move.

    Without a network the data source's own is taken; without weights it is trained, and cached; without
    `parameters` (shell-style patterns on their names) all may move.
    """

    model_config = _STRICT
    network: str | None = None
    weights: ExistingPath | None = None
    parameters: tuple[str, ...] | None = None


class OpenSection(BaseModel):
    """Something with parameters of its own, which are checked against its signature."""

    model_config = _OPEN

    @property
    def arguments(self) -> dict[str, Any]:
        """What was written, as keyword arguments."""
        return dict(self.model_extra or {})


class NamedSection(OpenSection):
    """The same, with the name of what the parameters belong to."""

    name: str


class RunSection(BaseModel):
    """How long, on what batches, from which seed.

    `train_mode` runs dropout and BatchNorm as in training, not as in evaluation.
    """

    model_config = _STRICT
    steps: Count = 100
    train_mode: bool = False
    forget_batch: Count = 64
    retain_batch: Count = 256
    micro: Count = 1
    seed: Natural = 0
    checkpoint_every: Count = 50


class EvaluationSection(BaseModel):
    """Against how many retrained models the end is measured; the second shows the noise of the first.

    `quote` looks at the request before the run, and says afterwards which examples were hardest and which paid: the run
    directory then holds small copies of them.
    """

    model_config = _STRICT
    quote: bool = True
    retrained: Annotated[int, Field(ge=0, le=2)] = 1
    seed: Natural = 0


class GuardsSection(BaseModel):
    """What the guards compare forget and retain set by, to find near-duplicates; the other guards always look."""

    model_config = _STRICT
    near_duplicates: Literal["pixels", "features", "off"] = "pixels"
    distance: Fraction = NEAR

    def guards(self) -> Guards:
        """As the library writes it."""
        return Guards(self.near_duplicates, self.distance)


class SequenceSection(BaseModel):
    """Several requests in a row. `repair` unlearns an earlier request once more if a later one undid it."""

    model_config = _STRICT
    repair: bool = False


def _nothing(value: Any) -> Any:
    return None if value == "none" else value


class Recipe(BaseModel):
    """One run: data, request, model, method, step length, contract, evaluation.

    `requests` in the place of `forget` are several runs, one after another. `already` are earlier requests, whose rows
    are no longer in the training set.
    """

    model_config = _STRICT
    version: Literal[1] = 1
    data: DataSection
    forget: ForgetSection | None = None
    requests: tuple[ForgetSection, ...] = ()
    already: tuple[ForgetSection, ...] = ()
    sequence: SequenceSection = SequenceSection()
    model: ModelSection = ModelSection()
    training: OpenSection = OpenSection()
    method: NamedSection = NamedSection(name="hamu_q")
    step: NamedSection = NamedSection(name="trust")
    contract: Annotated[ContractSection | None, BeforeValidator(_nothing)] = ContractSection()
    run: RunSection = RunSection()
    guards: GuardsSection = GuardsSection()
    evaluation: EvaluationSection = EvaluationSection()
    output: AnyPath | None = None
    environment: dict[str, Any] = Field(default={}, description="written by a run, ignored when read")

    @model_validator(mode="after")
    def _one_or_several(self) -> Self:
        if (self.forget is None) == (not self.requests):
            raise ValueError(f"expected exactly one of forget, requests; found {'both' if self.requests else 'none'}")
        ids = [each.id for each in self.requests if each.id is not None]
        if twice := sorted({name for name in ids if ids.count(name) > 1}):
            raise ValueError(f"requests: every id must be there once; found {', '.join(twice)} more than once")
        if any(each.poison is not None for each in (*self.requests, *self.already)):
            raise ValueError("requests: 'poison' plants wrong labels for one request alone; name rows with 'indices'")
        return self

    @field_serializer("contract", when_used="json")
    def _written(self, value: ContractSection | None) -> Any:
        return "none" if value is None else value.model_dump(mode="json")

    def to_yaml(self) -> str:
        """The recipe with every default written out."""
        return yaml.safe_dump(self.model_dump(mode="json", by_alias=True), sort_keys=False, allow_unicode=True)


def read(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML file, `section.key=value` overrides applied.

    Raises:
        ConfigurationError: all faults at once, each as `file:line: section.key: expected this, found that`.
    """
    document = load(path).override(overrides)
    found: list[str] = []
    try:
        recipe = Recipe.model_validate_json(document.to_json(), context={"folder": path.resolve().parent})
    except ValidationError as error:
        found = faults.of_model(error, Recipe, document)
        if not {"forget", "requests"} & document.content.keys() and not any("requests" in fault for fault in found):
            found.append(f"{document.place(())}: the recipe: 'forget' is missing (or 'requests')")
    found += _faults_of_options(document)
    if found:
        raise ConfigurationError(found)
    return recipe


def _faults_of_options(document: Document) -> list[str]:
    """Faults of the sections whose keys are those of a function: training, method, step."""
    from unweave.methods import METHODS
    from unweave.run.steps import STEPS
    from unweave.run.training import Training

    found = []
    tables: dict[str, Mapping[str, Callable[..., Any]]] = {"method": METHODS, "step": STEPS}
    for section, table in tables.items():
        written = document.content.get(section)
        name = written.get("name") if isinstance(written, dict) else None
        if not isinstance(written, dict) or not isinstance(name, str):
            continue  # the model has already said what is wrong
        if name not in table:
            place = document.place((section, "name"))
            found.append(f"{place}: {section}.name: unknown {section} {name!r}.{suggest(name, table)}")
            continue
        arguments = {key: value for key, value in written.items() if key != "name"}
        found += faults.of_call(table[name], arguments, document, section)
    written = document.content.get("training")
    if isinstance(written, dict):
        found += faults.of_call(Training, written, document, "training", complete=False)
    return found
