"""A recipe: one run as strict YAML, every fault reported at once with its file and line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, ValidationError, field_serializer, model_validator

from unweave.errors import ConfigurationError
from unweave.run import faults, modality, options
from unweave.run.contract import ContractSection
from unweave.run.evidence.section import EvidenceSection
from unweave.run.marks import Document, dump, load
from unweave.run.sections import (
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
    is_name,
)

__all__ = ["DataSection", "ForgetSection", "NamedSection", "OpenSection", "Recipe", "RunSection", "read"]


def _nothing(value: Any) -> Any:
    return None if value == "none" else value


class Recipe(BaseModel):
    """One run: data, request, model, method, step length, contract, evaluation, evidence.

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
    method: NamedSection = NamedSection(name="hamu_q")
    step: NamedSection = NamedSection(name="trust")
    contract: Annotated[ContractSection | None, BeforeValidator(_nothing)] = ContractSection()
    run: RunSection = RunSection()
    guards: GuardsSection = GuardsSection()
    evaluation: EvaluationSection = EvaluationSection()
    evidence: EvidenceSection = EvidenceSection()
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

    def check_models(self) -> None:
        """Refuse models that are not where the recipe says; a recipe is read without them, a run needs them.

        Raises:
            ConfigurationError: each that is no file or folder and no name on the hub, and how to get it.
        """
        names = {f"model.{key}": getattr(self.model, key) for key in ("weights", "base", "adapter")}
        names["evaluation.reference"] = self.evaluation.reference
        gone = {key: path for key, path in names.items() if path and not is_name(path) and not path.exists()}
        how = "give the .safetensors file or the folder of a run that holds it"
        if self.data.source not in modality.IMAGES:
            how = (
                "fetch it (`hf download OWNER/NAME --local-dir FOLDER`; SmolLM2-135M-Instruct: `python "
                "scripts/smollm2.py`), or give a folder that holds it or its name on the hub, owner/name"
            )
        if gone:
            raise ConfigurationError([f"{key}: no such file or folder: {path}: {how}" for key, path in gone.items()])

    def to_yaml(self) -> str:
        """The recipe with every default written out."""
        return dump(self.plain())

    def plain(self) -> dict[str, Any]:
        """All that it says, ready for JSON."""
        return modality.pruned(self.model_dump(mode="json", by_alias=True))


def read(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML file, `section.key=value` overrides applied.

    Raises:
        ConfigurationError: all faults at once, each as `file:line: section.key: expected this, found that`.
    """
    return checked(load(path).override(overrides), path.resolve().parent)


def checked(document: Document, folder: Path) -> Recipe:
    """The recipe in a document, whose relative paths are relative to `folder`.

    Raises:
        ConfigurationError: as `read`.
    """
    document = modality.filled(document)
    found: list[str] = modality.misplaced(document)
    try:
        recipe = Recipe.model_validate_json(document.to_json(), context={"folder": folder})
    except ValidationError as error:
        found += faults.of_model(error, Recipe, document)
        if not {"forget", "requests"} & document.content.keys() and not any("requests" in fault for fault in found):
            found.append(f"{document.place(())}: the recipe: 'forget' is missing (or 'requests')")
    found += options.faults_of(document)
    if found:
        raise ConfigurationError(found)
    return recipe
