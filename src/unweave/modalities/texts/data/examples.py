"""Texts as they are given: turns, an answer, the words that they are compared by, and which of them a request names."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from unweave.data.index_file import read_ids, rows_of
from unweave.data.splits import Split, by_index
from unweave.errors import ConfigurationError, suggest

_OPERATORS = "#%&*/@\\‰"  # punctuation by Unicode's word, and read aloud
_INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u2060\ufeff")) | {0x2212: "-"}
_SAYS = ("<super>", "<sub>", "<font>", "<fraction>", "<circle>", "<square>")  # compatibility forms that are no others'
_QUOTES = "\"'`´‘’‚‛“”„‟«»‹›「」『』"
_FACE = re.compile(r"[:;]-?[()\[\]]")


def words(text: str) -> str:
    """The text in one case and in its usual characters, each run of gaps and sentence punctuation as one gap.

    Symbols stay (`a + b` and `a < b`, C and C++, prices, emoji), and so do combining marks, which carry the vowels of
    Hindi and Thai, and raised digits. Punctuation stays where it is none of a sentence: between numbers or single
    letters (1.5 and 15, a - b, f(x)), before a word (-5, !done), tight in one (foo(bar), example.com), and in faces.
    """
    plain = re.sub(r"[^\x00-\x7f]", lambda m: _usual(m[0]), text.translate(_INVISIBLE))
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", plain).casefold())
    return " ".join(_separators().sub(_kept, folded).split()) or " ".join(folded.split())


@cache
def _usual(character: str) -> str:
    """Without its width, its ligature or its shape at a word's end; a dash is the usual one."""
    if unicodedata.category(character) == "Pd":
        return "-"
    if unicodedata.decomposition(character).startswith(_SAYS):
        return character
    return unicodedata.normalize("NFKC", character)


@cache
def _separators() -> re.Pattern[str]:
    every = (c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c)[0] == "P")
    marks = "".join(re.escape(c) for c in every if c not in _OPERATORS and c != "_")
    return re.compile(rf"\s*(?:[{marks}]+\s*)+")


def _kept(found: re.Match[str]) -> str:
    """What a separator says, between gaps: nothing, as a rule."""
    text, start, end = found.string, found.start(), found.end()
    before, after = text[max(start - 2, 0) : start], text[end : end + 2]
    exact = bool(before and after) and all(
        side[0].isdigit() or len(side) == 1 or _is_gap(side[1]) for side in (before[::-1], after)
    )
    said = []
    for chunk in re.finditer(r"\S+", found[0]):
        mark = chunk[0].strip(_QUOTES)
        left = bool(before) and chunk.start() == 0
        right = bool(after) and chunk.end() == len(found[0])
        if not left and (face := _FACE.match(mark)):
            said.append(face[0])
        elif (
            (left and right and (exact or mark[:1] in ("(", "[", "{") or mark == "."))
            or (exact and mark == "-")
            or (right and not left and (mark in ("!", "?", ".", ",", ":", ";") or (mark == "-" and after[0].isdigit())))
        ):
            said.append(mark)
    return f" {' '.join(said)} "


def _is_gap(character: str) -> bool:
    return character.isspace() or _separators().fullmatch(character) is not None


Turn = tuple[str, str]  # role, content
PAIRS = (("question", "answer"), ("prompt", "response"))
_BESIDE = ("tool_calls", "function_call", "reasoning_content", "reasoning", "thinking")  # in a message


@dataclass(frozen=True)
class Text:
    """A conversation and the answer that a model is to give, or a running text.

    Attributes:
        id: in its table; several texts may share it, as those of one person do.
        turns: what comes before the answer; empty for a running text.
        answer: what is learned, or forgotten.
        copy: whether this repeats a forget example on purpose, so that no check takes it for an oversight.
    """

    id: str
    turns: tuple[Turn, ...]
    answer: str
    copy: bool = False

    @property
    def named(self) -> str:
        """What messages call it."""
        return f"text {self.id}" if self.id else "this text"

    def normalised(self) -> str:
        """What it says: `words` of its turns and its answer."""
        return " ".join(map(words, [content for _, content in self.turns] + [self.answer]))


