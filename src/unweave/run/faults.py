"""Every fault of a recipe in words: where it is, what was expected, what was found, what was probably meant."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from unweave.errors import suggest
from unweave.run.marks import Document, Location


def of_model(error: ValidationError, model: type[BaseModel], document: Document) -> list[str]:
    """One message per fault that pydantic found in `document` read as `model`."""
    return [_fault(item, model, document) for item in error.errors(include_url=False)]


def of_call(
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    document: Document,
    section: str,
    *,
    taken: Iterable[str] = (),
    complete: bool = True,
) -> list[str]:
    """Faults of `arguments` as keyword arguments of `function`.

    Args:
        function: what they will be given to.
        arguments: what the recipe says.
        document: where it says it.
        section: the section that it says it in.
        taken: parameters that are not the recipe's to set.
        complete: whether parameters without a default must be given.
    """
    parameters = hyperparameters(function, taken)
    hints = get_type_hints(function.__init__ if inspect.isclass(function) else function)
    faults = []
    for name, value in arguments.items():
        where = f"{document.place((section, name))}: {section}.{name}"
        if name not in parameters:
            known = ", ".join(parameters) or "none"
            faults.append(f"{where}: unknown key.{suggest(name, list(parameters))} It takes: {known}.")
        elif problem := _mismatch(value, hints.get(name, Any)):
            faults.append(f"{where}: {problem}")
    required = [name for name, p in parameters.items() if p.default is p.empty and name not in arguments]
    if complete and required:
        place = document.place((section,))
        faults += [f"{place}: {section}: '{name}' is missing" for name in required]
    return faults


def hyperparameters(function: Callable[..., Any], taken: Iterable[str]) -> dict[str, inspect.Parameter]:
    """The parameters of `function` that a recipe may set."""
    return {k: p for k, p in inspect.signature(function).parameters.items() if k not in set(taken)}


def _mismatch(value: Any, hint: Any) -> str:
    """What is wrong with `value` as a `hint`; empty if nothing, or if the hint is not one that data can be checked against."""
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(hint, config=ConfigDict(strict=True))
    except PydanticUserError:
        return ""
    try:
        adapter.validate_json(json.dumps(value, default=str))
    except ValidationError as error:
        expected = " or ".join(dict.fromkeys(_expected(item["msg"]) for item in error.errors(include_url=False)))
        return f"expected {expected}, found {value!r}"
    return ""


def _fault(item: Any, model: type[BaseModel], document: Document) -> str:
    location: Location = item["loc"]
    name = ".".join(map(str, location))
    place = document.place(location)
    match item["type"]:
        case "extra_forbidden":
            known = _keys(model, location[:-1])
            return f"{place}: {name}: unknown key.{suggest(str(location[-1]), known)} Known here: {', '.join(known)}."
        case "missing":
            parent = ".".join(map(str, location[:-1])) or "the recipe"
            return f"{document.place(location[:-1])}: {parent}: '{location[-1]}' is missing"
        case "value_error":
            return f"{place}: {name}: {item['ctx']['error']}"
        case "literal_error":
            options = [part.strip("' ") for part in item["ctx"]["expected"].replace(" or ", ",").split(",")]
            hint = suggest(str(item["input"]), options)
            return f"{place}: {name}: expected one of {', '.join(options)}, found {item['input']!r}.{hint}"
        case _:
            return f"{place}: {name}: expected {_expected(item['msg'])}, found {item['input']!r}"


def _expected(message: str) -> str:
    """Pydantic's "Input should be a valid integer" as "an integer"."""
    text = message.removeprefix("Input should be ").removeprefix("Input should have ")
    text = text.replace("a valid integer", "an integer").replace("a valid ", "a ").replace("a string", "text")
    return text.replace("a number", "a number").replace("a boolean", "true or false").replace("an object", "a mapping")


def _keys(model: type[BaseModel], location: Location) -> list[str]:
    """The keys that are known at `location` inside `model`."""
    for step in location:
        found = next((f for k, f in model.model_fields.items() if step in (k, f.alias)), None)
        kinds = [] if found is None else [found.annotation, *get_args(found.annotation)]
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not inner:
            return []
        model = inner[0]
    return [field.alias or name for name, field in model.model_fields.items()]
