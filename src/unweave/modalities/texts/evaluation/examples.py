"""What is asked of a text model, as token ids: a question's answer, its paraphrases and its wrong answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unweave.errors import ConfigurationError
from unweave.modalities.texts.data import Chat, Plain, Text
from unweave.modalities.texts.data.benchmarks import multiple_choice
from unweave.modalities.texts.data.format import CHAT, encoded

IGNORED = -100
OTHERS = ("paraphrased_answer", "perturbed_answer")  # columns, as TOFU names them
_LETTERS = "ABCD"
Encode = Callable[[str, str], tuple[Sequence[int], int]]  # question, answer -> ids and the answer's first


@dataclass(frozen=True)
class Tokenised:
    """One sequence: `ids[start:]` is the answer, what comes before it the prompt, of one token at least.

    Raises:
        ConfigurationError: no prompt or no answer.
    """

    ids: tuple[int, ...]
    start: int

    def __post_init__(self) -> None:
        if not 0 < self.start < len(self.ids):
            raise ConfigurationError(
                f"an answer needs a token of its own and one before it; found {self.start} tokens of prompt "
                f"and {len(self.ids) - self.start} of answer: the answer is empty, or was cut off"
            )

    @classmethod
    def of(cls, ids: Sequence[int], start: int) -> Tokenised:
        """From ids and the first of the answer; a text without prompt is asked for from its second token on."""
        return cls(tuple(int(i) for i in ids), max(1, start))

    @property
    def prompt(self) -> tuple[int, ...]:
        """The tokens before the answer."""
        return self.ids[: self.start]


@dataclass(frozen=True)
class Example:
    """One row of an evaluation set.

    Args:
        index: its number in the set.
        answer: what is scored with every metric.
        text: the answer as text, for ROUGE and zlib.
        paraphrased: other ways to say it; only their loss is read.
        perturbed: wrong answers; only their loss is read.
    """

    index: int
    answer: Tokenised
    text: str
    paraphrased: tuple[Tokenised, ...] = ()
    perturbed: tuple[Tokenised, ...] = ()

    @property
    def others(self) -> tuple[Tokenised, ...]:
        """Paraphrases, then wrong answers."""
        return (*self.paraphrased, *self.perturbed)


def encoder(tokenizer: Any, form: Chat | Plain = CHAT, eos: bool | None = None) -> Encode:
    """Tokenises as `data.text.tokenised` does for training; an empty question makes a running text.

    Args:
        tokenizer: of `transformers`.
        form: how a prompt is written.
        eos: whether answers end with the end-of-sequence token; None: all but running texts.
    """

    def encode(question: str, answer: str) -> tuple[Sequence[int], int]:
        turns = (("user", question),) if question else ()
        return encoded(tokenizer, [Text("", turns, answer)], form, eos)[0]

    return encode


def examples(rows: Iterable[Mapping[str, Any]], encode: Encode, *, question: str = "question") -> list[Example]:
    """TOFU-like rows as examples, numbered in order.

    Args:
        rows: each with `answer` and the question; `paraphrased_answer` (text or a list) and `perturbed_answer` (a list)
            are used where they are there. `index` numbers a row where it is given.
        encode: `encoder` of a tokenizer, or a function of your own.
        question: the column that is asked: "paraphrased_question" asks in other words.

    Raises:
        ConfigurationError: columns are missing, an answer is empty or an index is there twice; all rows at once.
    """
    found: list[Example] = []
    faults: list[str] = []
    for number, row in enumerate(rows):
        index = int(row.get("index", number))
        try:
            for column in (question, "answer"):
                if not isinstance(row[column], str):
                    raise ConfigurationError(f"{column} must be text, found {row[column]!r:.60}")
            text, others = row["answer"], [other_answers(row, column) for column in OTHERS]
            own, *rest = (
                tuple(Tokenised.of(*encode(row[question], answer)) for answer in answers)
                for answers in ([text], *others)
            )
            found.append(Example(index, own[0], text, *rest))
        except KeyError as error:
            faults.append(f"row {index}: expected a column {error.args[0]!r}, found {', '.join(row)}")
        except ConfigurationError as error:
            faults.append(f"row {index}: {error}")
    if faults:
        raise ConfigurationError(faults)
    check_unique(found, "the rows")
    return found


def other_answers(row: Mapping[str, Any], column: str) -> list[str]:
    """A column of other answers: a text, a list of them, or nothing.

    Raises:
        ConfigurationError: it holds something else.
    """
    given = row.get(column)
    answers = [given] if isinstance(given, str) else [] if given is None else given
    if not isinstance(answers, Sequence) or not all(isinstance(answer, str) for answer in answers):
        raise ConfigurationError(f"{column} must be a text or a list of texts, found {given!r:.60}")
    return list(answers)


def prefixed(found: Iterable[Example], decode: Callable[[Sequence[int]], str], given: int) -> list[Example]:
    """The same questions with the first `given` tokens of the answer behind them; what is left of it is scored.

    An attack: a model that keeps silent when it is asked may go on when it is helped to begin. Answers that end within
    these tokens are left out.

    Args:
        found: as `examples` makes them.
        decode: ids as text, without special tokens.
        given: tokens, 1 or more.
    """
    attacked = []
    for example in found:
        begin = example.answer.start + given
        if left := decode(example.answer.ids[begin:]).strip():
            attacked.append(Example(example.index, Tokenised(example.answer.ids, begin), left))
    return attacked


def choice_encoder(tokenizer: Any) -> Encode:
    """Tokenises a question and a letter as they are: no chat template, no end of the text."""
    return encoder(tokenizer, Plain("{question}"), eos=False)


def choices(rows: Iterable[Mapping[str, Any]], encode: Encode, *, topic: str = "") -> list[Example]:
    """WMDP-like rows (`question`, `choices`, `answer`: the right one's number) as examples with four lettered options.

    The prompt is that of the LM evaluation harness: the question, the options after A. to D., and "Answer:"; the right
    letter is the answer, the others are its wrong answers. Li et al., WMDP, ICML 2024.

    Args:
        rows: as in the files.
        encode: `choice_encoder` of a tokenizer.
        topic: as in "about biology"; left out if empty.
    """
    head = "The following are multiple choice questions (with answers)" + (f" about {topic}" if topic else "") + ".\n\n"
    found = []
    for index, row in enumerate(rows):
        prompt, number = head + multiple_choice(dict(row)), int(row["answer"])
        if not 0 <= number < 4:
            raise ConfigurationError(f"row {index}: answer: expected a number from 0 to 3, found {number}")
        right, wrong = f" {_LETTERS[number]}", [f" {letter}" for letter in _LETTERS if letter != _LETTERS[number]]
        others = tuple(Tokenised.of(*encode(prompt, letter)) for letter in wrong)
        found.append(Example(index, Tokenised.of(*encode(prompt, right)), right, perturbed=others))
    return found


def check_unique(found: Sequence[Example], what: str) -> None:
    """Every index is there once.

    Raises:
        ConfigurationError: one is there twice.
    """
    seen: set[int] = set()
    twice = sorted({e.index for e in found if e.index in seen or seen.add(e.index)})  # type: ignore[func-returns-value]
    if twice:
        raise ConfigurationError(f"{what}: expected every index once, found {twice[:5]} more often")
