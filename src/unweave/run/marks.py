"""YAML that remembers where everything was written, so that a fault can name its file and line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from unweave.errors import ConfigurationError

Location = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """Plain data only; `1e-4` is a number as in YAML 1.2 (PyYAML alone reads it as text)."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"),
    list("-+0123456789."),
)


@dataclass(frozen=True)
class Document:
    """A mapping read from YAML and the place (`file:line`) of each of its keys."""

    content: dict[str, Any]
    name: str
    places: dict[Location, str] = field(default_factory=dict)

    def place(self, location: Location) -> str:
        """Where `location` was written: its own line, or the nearest enclosing key that has one."""
        for end in range(len(location), 0, -1):
            if found := self.places.get(location[:end]):
                return found
        return f"{self.name}:1"

    def to_json(self) -> str:
        """The content as JSON; what JSON has no form for (dates) becomes text."""
        return json.dumps(self.content, default=str)

    def override(self, assignments: Sequence[str]) -> Document:
        """The document with command-line assignments `a.b=value` applied, each value read as YAML.

        Raises:
            ConfigurationError: for every assignment that is not of that form.
        """
        content, places, faults = _copy(self.content), dict(self.places), []
        for text in assignments:
            keys, equals, value = text.partition("=")
            path = tuple(keys.split("."))
            try:
                if not equals or not all(path):
                    raise ValueError("expected section.key=value")
                _assign(content, path, yaml.load(value, _Loader))
            except (ValueError, yaml.YAMLError) as error:
                faults.append(f"-s {text}: {_one_line(error)}")
            places |= {path[:end]: f"-s {text}" for end in range(1, len(path) + 1) if path[:end] not in places}
            places[path] = f"-s {text}"
        if faults:
            raise ConfigurationError(faults)
        return Document(content, self.name, places)


def load(path: Path) -> Document:
    """Reads a YAML mapping with the line of each key.

    Raises:
        ConfigurationError: no such file, not UTF-8 text, not YAML, not a mapping, a key twice, an alias.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read as a recipe: {_one_line(error)}") from error
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{_marked(path, error)}: not valid YAML: {_one_line(error)}") from error
    if not isinstance(root, yaml.MappingNode):
        raise ConfigurationError(f"{path}:1: expected a mapping of sections (data, forget, method, ...)")
    faults: list[str] = []
    places: dict[Location, str] = {}
    content = _construct(loader, root, path, (), places, faults, set())
    if faults:
        raise ConfigurationError(faults)
    return Document(content, path.name, places)


def _construct(
    loader: _Loader,
    node: yaml.Node,
    path: Path,
    location: Location,
    places: dict[Location, str],
    faults: list[str],
    seen: set[int],
) -> Any:
    """Plain data of `node`; fills `places` and `faults` on the way."""
    line = node.start_mark.line + 1
    if id(node) in seen:
        faults.append(f"{path.name}:{line}: anchors and aliases are not supported: write the value out")
        return None
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            here = f"{path.name}:{key_node.start_mark.line + 1}"
            if key in result:
                faults.append(f"{here}: '{key}' is written twice (first at {places[*location, key]})")
                continue
            places[*location, key] = here
            result[key] = _construct(loader, value_node, path, (*location, key), places, faults, seen)
        return result
    if isinstance(node, yaml.SequenceNode):
        items = []
        for i, item in enumerate(node.value):
            places[*location, i] = f"{path.name}:{item.start_mark.line + 1}"
            items.append(_construct(loader, item, path, (*location, i), places, faults, seen))
        return items
    try:
        return loader.construct_object(node)
    except (yaml.YAMLError, ValueError) as error:
        faults.append(f"{path.name}:{line}: {_one_line(error)}")
        return None


def _assign(content: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Sets a nested key, making the sections on the way."""
    for i, key in enumerate(path[:-1]):
        content = content.setdefault(key, {})
        if not isinstance(content, dict):
            raise ValueError(f"'{'.'.join(path[: i + 1])}' is not a section, it has no key '{path[i + 1]}'")
    content[path[-1]] = value


def _copy(value: Any) -> Any:
    return {k: _copy(v) for k, v in value.items()} if isinstance(value, dict) else value


def _marked(path: Path, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f"{path}:{mark.line + 1}" if mark else str(path)


def _one_line(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        return " ".join(_parts(error))
    return " ".join(str(error).split())


def _parts(error: yaml.MarkedYAMLError) -> Iterator[str]:
    yield from (part for part in (error.context, error.problem) if part)
