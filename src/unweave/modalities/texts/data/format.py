"""How a text becomes tokens: a chat template or a plain one, and where the answer begins."""

from __future__ import annotations

import re
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from unweave.errors import ConfigurationError
from unweave.modalities.texts.data.examples import Text


def aligned(tokenizer: Any, whole: str, part: tuple[int, int], special: bool) -> tuple[list[int], int, int] | None:
    """Token ids of a text, the first that belongs to a part of it, and the first behind that part.

    A token that spans the border before the part belongs to it, one that spans the border behind it does not.

    Args:
        tokenizer: of `transformers`; one without offsets ("slow") is asked for the text up to each border too.
        whole: the text.
        part: where it begins and ends, in characters.
        special: whether the tokenizer adds its special tokens; those before the text are before the part.

    Returns:
        None where a tokenizer without offsets cannot tell.
    """
    begin, end = part
    if getattr(tokenizer, "is_fast", False):
        found = tokenizer(whole, add_special_tokens=special, return_offsets_mapping=True)
        ids, offsets = list(found["input_ids"]), found["offset_mapping"]
        start = next((i for i, (_, last) in enumerate(offsets) if last > begin), len(ids))
        return ids, start, next((i for i in range(len(ids), start, -1) if 0 < offsets[i - 1][1] <= end), start)
    ids, bare = _ids(tokenizer, whole, special), _ids(tokenizer, whole, False)
    lead = next((i for i in range(len(ids) - len(bare) + 1) if ids[i : i + len(bare)] == bare), 0)
    first, after = _within(tokenizer, bare, whole, begin), _within(tokenizer, bare, whole, end)
    return None if first is None or after is None else (ids, lead + first, lead + after)


def _within(tokenizer: Any, ids: list[int], whole: str, place: int) -> int | None:
    """How many of the tokens end by this place.

    As many as the text up to there has, where they are the same; otherwise a token spans the place, and what the first
    ones decode to, white space aside, says which.
    """
    own = _ids(tokenizer, whole[:place], False) if place else []
    if ids[: len(own)] == own:
        return len(own)
    if _read(tokenizer, ids) != _squeezed(whole):
        return None
    limit = len(_squeezed(whole[:place]))
    return bisect_right(range(len(ids)), limit, key=lambda i: len(_read(tokenizer, ids[: i + 1])))


def _ids(tokenizer: Any, text: str, special: bool) -> list[int]:
    return list(tokenizer(text, add_special_tokens=special)["input_ids"])


def _read(tokenizer: Any, ids: list[int]) -> str:
    return _squeezed(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _squeezed(text: str) -> str:
    """Without white space, which tokenizers add and drop, and without halves of characters."""
    return "".join(text.replace("\ufffd", "").split())


_CLOCK = re.compile(r"strftime_now\((['\"])(.*?)\1\)")
DATE = "10 Apr 2025"  # open-unlearning's: some templates write today's date into every prompt
_SHOWN = 5  # faults of single texts in a message


@dataclass(frozen=True)
class Chat:
    """The tokenizer's chat template, with a date that stands still.

    Args:
        system: a system message before every conversation that has none.
        date: what a template reads as today, as in "10 Apr 2025".

    Raises:
        ConfigurationError: the date is none.
    """

    system: str | None = None
    date: str = DATE

    def __post_init__(self) -> None:
        try:
            time.strptime(self.date, "%d %b %Y")
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"date must be written as in {DATE!r}; found {self.date!r}") from error

    def render(self, tokenizer: Any, text: Text) -> tuple[str, int, int]:
        """The whole conversation, and where in it the answer begins and ends.

        The template is asked a second time, for the same conversation with a mark before the answer: what comes before
        the mark is the template's. Where the mark moves that (an answer that begins with a thought may be treated in
        another way), it is put behind the answer.

        Raises:
            ConfigurationError: the template fails, or it writes the answer in another way than the text has it, white
                space around it aside.
        """
        whole = self._written(tokenizer, text, text.answer)
        mark = next(c for c in map(chr, range(0xE000, 0xF900)) if c not in whole)  # private use: no text has them
        forms = [text.answer, text.answer.rstrip(), text.answer.lstrip(), text.answer.strip()]
        before, *rest = self._written(tokenizer, text, mark + text.answer).split(mark)
        if len(rest) == 1 and whole.startswith(before):
            begin = len(before)
            for form in forms:
                if whole.startswith(form, begin):
                    return whole, begin, begin + len(form)
        *rest, behind = self._written(tokenizer, text, text.answer + mark).split(mark)
        if len(rest) == 1 and whole.endswith(behind):
            end = len(whole) - len(behind)
            for form in forms:
                if whole.endswith(form, 0, end):
                    return whole, end - len(form), end
        raise ConfigurationError(
            f"{text.named}: the chat template does not write the answer as it stands there, {text.answer!r:.60}: it "
            "cuts, changes or repeats it, so which tokens are the answer cannot be told. Write the answer as the "
            "template does (some cut a thought off), give the tokenizer another template, or use format=Plain(...)."
        )

    def _written(self, tokenizer: Any, text: Text, answer: str) -> str:
        """The conversation with this answer."""
        turns = [{"role": role, "content": content} for role, content in (*text.turns, ("assistant", answer))]
        if self.system is not None and turns[0]["role"] != "system":
            turns.insert(0, {"role": "system", "content": self.system})
        try:
            template = _still(tokenizer.get_chat_template(), self.date)
            return str(
                tokenizer.apply_chat_template(turns, tokenize=False, date_string=self.date, chat_template=template)
            )
        except Exception as error:  # a template is a program of the user's, which may raise anything
            raise ConfigurationError(
                f"{text.named}: the chat template fails ({type(error).__name__}: {error}). Its roles are "
                f"{', '.join(turn['role'] for turn in turns)}: change them (a system message is left out with "
                "system=None), mend the template, or use format=Plain(...)."
            ) from error

    def prompt(self, tokenizer: Any, text: Text) -> str:
        """What a model continues."""
        whole, begin, _ = self.render(tokenizer, text)
        return whole[:begin]


