"""From YAML to the recipe of its modality: every fault reported at once, with its file and line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from unweave.errors import ConfigurationError, nearest, suggest
from unweave.modalities._base import Modality
from unweave.recipe import faults
from unweave.recipe import open_sections as signatures
from unweave.recipe.recipe import Recipe
from unweave.recipe.yaml_lines import Document, load


def read(modalities: Mapping[str, Modality], path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a YAML file, `section.key=value` overrides applied.

    Raises:
        ConfigurationError: all faults at once, each as `file:line: section.key: expected this, found that`.
    """
    return checked(modalities, load(path).override(overrides), path.resolve().parent)


def checked(modalities: Mapping[str, Modality], document: Document, folder: Path) -> Recipe:
    """The recipe in a document, whose relative paths are relative to `folder`.

    Raises:
        ConfigurationError: as `read`.
    """
    own = of_document(modalities, document)
    kind = own or _meant(modalities, document)
    others = {each.name: each.recipe for each in modalities.values() if each.name != kind.name}
    document = _without_what_earlier_versions_wrote(document, kind)
    found, recipe = [*_unknown(modalities, document)] if own is None else own.faults(document), None
    try:
        recipe = kind.recipe.model_validate_json(document.to_json(), context={"folder": folder})
    except ValidationError as error:
        told = faults.of_model(error, kind.recipe, document, others, own.name if own else "")
        found += [each for each in told if own is not None or " data.source: " not in each]  # that is said already
        if not {"forget", "requests"} & document.content.keys() and not any("requests" in fault for fault in found):
            found.append(f"{document.place(())}: the recipe: 'forget' is missing (or 'requests')")
    found += signatures.faults_of(document, kind.task(document), kind.training)
    if found or recipe is None:
        raise ConfigurationError(found)
    return recipe


def _without_what_earlier_versions_wrote(document: Document, kind: Modality) -> Document:
    """A run's own recipe without keys of another modality in `evaluation`, of which runs of images had one."""
    written = document.content.get("evaluation")
    if "environment" not in document.content or not isinstance(written, dict):
        return document
    known = type(kind.recipe.model_fields["evaluation"].default).model_fields
    content = {**document.content, "evaluation": {key: value for key, value in written.items() if key in known}}
    return Document(content, document.name, document.places)


def _unknown(modalities: Mapping[str, Modality], document: Document) -> Iterator[str]:
    """That a source is none of any modality."""
    source = source_of(modalities, document)
    if source is not None:
        every = [name for each in modalities.values() for name in each.sources]
        found = f"found {source!r}.{suggest(str(source), every)}"
        yield f"{document.place(('data', 'source'))}: data.source: expected one of {', '.join(every)}, {found}"


def _meant(modalities: Mapping[str, Modality], document: Document) -> Modality:
    """Of a source that is none of any: the modality of the one that is called most alike, else the first."""
    by = {name: each for each in modalities.values() for name in each.sources}
    close = nearest(str(source_of(modalities, document)), by)
    return next(iter(modalities.values())) if close is None else by[close]


def of_document(modalities: Mapping[str, Modality], document: Document) -> Modality | None:
    """The modality of what a recipe says; None where its source is none of any."""
    source = source_of(modalities, document)
    return next((each for each in modalities.values() if source in each.sources), None)


def source_of(modalities: Mapping[str, Modality], document: Document) -> object:
    """The data source that a recipe says, or that a key of `data` is called like; None where it says none."""
    data = document.content.get("data")
    if not isinstance(data, dict):
        return None
    every = (source for each in modalities.values() for source in each.sources)
    return data["source"] if "source" in data else next((source for source in every if source in data), None)
