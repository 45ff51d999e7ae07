"""Faults of method, step and training, whose keys are those of a function: found before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from functools import partial
from typing import Any

from torch import nn

from unweave.errors import ConfigurationError, UnsupportedError, follows, gathered, suggest
from unweave.methods import METHODS, OVER, RETAIN_ONLY, divided
from unweave.oneshot import CATALOGUE, ONESHOT, OneShot
from unweave.recipe import faults
from unweave.recipe.auto import AUTO, Auto, word
from unweave.recipe.sections import NamedSection
from unweave.recipe.steps import STEPS
from unweave.recipe.yaml_lines import Document
from unweave.tasks import Task


def faults_of(document: Document, task: Task, training: Callable[..., Any]) -> list[str]:
    """What is wrong with method, step and training: unknown names and keys, and values they cannot have.

    Args:
        document: the recipe.
        task: what the modality's models do.
        training: what the keys of `training` belong to.
    """
    found = _of_named(document, "step", STEPS, lambda name, given: STEPS[name](**given))
    found += _of_named(document, "method", {**CATALOGUE, AUTO: Auto}, partial(_row, document, task))
    found += [*_of_auto(document), *_of_other(document, task), *_of_oneshot(document), *_of_forget_loss(document)]
    return [*found, *_of_training(document, training)]


def check_method(section: NamedSection, task: Task) -> None:
    """Refuses a method, and the one whose losses it takes, that the task does not fit.

    Raises:
        UnsupportedError, ConfigurationError: what the row says.
    """
    if section.name in ONESHOT:
        OneShot(section.name, section.arguments).read(task)
        return
    if section.name == AUTO:
        Auto(**section.arguments).candidates(task)
        return
    own, other = divided(section.arguments)
    for name, arguments in [(section.name, own), *filter(None, [other])]:
        METHODS[name](task, nn.Module(), **arguments)


def _of_named(
    document: Document,
    section: str,
    table: Mapping[str, Callable[..., Any]],
    make: Callable[[str, Mapping[str, Any]], object],
) -> list[str]:
    """Of a section with the name of a function and arguments of it, which is called to hear what it says of them."""
    written = document.content.get(section)
    name = written.get("name") if isinstance(written, dict) else None
    if not isinstance(written, dict) or not isinstance(name, str):
        return []  # the model has already said what is wrong
    if name not in table:
        place = document.place((section, "name"))
        return [f"{place}: {section}.name: unknown {section} {name!r}.{suggest(name, table)}"]
    given = {key: value for key, value in written.items() if key not in ("name", OVER)}
    return _of_arguments(table[name], given, document, section, partial(make, name))


def _of_arguments(
    function: Callable[..., Any],
    given: Mapping[str, Any],
    document: Document,
    section: str,
    make: Callable[[Mapping[str, Any]], object],
    complete: bool = True,
) -> list[str]:
    """Of arguments: those that the signature tells, and what `make` says of the others.

    What has to be there and is not, or not of its type, is a number meanwhile that it could be.
    """
    found = faults.of_call(function, given, document, section, complete=complete)
    rest = dict.fromkeys(faults.required(function), 1) | {k: v for k, v in given.items() if k not in found}
    return [*found.values(), *heard(lambda: make(rest), given, document, section, found.keys())]


def _row(document: Document, task: Task, name: str, arguments: Mapping[str, Any]) -> None:
    """A row of the catalogue, of a model that is none.

    Raises:
        ConfigurationError: what the row says of its arguments.
    """
    if name in ONESHOT:
        OneShot(name, arguments).read(task)
        return
    if name == AUTO:
        Auto(**arguments).candidates(task)
        return
    gathered(partial(METHODS[name], task, nn.Module(), **arguments), partial(_contract, document, arguments))


def _contract(document: Document, arguments: Mapping[str, Any]) -> None:
    """There is one where a hyperparameter is derived from it.

    Raises:
        ConfigurationError: there is none.
    """
    if document.content.get("contract", ...) in ("none", None):
        auto = [key for key, value in arguments.items() if value == "auto"]
        if auto:
            raise ConfigurationError(f"{key} is 'auto': a contract derives it, and the recipe has none" for key in auto)


def heard(
    make: Callable[[], object],
    given: Mapping[str, Any],
    document: Document,
    section: str,
    refused: Set[str] = frozenset(),
) -> list[str]:
    """The faults that a function finds in its arguments, each with its place; `refused` are told already."""
    try:
        make()
    except ConfigurationError as error:
        found, path = [], tuple(section.split("."))
        told = [each.removeprefix(f"{section}.") for each in error.faults]
        for text in (each for each in told if not follows(each, refused)):
            key = text.split()[0]
            named = key in given
            found.append(f"{document.place((*path, key) if named else path)}: {section}{'.' if named else ': '}{text}")
        return found
    except UnsupportedError as error:
        if error.__cause__ is None:  # not for want of a package: a recipe can be read where it cannot be run
            return [f"{document.place(tuple(section.split('.')))}: {section}: {error}"]
    return []


def _of_auto(document: Document) -> list[str]:
    """A race is judged by a contract, on one request."""
    method = word(document.content.get("method"))
    if not isinstance(method, dict) or method.get("name") != AUTO:
        return []
    found = []
    if document.content.get("contract", ...) in ("none", None):
        found.append("auto races methods that a contract's guard set judges, and the recipe has none: give one")
    if document.content.get("requests"):
        found.append("auto is for one request ('forget'): of several, and in a ledger, name the method")
    return [f"{document.place(('method',))}: method: {text}" for text in found]


def _of_other(document: Document, task: Task) -> list[str]:
    """Of `method.over`: the name of a row, or a mapping of its name and hyperparameters."""
    written = document.content.get("method")
    other = written.get("over") if isinstance(written, dict) else None
    if other is None:
        return []
    name = other.get("name") if isinstance(other, dict) else other
    where = f"{document.place(('method', 'over'))}: method.over"
    if not isinstance(name, str):
        return [f"{where}: expected the name of a method, or a mapping with its 'name'; found {other!r}"]
    if name not in METHODS:
        return [f"{where}: unknown method {name!r}, or one without losses.{suggest(name, METHODS)}"]
    given = {key: value for key, value in other.items() if key != "name"} if isinstance(other, dict) else {}
    return _of_arguments(METHODS[name], given, document, "method.over", partial(_row, document, task, name))


NO_REPAIR = (None, "auto", False)
"""`run.repair` under which a method without steps has no second phase either."""


def _of_oneshot(document: Document) -> list[str]:
    """A method without steps has no losses to take and no step length."""
    method, step, model, run = (document.content.get(each) for each in ("method", "step", "model", "run"))
    name = method.get("name") if isinstance(method, dict) else None
    if not isinstance(method, dict) or not isinstance(name, str) or name not in ONESHOT:
        return []
    found: dict[tuple[str, str], str] = {}
    if OVER in method:
        found["method", OVER] = f"{name} takes no steps and no other row's losses"
    if isinstance(step, dict) and step.get("name", "trust") != "trust":
        found["step", "name"] = f"{name} takes no steps: leave the section out"
    for key in ("until", "relearner"):
        if isinstance(run, dict) and run.get(key, "auto") not in ("auto", None, 0) and run.get("repair") in NO_REPAIR:
            found["run", key] = f"{name} takes no steps along a forget loss: leave it out, or repair: true"
    if isinstance(model, dict) and model.get("lora") is not None:
        found["model", "lora"] = (
            f"{name} changes the weights themselves, and those of new adapters are zero: leave it out"
        )
    return [f"{document.place(where)}: {'.'.join(where)}: {what}" for where, what in found.items()]


def _of_forget_loss(document: Document) -> list[str]:
    """A method without a forget loss has nothing to end, and nothing to read where a relearner leads; the run would say
    so, but after training the original.
    """
    method, run = (document.content.get(section) for section in ("method", "run"))
    if not (isinstance(method, dict) and isinstance(run, dict)) or OVER in method:
        return []
    name, found = method.get("name"), []
    if isinstance(name, str) and name in RETAIN_ONLY:
        found += [("until", "that could end")] if run.get("until", "auto") not in ("auto", None) else []
        found += [("relearner", "to read where a relearner leads")] if run.get("relearner", 0) else []
    return [
        f"{document.place(('run', key))}: run.{key}: {name} has no forget loss {what}: leave it out"
        for key, what in found
    ]


def _of_training(document: Document, kind: Callable[..., Any]) -> list[str]:
    """What the data's own training does not say is filled in with a number that it could be."""
    written = document.content.get("training")
    if not isinstance(written, dict):
        return []
    return _of_arguments(kind, written, document, "training", lambda filled: kind(**filled), complete=False)
