"""What may stand in an entry: text that can be written as UTF-8, and in what people type one line of it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Any

LONGEST = 1000  # characters of a basis, a note, a reason or a class
_ENDS = {"Cc": "line breaks or control characters", "Zl": "line breaks", "Zp": "line breaks"}
_TURNS = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"  # what follows is printed in another order


def fault_of_line(what: str, text: object) -> str:
    """What is wrong with words that are kept for good and printed as they are; nothing, if they are one line."""
    if not isinstance(text, str):
        return f"{what}: expected one line of text, found {type(text).__name__} {text!r:.40}"
    if len(text) > LONGEST:
        return f"{what}: expected one line of text, at most {LONGEST} characters, found {len(text)}"
    if found := fault_of_text(text):
        return f"{what}: expected one line of text, found {found}"
    wrong = next((_ENDS[kind] for kind in map(unicodedata.category, text) if kind in _ENDS), "")
    wrong = wrong or ("characters that turn the order of the others" if any(each in _TURNS for each in text) else "")
    return f"{what}: expected one line of text, found {wrong}" if wrong else ""


def fault_of_text(text: str) -> str:
    """What in a text cannot be written as UTF-8: half a character, as a byte of another encoding becomes one."""
    half = next((each for each in text if 0xD800 <= ord(each) <= 0xDFFF), None)
    return "" if half is None else f"a byte that is no UTF-8 ({ascii(half)[1:-1]}), as text in another encoding has"


def faults_of_texts(value: Any, place: str) -> Iterator[str]:
    """The same for every text in plain data, keys included; each with its place."""
    if isinstance(value, str):
        if found := fault_of_text(value):
            yield f"{place}: expected text, found {found}"
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from faults_of_texts(key, f"{place}, a key")
            yield from faults_of_texts(each, f"{place}.{key}")
    elif isinstance(value, list | tuple):
        for number, each in enumerate(value):
            yield from faults_of_texts(each, f"{place}[{number}]")


def written(text: str) -> bytes:
    """UTF-8, also of what an older version let in: half a character is written as its escape."""
    return text.encode("utf-8", "backslashreplace")
