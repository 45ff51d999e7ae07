"""YAML that remembers where everything was written, so that a fault can name its file and line.

Scalars are as in the core schema of YAML 1.2: `1:30`, `1_000`, `2026-01-01`, `yes` and `off` are text, which is a fault
where a number or a truth value is expected. `010` is 8 in one version of YAML and 10 in the other: it is refused.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from unweave.data.text_file import read_text, short
from unweave.errors import ConfigurationError

Location = tuple[str | int, ...]
Places = dict[Location, str]

_DEEPEST = 32  # sections within sections
_LARGEST = 2**63 - 1  # what torch takes for a whole number, seeds among them
_TAG = "tag:yaml.org,2002:"


def _whole(text: str) -> int:
    if re.fullmatch(r"[-+]?0[0-9]+", text):
        raise ValueError(
            f"{text} is octal or decimal, by the version of YAML: leave the 0 out, or quote it if it is text"
        )
    value = int(text, 0) if len(text) <= 32 else _LARGEST + 1
    if abs(value) > _LARGEST:
        raise ValueError(f"a whole number must be below 2^63; found {short(text)}. Quote it if it is text")
    return value


def _real(text: str) -> float:
    named = text.lower().endswith((".inf", ".nan"))
    value = float(text.lower().replace(".inf", "inf").replace(".nan", "nan") if named else text)
    if math.isinf(value) and not named:
        raise ValueError(f"a number must be below 1.8e308; found {short(text)}")
    return value


@dataclass(frozen=True)
class _Scalar:
    """What a kind of scalar looks like, which signs it begins with, and what is made of it."""

    noun: str
    pattern: str
    begins: str
    make: Callable[[str], Any]


_SCALARS = {
    "null": _Scalar("null", r"~|null|Null|NULL|", "~nN", lambda _: None),
    "bool": _Scalar("true or false", r"true|True|TRUE|false|False|FALSE", "tTfF", lambda text: text.lower() == "true"),
    "int": _Scalar("a whole number", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789", _whole),
    "float": _Scalar(
        "a number",
        r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
        _real,
    ),
}


class _Loader(yaml.SafeLoader):
    """Makes nodes of a text; `_Plain` makes data of them."""


class _Dumper(yaml.SafeDumper):
    """Quotes what either version of YAML would take for something else than text."""


_Loader.yaml_implicit_resolvers = {}  # none of YAML 1.1
for _name, _scalar in _SCALARS.items():
    for _made in (_Loader, _Dumper):
        _made.add_implicit_resolver(
            _TAG + _name, re.compile(rf"(?:{_scalar.pattern})\Z"), [*_scalar.begins, *[""] * (_name == "null")]
        )


@dataclass(frozen=True)
class Document:
    """A mapping read from YAML and the place (`file:line`) of each of its keys."""

    content: dict[str, Any]
    name: str
    places: Places = field(default_factory=dict)

    def place(self, location: Location) -> str:
        """Where `location` was written: its own line, or the nearest enclosing key that has one."""
        for end in range(len(location), 0, -1):
            if found := self.places.get(location[:end]):
                return found
        return f"{self.name}:1"

    def to_json(self) -> str:
        """The content as JSON."""
        return json.dumps(self.content)

    def override(self, assignments: Sequence[str]) -> Document:
        """The document with command-line assignments `a.b=value` applied, each value read as YAML.

        A number is the place in a list, counted from 0: `a.0.b=value`.

        Raises:
            ConfigurationError: for every assignment that is not of that form.
        """
        content, places, faults = _copy(self.content), dict(self.places), list[str]()
        for text in assignments:
            keys, equals, value = text.partition("=")
            path: Location = tuple(keys.split("."))
            here = f"-s {text}"
            try:
                if not equals or not all(path):
                    raise ValueError("expected section.key=value")
                if len(path) > _DEEPEST:
                    raise ValueError(f"expected at most {_DEEPEST} sections within each other, found {len(path)}")
                _text(keys)
                plain = _Plain(lambda _, here=here: here)  # type: ignore[misc]
                path = _assign(content, keys.split("."), plain.read(value))
                faults += plain.faults
            except (ValueError, yaml.YAMLError) as error:
                faults.append(f"{here}: {_one_line(error)}")
            places = {at: place for at, place in places.items() if at[: len(path)] != path}
            places |= {path[:end]: here for end in range(1, len(path) + 1) if path[:end] not in places}
        if faults:
            raise ConfigurationError(faults)
        return Document(content, self.name, places)


def load(path: Path) -> Document:
    """Reads a YAML mapping with the line of each key.

    Raises:
        ConfigurationError: no such file, not UTF-8 text, not YAML, not a mapping, a key twice, an alias, a tag that is
            not of plain data.
    """
    try:
        text = read_text(path)
    except FileNotFoundError as error:
        raise ConfigurationError(f"{path}: there is no such file") from error
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path}: cannot be read as a recipe: {_one_line(error)}") from error
    plain = _Plain(lambda node: f"{path.name}:{node.start_mark.line + 1}")
    try:
        content = plain.read(text)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{_marked(path, error)}: not valid YAML: {_located(text, error)}") from error
    if plain.faults:
        raise ConfigurationError(plain.faults)
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}:1: expected a mapping of sections (data, forget, method, ...)")
    return Document(content, path.name, plain.places)


def dump(content: Any) -> str:
    """Plain data as YAML that `load`, and readers of either version, read as the same."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


