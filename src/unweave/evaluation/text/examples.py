"""What is asked of a text model, as token ids: a question's answer, its paraphrases and its wrong answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unweave.errors import ConfigurationError

IGNORED = -100
Encode = Callable[[str, str], tuple[Sequence[int], Sequence[int]]]


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
    def of(cls, ids: Sequence[int], labels: Sequence[int]) -> Tokenised:
        """From a row of a batch: the answer is from the first label that is asked for to the last; the rest is padding.

        A text without prompt is asked for from its second token on.
        """
        asked = [i for i, label in enumerate(labels) if label != IGNORED and i > 0]
        end = asked[-1] + 1 if asked else len(ids)
        if asked and end - asked[0] != len(asked):
            raise ConfigurationError("expected one answer per row, found labels with gaps: evaluate one turn at a time")
        return cls(tuple(int(i) for i in ids[:end]), asked[0] if asked else end)

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


def examples(rows: Iterable[Mapping[str, Any]], encode: Encode, *, question: str = "question") -> list[Example]:
    """TOFU-like rows as examples, numbered in order.

    Args:
        rows: each with `answer` and the question; `paraphrased_answer` (text or a list) and `perturbed_answer` (a list)
            are used where they are there. `index` numbers a row where it is given.
        encode: question and answer -> input ids and labels, as for training.
        question: the column that is asked: "paraphrased_question" asks in other words.

    Raises:
        ConfigurationError: columns are missing, an answer is empty or an index is there twice; all rows at once.
    """
    found: list[Example] = []
    faults: list[str] = []
    for number, row in enumerate(rows):
        index = int(row.get("index", number))
        try:
            asked, text = str(row[question]), str(row["answer"])

            def tokenised(answer: Any, asked: str = asked) -> Tokenised:
                return Tokenised.of(*encode(asked, str(answer)))

            paraphrases = row.get("paraphrased_answer", [])
            paraphrases = [paraphrases] if isinstance(paraphrases, str) else paraphrases
            found.append(
                Example(
                    index,
                    tokenised(text),
                    text,
                    tuple(map(tokenised, paraphrases)),
                    tuple(map(tokenised, row.get("perturbed_answer", []))),
                )
            )
        except KeyError as error:
            faults.append(f"row {index}: expected a column {error.args[0]!r}, found {', '.join(row)}")
        except ConfigurationError as error:
            faults.append(f"row {index}: {error}")
    if faults:
        raise ConfigurationError(faults)
    check_unique(found, "the rows")
    return found


def choices(rows: Iterable[Mapping[str, Any]], encode: Encode, *, topic: str = "") -> list[Example]:
    """WMDP-like rows (`question`, `choices`, `answer`: the right one's number) as examples with four lettered options.

    The prompt is that of the LM evaluation harness: the question, the options after A. to D., and "Answer:"; the right
    letter is the answer, the others are its wrong answers. Li et al., WMDP, ICML 2024.

    Args:
        rows: as in the files.
        encode: prompt and answer -> input ids and labels, without a chat template.
        topic: as in "about biology"; left out if empty.
    """
    head = "The following are multiple choice questions (with answers)" + (f" about {topic}" if topic else "") + ".\n\n"
    found = []
    for index, row in enumerate(rows):
        letters = "ABCDEFGHIJ"[: len(row["choices"])]
        options = "\n".join(f"{letter}. {text}" for letter, text in zip(letters, row["choices"], strict=True))
        prompt = f"{head}{row['question'].strip()}\n{options}\nAnswer:"
        right, *wrong = (f" {letters[n]}" for n in _right_first(int(row["answer"]), len(letters)))
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


def _right_first(right: int, options: int) -> list[int]:
    if not 0 <= right < options:
        raise ConfigurationError(f"answer: expected a number from 0 to {options - 1}, found {right}")
    return [right, *(n for n in range(options) if n != right)]
