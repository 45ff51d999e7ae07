"""A recipe of records: a table, or data sets of one's own; a network of one's own; people."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationInfo, model_validator

from unweave.recipe.evidence import EvidenceSection
from unweave.recipe.recipe import Recipe
from unweave.recipe.sections import (
    STRICT,
    Count,
    DataSection,
    ForgetSection,
    GuardsSection,
    ListFile,
    ModelSection,
    Natural,
    Positive,
    beside,
    check_places,
    existing,
)
from unweave.recipe.yaml_lines import Document
from unweave.tasks import Classification, Dense, Language, MultiLabel, Regression, Task

TABLES = ("csv", "parquet")
FACTORY = "factory"
SOURCES = (*TABLES, FACTORY)
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_TABLE_ALONE = ("target", "columns", "drop", "categories", "user", "split")  # keys of `data` that need columns


def _place(text: str, info: ValidationInfo) -> str:
    """`file.py:make`, its file beside the recipe, or `package.module:make`; nothing is imported here."""
    where, _, name = text.rpartition(":")
    if not name.isidentifier() or not where:
        raise ValueError(f"expected file.py:function or package.module:function, found {text!r}")
    if where.endswith(".py"):
        return f"{existing(beside(Path(where), info)).resolve()}:{name}"
    if not _MODULE.fullmatch(where):
        raise ValueError(f"{where!r} is no module's name and no file that ends in .py")
    return text


FactoryPlace = Annotated[str, AfterValidator(_place)]
Cell = str | int | float | bool


class Made(BaseModel):
    """What a function of the user's makes.

    `factory` is where it stands, `arguments` what it is called with. `sha256` is of its file, as a run writes it: of
    another file nothing is executed.
    """

    model_config = STRICT
    factory: FactoryPlace | None = None
    arguments: dict[str, Any] = {}
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


class RecordsData(DataSection, Made):
    """Where the records come from: a table in a file, or data sets that a function makes.

    Of a table, `target` is the column (or the columns) to predict, and all others are read, but `drop`; or `columns`
    alone. Numbers are standardised and everything else is one column for each value, `categories` too, by the rows that
    the model is trained on. `user` holds whose record it is, `split` which of train, holdout and test.

    Without `split`, a share of the records is the `holdout`, another the `test` set (the holdout itself, if there is
    none); drawn with `seed`, and `by` person where it is known whose they are.
    """

    source: Literal["csv", "parquet", "factory"] = "factory"
    target: str | tuple[str, ...] | None = None
    user: str | None = None
    columns: tuple[str, ...] | None = None
    drop: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    split: str | None = None
    holdout: Annotated[float, Field(ge=0, lt=1)] | None = None
    test: Annotated[float, Field(ge=0, lt=1)] | None = None
    by: Literal["person", "row"] | None = None
    seed: Natural = 0

    @property
    def table(self) -> bool:
        """Whether there are columns."""
        return self.source in TABLES

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not self.table:
            if self.factory is None:
                raise ValueError("'factory' is missing: the function that makes the data set, file.py:function")
            if given := [name for name in ("path", *_TABLE_ALONE) if getattr(self, name)]:
                raise ValueError(f"{', '.join(given)}: of a table, and a factory gives data sets; leave it out")
            return self
        if given := [name for name in ("factory", "arguments", "sha256") if getattr(self, name)]:
            raise ValueError(f"{', '.join(given)}: the source is {self.source}; leave it out, or leave the source out")
        if self.path is None or not self.target:
            raise ValueError(f"{self.source} needs a 'path' and a 'target', the column to predict")
        if existing(self.path).is_dir() or self.path.suffix.lower() != f".{self.source}":
            raise ValueError(f"'path' must be a file that ends in .{self.source}, found {self.path}")
        if self.split is not None and (self.holdout is not None or self.test is not None or self.by is not None):
            raise ValueError("'split' says which set a row is in: leave holdout, test and by out")
        if self.by == "person" and self.user is None:
            raise ValueError("'by: person' needs 'user', the column that says whose record it is")
        return self


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class TaskSection(Made):
    """What the model does: a name, or a task that a function makes. `auto` looks at the target, or at the model.

    `scale` is a regression's (`tasks.Regression`); without it, it is estimated on the holdout under the original.
    """

    name: Literal["auto", "classification", "multilabel", "regression", "dense", "language"] = "auto"
    scale: Positive | tuple[Positive, ...] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.factory is not None and self.name != "auto":
            raise ValueError("'factory' makes the task: leave the name out")
        if self.scale is not None and self.name != "regression":
            raise ValueError("'scale' is a regression's: write name: regression")
        return self


class RecordsModel(ModelSection, Made):
    """The network and its weights: a small `mlp` for tables, or what a `factory` makes.

    `hidden` are the mlp's layers. `weights` is a safetensors file, or with `format: checkpoint` a state dict or a
    Lightning checkpoint, of which `prefix` is taken from the names. Without weights the network is trained.
    """

    network: Literal["mlp"] | None = None
    hidden: tuple[Count, ...] = (64, 64)
    format: Literal["safetensors", "checkpoint"] = "safetensors"
    prefix: str = ""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.factory is not None and self.network is not None:
            raise ValueError("expected one of network, factory; found both")
        if self.prefix and self.format != "checkpoint":
            raise ValueError("'prefix' is of names in a checkpoint: write format: checkpoint")
        return self


class RecordsForget(ForgetSection):
    """What is to be forgotten: exactly one of where, ids, indices, random.

    `where` are columns of the table and the values that they have in records to forget, `{user_id: [A17, B4]}`; of a
    factory's records `{user: [...]}`. `ids` is a file with people's ids. `indices` is a file with row numbers: of the
    table, from 0. `random` is a share of the people, where it is known whose the records are.
    """

    ONE_OF: ClassVar[tuple[str, ...]] = ("where", "ids", "indices", "random")
    where: dict[str, Cell | tuple[Cell, ...]] | None = None
    ids: ListFile | None = None

    @model_validator(mode="after")
    def _filled(self) -> Self:
        if self.where is not None and (not self.where or () in self.where.values()):
            raise ValueError("'where' must name a column and at least one value: {user_id: [A17, B4]}")
        return self


class RecordsRecipe(Recipe):
    """One run on records: data, task, request, model, method, step length, contract, evaluation, evidence."""

    data: RecordsData
    task: Annotated[TaskSection, BeforeValidator(_named)] = TaskSection()
    forget: RecordsForget | None = None
    requests: tuple[RecordsForget, ...] = ()
    already: tuple[RecordsForget, ...] = ()
    model: RecordsModel = RecordsModel()
    guards: GuardsSection = GuardsSection(near_duplicates="off")
    evidence: EvidenceSection = EvidenceSection()

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if not self.data.table and self.model.factory is None:
            raise ValueError("model.factory is missing: the mlp is for tables, other data need a network of your own")
        if self.data.table and self.task.name in ("dense", "language"):
            raise ValueError(f"task: {self.task.name} has a class for each place of an example, and a row has none")
        return self

    def check_models(self) -> None:
        """Refuse weights that are not there (`sections.check_places`)."""
        how = "give the file, or the folder of a run that holds it"
        check_places({"model.weights": self.model.weights}, how)


def task_of(document: Document) -> Task:
    """The task that a recipe names, to check its method by; where only the data tell, one that every method fits."""
    written = document.content.get("task")
    name = written.get("name") if isinstance(written, dict) else written
    kinds: dict[str, Task] = {
        "multilabel": MultiLabel(),
        "regression": Regression(1.0),
        "dense": Dense(),
        "language": Language(),
    }
    return kinds.get(name, Classification()) if isinstance(name, str) else Classification()


def left(model: RecordsModel, folder: Path) -> RecordsModel:
    """The same network with the weights that a run left."""
    return model.model_copy(update={"weights": folder, "format": "safetensors", "prefix": ""})
