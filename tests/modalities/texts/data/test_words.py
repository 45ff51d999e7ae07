"""Which texts say the same: case, sentence punctuation and gaps do not count; signs, symbols and marks do."""

from __future__ import annotations

import numpy as np
import pytest

from unweave.modalities.texts.data import Text
from unweave.modalities.texts.data.examples import words

SAME = [
    ("Born - Ana", "born: Ana?"),
    ("In Lima.", "in lima!"),
    ("Who, then?", "(who)  then …"),
    ("a well-known “poet”", "A well known poet"),
    ("Dr. Ruiz (1990) wrote it.", "dr ruiz 1990 wrote it"),
    ("January 5, 1990", "January 5 1990"),
    ("1990-1995", "1990 – 1995"),
    ("5 − 3", "5 - 3"),
    ("C++, Java", "c++ java"),
    ("don't", "Don’t"),
    ("ｆｕｌｌ　ｗｉｄｔｈ", "full width"),
    ("ﬁne", "fine"),
    ("cafe\u0301", "café"),
    ("zero\u200bwidth", "zerowidth"),
    ("STRASSE", "straße"),
    ("你好，世界。", "你好 世界"),
    ("मेरा नाम रवि है।", "मेरा  नाम रवि है"),
    ("¿Dónde está?", "dónde está"),
]
OTHERS = [
    ("a + b", "a - b"),
    ("a * b", "a / b"),
    ("a - b", "a b"),
    ("x < y", "x > y"),
    ("x != y", "x == y"),
    ("return !done", "return done"),
    ("C", "C++"),
    ("C", "C#"),
    ("1.5", "15"),
    ("1.5", "1,5"),
    ("3:1", "3-1"),
    ("it is -5 there", "it is 5 there"),
    (".5", "5"),
    ("5%", "5"),
    ("$5", "€5"),
    ("x²", "x2"),
    ("2⁵", "25"),
    ("f(x)", "f[x]"),
    ("print(x)", "print x"),
    ("कि", "का"),
    ("दिन", "दीन"),
    ("ที่", "ที"),
    ("ไม้", "ไม่"),
    ("தமிழ்", "தமழ"),
    ("שָׁלוֹם", "שלום"),
    ("👍", "👎"),
    ("I like it 👍", "I like it 👎"),
    ("I like it :)", "I like it :("),
    ("👨‍👩‍👧", "👨‍👩"),
    ("♥", "♠"),
    ("√2", "2"),
    ("¬p", "p"),
    ("我", "你"),
    ("é", "e"),
    ("(", ")"),
    ("?!", "..."),
    ("café", "cafe"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same(one: str, other: str) -> None:
    assert words(one) == words(other)


@pytest.mark.parametrize(("one", "other"), OTHERS)
def test_not_the_same(one: str, other: str) -> None:
    """Nor as an answer to one question, nor in a sentence."""
    assert words(one) != words(other)
    texts = [Text("x", (("user", "What is it?"),), answer).normalised() for answer in (one, other)]
    assert texts[0] != texts[1]
    if one.strip("(?!."):
        assert words(f"We say {one}, at times.") != words(f"We say {other}, at times.")


def test_it_is_a_normal_form() -> None:
    """What is left is left alone, of random characters too; their case, and the width of gaps, change nothing."""
    rng, ran = np.random.default_rng(0), 0
    alphabet = "abz19 \n.,;:-!?()[]\"'+*/#_éßİк你ทิि👍²½ﬁ﷽\u200d\ufeff"
    for _ in range(2000):
        text = "".join(rng.choice(list(alphabet), rng.integers(1, 30)))
        found = words(text)
        assert words(found) == words(words(found)), text
        assert words(text.replace(" ", " \t ")) == found == words(f"\n{text} "), text
        ran += 1
    assert ran == 2000
