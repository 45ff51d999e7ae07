"""An experiment as a file: a recipe and axes of overrides, what is read of every run, claims, reported numbers."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ValidationError, model_validator

from unweave.errors import ConfigurationError, suggest
from unweave.modalities import MODALITIES, checked
from unweave.papers.measures import MEASURES, parsed
from unweave.recipe.faults import of_model
from unweave.recipe.recipe import Recipe
from unweave.recipe.sections import STRICT, Count, ExistingPath, Natural, Positive
from unweave.recipe.yaml_lines import Document, load

SCALES = ("small", "paper")
METHOD = "method"
"""The axis that `--with` adds to, and on which tables show the models beside the unlearned one, too."""
ENDS = ("original", "retrained", "retrained again")
Overrides = dict[str, Any]
Where = dict[str, str]


def _measure(text: str) -> str:
    name, known = parsed(text)[0], [*MEASURES, *(score for each in MODALITIES.values() for score in each.metrics)]
    if name not in known:
        raise ValueError(f"no measure and no score is called {name!r}.{suggest(name, known)} `unweave metrics` has all")
    return text


Measure = Annotated[str, AfterValidator(_measure)]


class Sizes(BaseModel):
    """What the cost of a run follows from, before anything is loaded.

    `parameters` of the model, of `width` bytes each, of which `moving` move; `forward`: floating-point operations of
    one example's forward pass, `activations`: numbers that it keeps for the backward pass; `trained` models of
    `epochs` over `examples` are what a seed trains; `speed`: operations a second that are to be expected.
    """

    model_config = STRICT
    parameters: Positive
    moving: Positive | None = None
    width: Count = 4
    forward: Positive
    activations: Positive
    examples: Count
    epochs: Natural = 0
    trained: Natural = 0
    speed: Positive


class Scale(BaseModel):
    """One size of an experiment: an ordinary recipe, its seeds, and what it needs; axes that differ at this size.

    `seeded` are the keys that take the seed, where they are others than the experiment's. `took` are seconds that all
    of it took on one core, measured.
    """

    model_config = STRICT
    recipe: ExistingPath
    seeds: tuple[Natural, ...]
    needs: str
    axes: dict[str, dict[str, Overrides]] = {}
    seeded: tuple[str, ...] | None = None
    sizes: Sizes | None = None
    took: Positive | None = None


class Claim(BaseModel):
    """A sentence of a paper that numbers answer.

    `measure` of the cells `of`; less that of the cells `than`, seed by seed, where it is given; or its correlation with
    the numbers that the axis `along` is labelled with. Cells that one of the two names do not tell apart are averaged.
    """

    model_config = STRICT
    text: str
    measure: Measure
    of: Where = {}
    than: Where | None = None
    along: str | None = None
    at_least: float | None = None
    at_most: float | None = None
    reported: str = ""

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("expected exactly one of at_least, at_most")
        if self.than is not None and self.along is not None:
            raise ValueError("expected at most one of than, along")
        return self


class Figure(BaseModel):
    """`trajectories`: of the runs at `where`, by the axis; or `measure` along one axis, a curve for each `by`."""

    model_config = STRICT
    title: str
    trajectories: str | None = None
    measure: Measure | None = None
    along: str | None = None
    by: str | None = None
    where: Where = {}

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.trajectories is None) == (None in (self.measure, self.along, self.by)):
            raise ValueError("expected trajectories, or measure, along and by")
        return self


class Reported(BaseModel):
    """A number of the paper: in the row that `of` names, under `measure`, and how it is known."""

    model_config = STRICT
    of: Where
    measure: Measure
    value: float
    known: Literal["paper", "digest", "review", "summary", "table of open-unlearning"]


class Experiment(BaseModel):
    """One experiment of a paper."""

    model_config = STRICT
    title: str
    paper: str
    about: str
    scales: dict[Literal["small", "paper"], Scale]
    axes: dict[str, dict[str, Overrides]]
    seeded: tuple[str, ...] = ("run.seed", "training.seed", "forget.seed")
    columns: tuple[Measure, ...]
    figures: tuple[Figure, ...] = ()
    claims: tuple[Claim, ...] = ()
    reported: tuple[Reported, ...] = ()

    @model_validator(mode="after")
    def _names(self) -> Self:
        for where in self._wheres():
            for axis, label in where.items():
                self._axis(axis)
                if label not in (known := self._labels(axis)):
                    raise ValueError(f"{axis} has no {label!r}.{suggest(label, known)} It has: {', '.join(known)}")
        along = [name for figure in self.figures for name in (figure.along, figure.by, figure.trajectories)]
        for name in filter(None, [*(claim.along for claim in self.claims), *along]):
            self._axis(name)
        return self

    def _axis(self, name: str) -> None:
        if name not in self.axes:
            raise ValueError(f"expected one of the axes {', '.join(self.axes)}, found {name!r}")

    def _labels(self, axis: str) -> list[str]:
        """Of an axis, at any scale; on that of methods stand the models beside the unlearned one, too."""
        every = [self.axes, *(scale.axes for scale in self.scales.values())]
        found = [label for axes in every for label in axes.get(axis, ())]
        return [*dict.fromkeys(found), *(ENDS if axis == METHOD else ())]

    def _wheres(self) -> Iterator[Where]:
        yield from (claim.of for claim in self.claims)
        yield from (claim.than for claim in self.claims if claim.than is not None)
        yield from (figure.where for figure in self.figures)
        yield from (number.of for number in self.reported)

    def at(self, scale: str) -> Scale:
        """One of its sizes.

        Raises:
            ConfigurationError: it has no such.
        """
        if scale not in self.scales:
            raise ConfigurationError(f"{self.title}: there is no scale {scale!r}, only {', '.join(self.scales)}")
        return self.scales[scale]

    def grid(self, scale: str, own: Mapping[str, str] | None = None) -> dict[str, dict[str, Overrides]]:
        """The axes at a scale; `own` are methods of the user's by their names, which join the axis of methods."""
        axes = {name: self.at(scale).axes.get(name, labels) for name, labels in self.axes.items()}
        if own:
            if METHOD not in axes:
                raise ConfigurationError(f"{self.title}: it compares no methods: --with has no place in it")
            if twice := sorted({*own} & {*axes[METHOD], *ENDS}):
                raise ConfigurationError(f"--with: the table has a row {twice[0]!r} already: rename the function")
            axes[METHOD] = axes[METHOD] | {label: {METHOD: {"name": name}} for label, name in own.items()}
        return axes

    def cells(self, scale: str, own: Mapping[str, str] | None = None) -> list[Cell]:
        """Every run, row by row of the table and seed by seed."""
        axes, at = self.grid(scale, own), self.at(scale)
        seeded = self.seeded if at.seeded is None else at.seeded
        found = []
        for labels in itertools.product(*axes.values()):
            where = dict(zip(axes, labels, strict=True))
            for seed in at.seeds:
                values = {key: value for axis, label in where.items() for key, value in axes[axis][label].items()}
                found.append(Cell(at.recipe, where, seed, {**values, **dict.fromkeys(seeded, seed)}))
        return found


