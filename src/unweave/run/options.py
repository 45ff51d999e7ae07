"""Faults of the sections whose keys are those of a function, and of the network: found before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from unweave import networks
from unweave.errors import ConfigurationError, UnsupportedError, suggest
from unweave.methods import METHODS, OVER, Method
from unweave.oneshot import CATALOGUE, ONESHOT
from unweave.parameters import choose
from unweave.run import faults, modality
from unweave.run.marks import Document
from unweave.run.steps import STEPS
from unweave.run.training import DEFAULTS
from unweave.tasks import Language, Vision


def faults_of(document: Document) -> list[str]:
    """What is wrong with method, step, training and model: unknown names and keys, and values they cannot have."""
    found = _of_named(document, "step", STEPS, lambda name, given: STEPS[name](**given))
    found += _of_named(document, "method", CATALOGUE, lambda name, given: _row(document, name, given))
    return [*found, *_of_other(document), *_of_oneshot(document), *_of_training(document), *_of_model(document)]


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
    found = faults.of_call(table[name], given, document, section)
    return found or _heard(lambda: make(name, given), given, document, section)


def _row(document: Document, name: str, arguments: Mapping[str, Any]) -> None:
    """A row of the catalogue, of a model that is none.

    Raises:
        ConfigurationError: what the row says of its arguments.
    """
    if name in ONESHOT:
        return
    task = Language() if modality.of_document(document) == "texts" else Vision()
    made: Method = METHODS[name](task, nn.Module(), **arguments)
    if made.rule.needs_contract and document.content.get("contract", ...) in ("none", None):
        auto = [key for key, value in arguments.items() if value == "auto"]
        raise ConfigurationError(f"{key} is 'auto': a contract derives it, and the recipe has none" for key in auto)


def _heard(make: Callable[[], object], given: Mapping[str, Any], document: Document, section: str) -> list[str]:
    """The faults that a function finds in its arguments, each with its place."""
    try:
        make()
    except ConfigurationError as error:
        found, path = [], tuple(section.split("."))
        for text in (each.removeprefix(f"{section}.") for each in error.faults):
            key = text.split()[0]
            named = key in given
            found.append(f"{document.place((*path, key) if named else path)}: {section}{'.' if named else ': '}{text}")
        return found
    except UnsupportedError as error:
        if error.__cause__ is None:  # not for want of a package: a recipe can be read where it cannot be run
            return [f"{document.place(tuple(section.split('.')))}: {section}: {error}"]
    return []


def _of_other(document: Document) -> list[str]:
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
    found = faults.of_call(METHODS[name], given, document, "method.over")
    return found or _heard(lambda: _row(document, name, given), given, document, "method.over")


def _of_oneshot(document: Document) -> list[str]:
    """A method without steps has no losses to take and no step length; all its hyperparameters are positive."""
    method, step, model = (document.content.get(section) for section in ("method", "step", "model"))
    name = method.get("name") if isinstance(method, dict) else None
    if not isinstance(method, dict) or not isinstance(name, str) or name not in ONESHOT:
        return []
    found = {
        ("method", key): f"expected a positive number, found {value!r}"
        for key, value in method.items()
        if isinstance(value, int | float) and not value > 0
    }
    if OVER in method:
        found["method", OVER] = f"{name} takes no steps and no other row's losses"
    if isinstance(step, dict) and step.get("name", "trust") != "trust":
        found["step", "name"] = f"{name} takes no steps: leave the section out"
    if isinstance(model, dict) and model.get("lora") is not None:
        found["model", "lora"] = f"{name} shrinks weights, and those of new adapters are zero: leave it out"
    return [f"{document.place(where)}: {'.'.join(where)}: {what}" for where, what in found.items()]


def _of_training(document: Document) -> list[str]:
    """What the data's own training does not say is filled in with a number that it could be."""
    written = document.content.get("training")
    if not isinstance(written, dict):
        return []
    kind = modality.training_of(modality.of_document(document) or "images")
    found = faults.of_call(kind, written, document, "training", complete=False)
    filled = {key: 1 for key, p in faults.hyperparameters(kind).items() if p.default is p.empty} | written
    return found or _heard(lambda: kind(**filled), written, document, "training")


def _of_model(document: Document) -> list[str]:
    """The network of images by its name, and what may move of it by theirs; it is built without memory."""
    data, written = (document.content.get(section) for section in ("data", "model"))
    source = data.get("source") if isinstance(data, dict) else None
    if not isinstance(written, dict) or source not in DEFAULTS:
        return []
    name, patterns = written.get("network") or DEFAULTS[source][0], written.get("parameters")
    if not isinstance(name, str) or not isinstance(patterns, str | list | None):
        return []
    if name in networks.NETWORKS and not patterns:
        return []
    built: list[nn.Module] = []

    def build() -> None:
        with torch.device("meta" if name in networks.NETWORKS else "cpu"), torch.random.fork_rng(devices=[]):
            built.append(networks.build(name, classes=2, channels=3))

    def move() -> None:
        with choose(built[0], patterns):
            pass

    found = _heard(build, written, document, "model")
    return found or (_heard(move, {}, document, "model.parameters") if built else [])