@lru_cache(maxsize=8)
def _still(template: str, date: str) -> str:
    """The template, with the date where it asks the clock."""
    day = time.strptime(date, "%d %b %Y")
    return _CLOCK.sub(lambda call: repr(time.strftime(call[2], day)), template)


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

    def render(self, tokenizer: Any, text: Text) -> tuple[str, int, int]:
        """Prompt and answer, and where the answer begins and ends."""
        if len(text.turns) != 1:
            raise ConfigurationError(
                f"a plain prompt has one question; {text.named} has {len(text.turns)} turns before its answer: "
                "use format=Chat() and a tokenizer with a chat template"
            )
        head = self.template.replace("{question}", text.turns[0][1])
        whole = head + text.answer
        return whole, len(head), len(whole)

    def prompt(self, tokenizer: Any, text: Text) -> str:
        """What a model continues."""
        whole, begin, _ = self.render(tokenizer, text)
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
        ConfigurationError: no chat template where one is needed, no end-of-sequence token, or texts of which it cannot
            be told which tokens are the answer.
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
    result, faults = list[tuple[list[int], int]](), list[str]()
    for text in texts:
        try:
            ids, start, stop = _tokens(tokenizer, text, form)
        except ConfigurationError as error:
            faults += error.faults
            continue
        if eos or (eos is None and text.turns):
            ids = _ended(ids, stop, tokenizer.eos_token_id)
        result.append((ids, start))
    if faults:
        more = [f"and {len(faults) - _SHOWN} more texts likewise"] if len(faults) > _SHOWN else []
        raise ConfigurationError([*faults[:_SHOWN], *more])
    return result


def _tokens(tokenizer: Any, text: Text, form: Format) -> tuple[list[int], int, int]:
    """All ids, the first of the answer, and the first behind it."""
    whole, begin, end = form.render(tokenizer, text) if text.turns else (text.answer, 0, len(text.answer))
    special = not (text.turns and isinstance(form, Chat))  # a chat template writes its own
    if (found := aligned(tokenizer, whole, (begin, end), special)) is None:
        raise ConfigurationError(
            f"{text.named}: a token reaches across the border of prompt and answer, and this tokenizer does not say "
            "which: use its fast version, or a prompt that ends in a line break"
        )
    return found


def _ended(ids: list[int], stop: int, eos: int) -> list[int]:
    """Up to the first end-of-sequence token behind the answer."""
    return [*ids[: ids.index(eos, stop)], eos] if eos in ids[stop:] else [*ids, eos]