class _Plain:
    """Reads plain data, and collects on the way where it stands and what is wrong with it.

    Args:
        where: the place of a node or an event, in words.
    """

    def __init__(self, where: Callable[[Any], str]) -> None:
        self._where = where
        self.places: Places = {}
        self.faults: list[str] = []

    def read(self, text: str) -> Any:
        """The data; None, and a fault, where it cannot be told.

        Raises:
            YAMLError: no YAML, or several documents.
        """
        return self._data(root, ()) if self._bounded(text) and (root := _Loader(text).get_single_node()) else None

    def _bounded(self, text: str) -> bool:
        """Whether it is free of aliases, which may make it infinite, and not nested without end."""
        depth = 0
        for event in yaml.parse(text, _Loader):
            if isinstance(event, yaml.AliasEvent):
                self._fault(event, "anchors and aliases are not supported: write the value out")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                self._fault(event, f"expected at most {_DEEPEST} sections within each other, found more")
                break
        return not self.faults

    def _data(self, node: yaml.Node, location: Location) -> Any:
        kind = str(node.tag).removeprefix(_TAG)
        if isinstance(node, yaml.MappingNode) and kind == "map":
            return self._mapping(node, location)
        if isinstance(node, yaml.SequenceNode) and kind == "seq":
            self.places |= {(*location, n): self._where(item) for n, item in enumerate(node.value)}
            return [self._data(item, (*location, n)) for n, item in enumerate(node.value)]
        try:
            if isinstance(node, yaml.ScalarNode) and kind == "str":
                return _text(node.value)
            if isinstance(node, yaml.ScalarNode) and (scalar := _SCALARS.get(kind)):
                if not re.fullmatch(scalar.pattern, node.value):
                    raise ValueError(f"expected {scalar.noun} after !!{kind}, found {short(node.value)}")
                return scalar.make(node.value)
            raise ValueError(f"the tag {short(node.tag)} is not supported: a recipe is plain text, numbers and lists")
        except ValueError as error:
            self._fault(node, str(error))
            return None

    def _mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            try:
                if not isinstance(key_node, yaml.ScalarNode):
                    raise ValueError("expected a word as a key, found a list or a mapping")
                if (key := _text(key_node.value)) in found:
                    raise ValueError(f"'{key}' is written twice (first at {self.places[*location, key]})")
            except ValueError as error:
                self._fault(key_node, str(error))
                continue
            self.places[*location, key] = self._where(key_node)
            found[key] = self._data(value_node, (*location, key))
        return found

    def _fault(self, at: Any, what: str) -> None:
        self.faults.append(f"{self._where(at)}: {what}")


def _text(written: str) -> str:
    """The same text.

    Raises:
        ValueError: it holds what no file and no name can.
    """
    if "\0" in written or any("\ud800" <= sign <= "\udfff" for sign in written):
        raise ValueError(f"expected text, found a NUL character or half of a surrogate pair in {short(written)}")
    return written


def _assign(content: dict[str, Any], path: Sequence[str], value: Any) -> Location:
    """Sets a nested key, making the sections on the way; where that is."""
    here: Any = content
    location: Location = ()
    for i, key in enumerate(path):
        if isinstance(here, list):
            if not (re.fullmatch(r"[0-9]{1,9}", key) and int(key) < len(here)):
                expected = f"a place in it, 0 to {len(here) - 1}" if here else "the whole of it"
                raise ValueError(f"'{'.'.join(path[:i])}' is a list: expected {expected}, found '{key}'")
        elif not isinstance(here, dict):
            raise ValueError(f"'{'.'.join(path[:i])}' is not a section, it has no key '{key}'")
        else:
            here.setdefault(key, {})
        at: Any = int(key) if isinstance(here, list) else key
        location += (at,)
        if i == len(path) - 1:
            here[at] = value
        here = here[at]
    return location


def _copy(value: Any) -> Any:
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return {k: _copy(v) for k, v in value.items()} if isinstance(value, dict) else value


def _marked(path: Path, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f"{path}:{mark.line + 1}" if mark else str(path)


def _located(text: str, error: yaml.YAMLError) -> str:
    """The error in a line, and of a character that YAML does not allow in which one."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return f"line {line}: the control character {chr(error.character)!r} is not allowed"
    return _one_line(error)


def _one_line(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        return " ".join(_parts(error))
    return " ".join(str(error).split())


def _parts(error: yaml.MarkedYAMLError) -> Iterator[str]:
    yield from (part for part in (error.context, error.problem) if part)