@dataclass(frozen=True)
class Cell:
    """One run of a grid: where in it, from which seed, and what it says other than the recipe."""

    path: Path
    where: Where
    seed: int
    overrides: Overrides

    @property
    def name(self) -> str:
        """Of its folder."""
        labels = (re.sub(r"[^a-z0-9.]+", "-", label.lower()).strip("-") for label in self.where.values())
        return "_".join((*labels, f"seed{self.seed}"))

    def document(self, overrides: Sequence[str] = ()) -> Document:
        """What its recipe says."""
        own = (f"{key}={json.dumps(value)}" for key, value in self.overrides.items())
        return load(self.path).override([*own, *overrides])

    def recipe(self, overrides: Sequence[str] = ()) -> Recipe:
        """The recipe of its run.

        Raises:
            ConfigurationError: every fault of it.
        """
        return checked(self.document(overrides), self.path.resolve().parent)


def folder() -> Path:
    """Where the papers' experiments lie: in the installed package, or in the repository."""
    installed = Path(__file__).parents[1] / "examples"
    return (installed if installed.is_dir() else Path(__file__).parents[3] / "examples") / "papers"


def known() -> dict[str, Path]:
    """The files of all experiments, by their names such as hamu/cifar10-rho."""
    files = sorted(folder().glob("*/*.yaml"))
    return {f"{each.parent.name}/{each.stem}": each for each in files if not each.stem.endswith(SCALES)}


def open_(name: str | Path) -> Experiment:
    """An experiment by its name, or by the path of a file of one's own.

    Raises:
        ConfigurationError: no such experiment, or every fault of its file.
    """
    every, path = known(), Path(name)
    if str(name) in every:
        path = every[str(name)]
    elif path.suffix not in (".yaml", ".yml"):
        raise ConfigurationError(
            f"no experiment {str(name)!r}.{suggest(str(name), every)} There are: {', '.join(every)}."
        )
    document = load(path)
    try:
        return Experiment.model_validate_json(document.to_json(), context={"folder": path.resolve().parent})
    except ValidationError as error:
        raise ConfigurationError(of_model(error, Experiment, document)) from error