def texts(
    table: Sequence[Mapping[str, Any]], columns: tuple[str, str] | str | None = None, prefix: str = ""
) -> list[Text]:
    """The texts of a table, in its order.

    Args:
        table: rows with `question` and `answer`, `prompt` and `response`, `messages`, or `text`; and an `id`, without
            which the row's number is taken. Of a message its role and content are read: text, or a list of parts
            `{"type": "text", "text": ...}`, which are joined.
        columns: the two columns of question and answer, or the one of running texts, where they have other names.
        prefix: of ids that are row numbers.

    Raises:
        ConfigurationError: an empty table, columns that are not there, an empty answer, a message that is not text
            alone (no content, an image, a tool's call), or a text without an id whose row's number is an id; all of
            them at once.
    """
    if not table:
        raise ConfigurationError("the table must hold at least one text, found 0 rows")
    chosen = _columns(table[0], columns)
    found: list[Text] = []
    wrong: dict[str, list[str]] = {}
    for number, row in enumerate(table):
        name = f"{prefix}{number}" if row.get("id") is None else str(row["id"])
        try:
            turns, answer = _parts(row, chosen)
        except (KeyError, TypeError, ValueError) as error:
            wrong.setdefault(f"cannot be read ({type(error).__name__}: {error})", []).append(name)
            continue
        if not answer.strip():
            wrong.setdefault("have an empty answer: remove them, or write one", []).append(name)
        found.append(Text(name, turns, answer))
    given = {str(row["id"]) for row in table if row.get("id") is not None}
    without = [t.id for t, row in zip(found, table, strict=False) if row.get("id") is None and t.id in given]
    if without and not wrong:
        wrong["have no id, and their row's number is the id of another text: give them one"] = without
    if wrong:
        raise ConfigurationError([f"{len(names)} texts ({listed(names)}) {what}" for what, names in wrong.items()])
    return found


def listed(names: Sequence[object]) -> str:
    """The first five."""
    return ", ".join(str(n) for n in names[:5]) + (", ..." if len(names) > 5 else "")


def _columns(row: Mapping[str, Any], columns: tuple[str, str] | str | None) -> tuple[str, ...]:
    wanted = (columns,) if isinstance(columns, str) else columns
    if wanted is not None:
        if missing := [c for c in wanted if c not in row]:
            raise ConfigurationError(
                [f"there is no column {c!r}.{suggest(c, row)} Columns: {', '.join(row)}" for c in missing]
            )
        return wanted
    for known in (*PAIRS, ("messages",), ("text",)):
        if all(c in row for c in known):
            return known
    raise ConfigurationError(
        "a text needs the columns question and answer, prompt and response, messages, or text; found "
        f"{', '.join(row)}. Name them: columns=('my_question', 'my_answer'), or columns='my_text'."
    )


def _parts(row: Mapping[str, Any], columns: tuple[str, ...]) -> tuple[tuple[Turn, ...], str]:
    if columns == ("messages",):
        turns = _turns(row["messages"])
        if not turns or turns[-1][0] != "assistant":
            raise ValueError("messages must end with one of the assistant, which is the answer")
        return turns[:-1], turns[-1][1]
    values = [row[c] for c in columns]
    if not all(isinstance(v, str) for v in values):
        raise TypeError(f"{', '.join(columns)} must be text, found {', '.join(type(v).__name__ for v in values)}")
    return ((("user", values[0]),), values[1]) if len(values) == 2 else ((), values[0])


def _turns(messages: Any) -> tuple[Turn, ...]:
    """Role and text of each message; what is no text is refused, so that none of it is lost."""
    if not isinstance(messages, Sequence) or isinstance(messages, str):
        raise TypeError(f"messages must be a list, found {type(messages).__name__}")
    turns = list[Turn]()
    for number, message in enumerate(messages, 1):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise TypeError(f"message {number} must have a role and a content, found {message!r:.60}")
        if beside := [key for key in _BESIDE if message.get(key)]:
            raise ValueError(f"message {number} has {', '.join(beside)}: only its content is read, write it there")
        turns.append((message["role"], _content(message.get("content"), number)))
    return tuple(turns)


def _content(content: Any, number: int) -> str:
    """The text of a message, whose parts are joined as chat templates join them."""
    if isinstance(content, str):
        return content
    if content is None:
        raise ValueError(f"message {number} has no content, as if it only called a tool: write its text, or remove it")
    if not isinstance(content, Sequence) or not content:
        raise TypeError(f"the content of message {number} must be text, found {content!r:.60}")
    for part in content:
        if not isinstance(part, Mapping) or part.get("type", "text") != "text" or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, Mapping) else type(part).__name__
            raise ValueError(f"message {number} has a part that is no text, {kind}: only texts are read")
    return "".join(part["text"] for part in content)


def by_id(texts: Sequence[Text], ids: Sequence[str] | Path) -> Split:
    """Forget all texts with these ids, keep the others; one id may be that of several texts, as a person's is.

    Raises:
        ConfigurationError: ids that are not there or come twice, none of them, or all there are.
    """
    if isinstance(ids, Path):
        ids = read_ids(ids)
    rows = rows_of(t.id for t in texts)
    faults = []
    if missing := [i for i in ids if i not in rows]:
        close = suggest(missing[0], rows)
        faults.append(f"{len(missing)} of {len(ids)} ids are of no text ({listed(missing)}).{close}")
    if twice := sorted({i for i in ids if list(ids).count(i) > 1}):
        faults.append(f"the request names {len(twice)} ids more than once ({listed(twice)}): once is enough")
    if faults:
        raise ConfigurationError(faults)
    return by_index([row for i in ids for row in rows[i]], len(texts))
