"""Rows of messages: their texts are read whole, or the row is refused by its name."""

from __future__ import annotations

from typing import Any

import pytest

from unweave.errors import ConfigurationError
from unweave.modalities.texts.data import texts


def said(content: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, **more}


def row(*messages: Any, asked: Any = "How far?") -> dict[str, Any]:
    return {"id": "row-4", "messages": [{"role": "user", "content": asked}, *messages]}


def part(text: Any, kind: str = "text") -> dict[str, Any]:
    return {"type": kind, "text": text}


def test_parts_are_joined_as_templates_join_them() -> None:
    found = texts([row(said([part("Two "), part("miles."), {"text": "!"}]), asked=[part("How"), part(" far?")])])[0]
    assert found.turns == (("user", "How far?"),) and found.answer == "Two miles.!"
    assert texts([row(said("Two.", tool_calls=None, name="x"))])[0].answer == "Two.", (
        "keys without a text are no matter"
    )


REFUSED = {
    "no answer": (row(said(None)), "message 2 has no content"),
    "no content at all": (row({"role": "assistant"}), "message 2 has no content"),
    "no question": (row(said("Two."), asked=None), "message 1 has no content"),
    "an image": (row(said("Two."), asked=[part("See"), {"type": "image_url", "url": "x"}]), "no text, image_url"),
    "a text that is none": (row(said([part(None)])), "message 2 has a part that is no text"),
    "a bare string among parts": (row(said(["Two."])), "a part that is no text, str"),
    "no parts": (row(said([])), "content of message 2 must be text, found \\[\\]"),
    "a number": (row(said(2)), "content of message 2 must be text, found 2"),
    "a tool's call": (row(said("I look.", tool_calls=[{"name": "look"}]), said("Two.")), "message 2 has tool_calls"),
    "a thought beside": (row(said("Two.", reasoning_content="hm")), "message 2 has reasoning_content"),
    "no role": (row({"content": "Two."}), "message 2 must have a role"),
    "no message": (row("Two."), "message 2 must have a role"),
    "no list": ({"id": "row-4", "messages": "Two."}, "messages must be a list, found str"),
    "nothing": ({"id": "row-4", "messages": None}, "messages must be a list, found NoneType"),
    "another's turn last": (row(), "must end with one of the assistant"),
    "white space": (row(said([part(" "), part("\n")])), "have an empty answer"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_text_is_refused_with_its_row(case: str) -> None:
    given, words = REFUSED[case]
    with pytest.raises(ConfigurationError, match=f"1 texts \\(row-4\\) .*{words}"):
        texts([given])
