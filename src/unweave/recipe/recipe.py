"""A recipe: one run as strict YAML. What every modality's has; `modalities.read` reads one."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, field_serializer, model_validator

from unweave.recipe.auto import word
from unweave.recipe.contract import ContractSection
from unweave.recipe.sections import (
    STRICT,
    AnyPath,
    DataSection,
    EvaluationSection,
    ForgetSection,
    GuardsSection,
    ModelSection,
    NamedSection,
    OpenSection,
    RunSection,
    SequenceSection,
    nothing,
)
from unweave.recipe.yaml_lines import dump


class Recipe(BaseModel):
    """One run: data, request, model, method, step length, contract, evaluation.

    `requests` in the place of `forget` are several runs, one after another. `already` are earlier requests, whose rows
    are no longer in the training set.
    """

    model_config = STRICT
    version: Literal[1] = 1
    data: DataSection
    forget: ForgetSection | None = None
    requests: tuple[ForgetSection, ...] = ()
    already: tuple[ForgetSection, ...] = ()
    sequence: SequenceSection = SequenceSection()
    model: ModelSection = ModelSection()
    training: OpenSection = OpenSection()
    method: Annotated[NamedSection, BeforeValidator(word)] = NamedSection(name="hamu_q")
    step: NamedSection = NamedSection(name="trust")
    contract: Annotated[ContractSection | None, BeforeValidator(nothing)] = ContractSection()
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
        return self

    @field_serializer("contract", when_used="json")
    def _written(self, value: ContractSection | None) -> Any:
        return "none" if value is None else value.model_dump(mode="json")

    def to_yaml(self) -> str:
        """The recipe with every default written out."""
        return dump(self.plain())

    def plain(self) -> dict[str, Any]:
        """All that it says, ready for JSON."""
        return self.model_dump(mode="json", by_alias=True)
