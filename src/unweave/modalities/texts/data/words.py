"""What a text says, whatever its case, its sentence punctuation and its gaps: two texts of the same words are one."""

from __future__ import annotations

import re
import sys
import unicodedata
from functools import cache

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
