"""Every fault of a recipe in words: where it is, what was expected, what was found, what was meant."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from unweave.errors import suggest
from unweave.recipe.yaml_lines import Document, Location

GIVEN = ("task", "original", "mask")
"""Parameters of methods and steps that a run gives, not its recipe."""
DATA = ("model", "forget", "retain")
"""The same of methods without steps; elsewhere these are weights, which have a default."""


def of_model(
    error: ValidationError,
    model: type[BaseModel],
    document: Document,
    others: Mapping[str, type[BaseModel]] | None = None,
    own: str = "",
) -> list[str]:
    """One message per fault that pydantic found in a recipe.

    Args:
        error: what it found.
        model: what the recipe was read as.
        document: the recipe.
        others: what it could have been of, by the names of their modalities.
        own: the modality that it is of; "" where that is unknown: what is a key of any is no fault then.
    """
    groups: dict[tuple[Location, Location], list[Any]] = {}
    for item in error.errors(include_url=False):
        each = item["loc"] if item["type"] == "missing" else ()
        groups.setdefault((_written(item, document), each), []).append(item)
    for short in [key for key, items in groups.items() if items[0]["type"] == "too_short" and key[0]]:
        if any(place[: len(short[0])] == short[0] and place != short[0] for place, _ in groups):
            del groups[short]  # there are enough, and one of them is wrong
    elsewhere = partial(_elsewhere, others or {}, document, own)
    return [
        _fault(location, items, model, document, elsewhere)
        for (location, _), items in groups.items()
        if own or items[0]["type"] != "extra_forbidden" or not elsewhere(location)
    ]


def _elsewhere(others: Mapping[str, type[BaseModel]], document: Document, own: str, location: Location) -> str:
    """That a key is for another modality, if it is; what is around it stands in this one as well."""
    names = [name for name, other in others.items() if str(location[-1]) in _keys(other, location[:-1])]
    data = document.content.get("data")
    source = data.get("source") if isinstance(data, dict) else None
    what = "this recipe" if source is None else f"the source {source!r}"
    return f"is for {' and '.join(names)}, and {what} has {own}." if names else ""


def of_call(
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    document: Document,
    section: str,
    *,
    complete: bool = True,
) -> dict[str, str]:
    """Faults of `arguments` as keyword arguments of `function`, by their names.

    Args:
        function: what they will be given to.
        arguments: what the recipe says.
        document: where it says it.
        section: the section that it says it in.
        complete: whether parameters without a default must be given.
    """
    parameters = hyperparameters(function)
    hints = get_type_hints(function.__init__ if inspect.isclass(function) else function)
    faults: dict[str, str] = {}
    for name, value in arguments.items():
        where = f"{document.place((*section.split('.'), name))}: {section}.{name}"
        if name not in parameters:
            known = ", ".join(parameters) or "none"
            faults[name] = f"{where}: unknown key.{suggest(name, list(parameters))} It takes: {known}."
        elif problem := _mismatch(value, hints.get(name, Any)):
            faults[name] = f"{where}: {problem}"
    if complete:
        missing = f"{document.place((section,))}: {section}: "
        faults |= {k: f"{missing}'{k}' is missing" for k in required(function) if k not in arguments}
    return faults


def hyperparameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of `function` that a recipe may set."""
    every = inspect.signature(function).parameters
    return {k: p for k, p in every.items() if k not in GIVEN and not (k in DATA and p.default is p.empty)}


def required(function: Callable[..., Any]) -> list[str]:
    """Those of them without a default."""
    return [name for name, p in hyperparameters(function).items() if p.default is p.empty]


def defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """What the parameters are that a recipe may set and did not; those without a default are left out."""
    return {k: p.default for k, p in hyperparameters(function).items() if p.default is not p.empty}


def _mismatch(value: Any, hint: Any) -> str:
    """What is wrong with `value` as a `hint`; nothing where data cannot be checked against the hint."""
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(hint, config=ConfigDict(strict=True))
    except PydanticUserError:
        return ""
    try:
        adapter.validate_json(json.dumps(value, default=str))
    except ValidationError as error:
        return _instead(error.errors(include_url=False), value)
    return ""


def _fault(
    location: Location,
    items: Sequence[Any],
    model: type[BaseModel],
    document: Document,
    elsewhere: Callable[[Location], str],
) -> str:
    """One message for the faults of one key: several where it may be of several types, and is of none."""
    first, name = items[0], ".".join(map(str, location)) or "the recipe"
    where = f"{document.place(location)}: {name}"
    match first["type"]:
        case "extra_forbidden":
            known, key = _keys(model, location[:-1]), str(location[-1])
            if told := elsewhere(location):
                one_of = getattr(_inside(model, location[:-1]), "ONE_OF", ())
                return f"{where}: {told}" + (f" Use {', '.join(one_of[:-1])} or {one_of[-1]}." if one_of else "")
            return f"{where}: unknown key.{suggest(key, known)} Known here: {', '.join(known)}."
        case "missing":
            return f"{where}: '{first['loc'][-1]}' is missing"
        case "value_error":
            return f"{where}: {first['ctx']['error']}"
        case "literal_error":
            options = [part.strip("' ") for part in first["ctx"]["expected"].replace(" or ", ",").split(",")]
            hint = suggest(str(first["input"]), options)
            return f"{where}: expected one of {', '.join(options)}, found {first['input']!r}.{hint}"
        case "too_short":
            return f"{where}: expected at least {first['ctx']['min_length']}, found {first['input']!r}"
        case _:
            return f"{where}: {_instead(items, first['input'])}"


def _written(item: Any, document: Document) -> Location:
    """The part of a fault's location that stands in the recipe; pydantic adds the types that it tried."""
    location, value = item["loc"], document.content
    for end, key in enumerate(location):
        if not (isinstance(value, dict) and key in value) and not (
            isinstance(value, list) and key in range(len(value))
        ):
            return location[:end]
        value = value[key]
    return location


def _instead(items: Sequence[Any], found: Any) -> str:
    expected = dict.fromkeys(_expected(item["msg"]) for item in items)
    return f"expected {' or '.join(expected)}, found {found!r}"


def _expected(message: str) -> str:
    """Pydantic's "Input should be a valid integer" as "an integer"."""
    words = {
        "a valid integer": "an integer",
        "a valid array": "a list",
        "a valid ": "a ",
        "a string": "text",
        "a boolean": "true or false",
        "an object": "a mapping",
    }
    text = message.removeprefix("Input should be ").removeprefix("Input should have ")
    for pydantic, ours in words.items():
        text = text.replace(pydantic, ours)
    return text


def _parts(annotation: Any) -> Iterator[Any]:
    """A type and all that it is made of."""
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)


def _keys(model: type[BaseModel], location: Location) -> list[str]:
    """The keys that are known at `location` inside `model`."""
    inner = _inside(model, location)
    return [] if inner is None else [field.alias or name for name, field in inner.model_fields.items()]


def _inside(model: type[BaseModel], location: Location) -> type[BaseModel] | None:
    """What stands at `location` inside `model`; None where that is no mapping."""
    for step in location:
        if isinstance(step, int):  # an entry of a list is of the list's kind
            continue
        found = next((f for k, f in model.model_fields.items() if step in (k, f.alias)), None)
        kinds = [] if found is None else list(_parts(found.annotation))
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not inner:
            return None
        model = inner[0]
    return model
