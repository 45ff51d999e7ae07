"""From a text to token ids, and where its answer begins."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from unweave.data.text.examples import Text
from unweave.errors import ConfigurationError

_CLOCK = re.compile(r"strftime_now\((['\"])(.*?)\1\)")
DATE = "10 Apr 2025"  # open-unlearning's: some templates write today's date into every prompt


@dataclass(frozen=True)
class Chat:
    """The tokenizer's chat template, with a date that stands still.

    Args:
        system: a system message before every conversation that has none.
        date: what a template reads as today, as in "10 Apr 2025".
    """

    system: str | None = None
    date: str = DATE

    def render(self, tokenizer: Any, text: Text) -> tuple[str, int]:
        """The whole conversation, and the place in it where the answer begins."""
        turns = [{"role": role, "content": content} for role, content in text.turns]
        if self.system is not None and text.turns[0][0] != "system":
            turns.insert(0, {"role": "system", "content": self.system})
        settings = {"tokenize": False, "date_string": self.date, "chat_template": self._still(tokenizer)}
        head = tokenizer.apply_chat_template(turns, add_generation_prompt=True, **settings)
        whole = tokenizer.apply_chat_template([*turns, {"role": "assistant", "content": text.answer}], **settings)
        if whole.startswith(head):
            return whole, len(head)
        return whole, whole.rindex(text.answer.strip())  # a template that opens the answer in another way

    def _still(self, tokenizer: Any) -> str:
        """The template, with the date where it asks the clock."""
        day = time.strptime(self.date, "%d %b %Y")
        return _CLOCK.sub(lambda call: repr(time.strftime(call[2], day)), tokenizer.get_chat_template())

    def prompt(self, tokenizer: Any, text: Text) -> str:
        """What a model continues."""
        whole, begin = self.render(tokenizer, text)
        return whole[:begin]


@dataclass(frozen=True)
class Plain:
    """A prompt without roles: for base models, and for templates written by hand (`"[INST] {question} [/INST]"`).

    Args:
        template: holds `{question}`; the answer follows it at once.
    """

    template: str = "Question: {question}\nAnswer: "

    def __post_init__(self) -> None:
        if "{question}" not in self.template:
            raise ConfigurationError(f"a plain template must hold {{question}}; found {self.template!r}")

    def render(self, tokenizer: Any, text: Text) -> tuple[str, int]:
        """Prompt and answer, and where the answer begins."""
        if len(text.turns) != 1:
            raise ConfigurationError(
                f"a plain prompt has one question; text {text.id} has {len(text.turns)} turns before its answer: "
                "use format=Chat() and a tokenizer with a chat template"
            )
        head = self.template.replace("{question}", text.turns[0][1])
        return head + text.answer, len(head)

    def prompt(self, tokenizer: Any, text: Text) -> str:
        """What a model continues."""
        whole, begin = self.render(tokenizer, text)
        return whole[:begin]


Format = Chat | Plain
CHAT = Chat()


def encoded(
    tokenizer: Any, texts: Sequence[Text], form: Format = CHAT, eos: bool | None = None
) -> list[tuple[list[int], int]]:
    """Token ids of each text, and the first that belongs to its answer.

    The answer ends with the tokenizer's end-of-sequence token: the template's own where it has one, what it writes
    after that being cut off, else one that is appended. A token that spans prompt and answer belongs to the answer.

    Args:
        tokenizer: of `transformers`.
        texts: to encode.
        form: how a prompt is written; running texts have none.
        eos: whether answers end with that token; None: those with a prompt do, running texts do not.

    Raises:
        ConfigurationError: no chat template where one is needed, or no end-of-sequence token.
    """
    if isinstance(form, Chat) and any(t.turns for t in texts) and not getattr(tokenizer, "chat_template", None):
        raise ConfigurationError(
            "this tokenizer has no chat template: pass format=Plain('Question: {question}\\nAnswer: '), or another "
            "template of yours, or set tokenizer.chat_template"
        )
    if tokenizer.eos_token_id is None and (eos or (eos is None and any(t.turns for t in texts))):
        raise ConfigurationError(
            "this tokenizer has no end-of-sequence token, so no answer would end: set tokenizer.eos_token, or eos=False"
        )
    rendered = [form.render(tokenizer, t) if t.turns else (t.answer, 0) for t in texts]
    special = [not (t.turns and isinstance(form, Chat)) for t in texts]  # a chat template writes its own
    result = []
    for text, (whole, begin), add in zip(texts, rendered, special, strict=True):
        ids, start = _tokens(tokenizer, whole, begin, add)
        if eos or (eos is None and text.turns):
            ids = _ended(ids, start, tokenizer.eos_token_id)
        result.append((ids, start))
    return result


def _tokens(tokenizer: Any, whole: str, begin: int, special: bool) -> tuple[list[int], int]:
    if not getattr(tokenizer, "is_fast", False):  # no offsets: the prompt alone says how long it is
        head = tokenizer(whole[:begin], add_special_tokens=special)["input_ids"] if begin else []
        return list(tokenizer(whole, add_special_tokens=special)["input_ids"]), len(head)
    found = tokenizer(whole, add_special_tokens=special, return_offsets_mapping=True)
    ids, offsets = list(found["input_ids"]), found["offset_mapping"]
    return ids, next((i for i, (_, end) in enumerate(offsets) if end > begin), len(ids))


def _ended(ids: list[int], start: int, eos: int) -> list[int]:
    ends = [i for i in range(start, len(ids)) if ids[i] == eos]
    return ids[: ends[-1] + 1] if ends else [*ids, eos]
