"""A recipe of texts becomes a job, tokenised; and a user's own texts, of which several requests name some."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from torch import nn

from unweave.data.checks import check_overlap
from unweave.data.text_file import Table, lines, read_text
from unweave.errors import ConfigurationError, gathered
from unweave.evaluation.metric import Array
from unweave.modalities._base import Data, Membership, Rows
from unweave.modalities.texts import models, people
from unweave.modalities.texts.data import Chat, Plain, Text, TextRows, tokenised
from unweave.modalities.texts.data.format import encoded
from unweave.modalities.texts.evaluation import (
    Example,
    Part,
    Tokenised,
    encoder,
    examples,
    muse_parts,
    tofu_parts,
    wmdp_parts,
)
from unweave.modalities.texts.evaluation.collect import beyond
from unweave.modalities.texts.evaluation.examples import OTHERS, other_answers
from unweave.modalities.texts.evaluation.sheet import attacked
from unweave.modalities.texts.job import TextJob
from unweave.modalities.texts.recipe import PEOPLE, TextData, TextEvaluation, TextForget, TextRecipe
from unweave.modalities.texts.requests import Asked, Given, asked, numbered, own_table, own_texts, split_of, words
from unweave.modalities.texts.training import Finetuning


def parts(
    tokenizer: Any,
    asked: Asked,
    data: TextData,
    forget: TextForget,
    how: TextEvaluation,
    form: Chat | Plain,
    holdout: Sequence[Text],
    longest: int,
    learned: bool,
) -> dict[str, Part]:
    """The sets of the standard sheet.

    Args:
        tokenizer: the model's.
        asked: the request.
        data, forget, how: of the recipe.
        form: how a prompt is written.
        holdout: texts that no model was trained on, and that no clause of the contract looks at.
        longest: tokens of a text, at most.
        learned: models learn these texts here; of a sampled retain set they are asked what is in it, and no more.
    """
    source: Any = None if data.path is None else (str(data.path) if data.path.is_absolute() else data.path.as_posix())
    split, most = forget.split or "", how.at_most
    if data.source == "tofu":
        given = {} if source is None else {"source": source}
        found = tofu_parts(
            tokenizer,
            split.removeprefix("forget"),
            form=form,
            generate=how.generate,
            gradient=how.gradient,
            at_most=most,
            retained={text.id for text in asked.retain} if learned and data.retain_sample is not None else None,
            **given,
        )
        kept = [e for e in found["holdout"].examples if e.text in {t.answer for t in holdout}]
        return {**found, "holdout": replace(found["holdout"], examples=kept)}
    if data.source == "muse":
        corpus: Any = split
        return muse_parts(tokenizer, corpus, source, max_length=min(longest, 2048), at_most=most)
    own = own_parts(tokenizer, asked, how, form, holdout, longest)
    if data.source == PEOPLE:
        world, encode = people.world(data), encoder(tokenizer, form)
        others = {"real_authors": world.known, "world_facts": world.places}
        return own | {k: Part(examples(rows[:most], encode), generate=how.generate) for k, rows in others.items()}
    return {**own, **wmdp_parts(tokenizer, split, source, at_most=most)} if data.source == "wmdp" else own


def own_parts(
    tokenizer: Any, asked: Asked, how: TextEvaluation, form: Chat | Plain, holdout: Sequence[Text], longest: int
) -> dict[str, Part]:
    """Forget, retain, holdout; and the forget set in other words, where its rows have them."""
    most = how.at_most

    def part(chosen: Sequence[Text], generate: int = 0, gradient: bool = False) -> Part:
        found = _examples(tokenizer, chosen[:most], asked.rows, form, longest)
        running = any(not text.turns for text in chosen)
        return Part(found, generate=0 if running else generate, gradient=gradient)

    found = {"forget": part(asked.forget, how.generate, how.gradient), "retain": part(asked.retain, how.generate)}
    if holdout:
        found["holdout"] = part(holdout, gradient=how.gradient)
    rows = [asked.rows.get(text, {}) for text in asked.forget[:most]]
    if rows and all("paraphrased_question" in row and "answer" in row for row in rows):
        reworded = [{key: row[key] for key in ("paraphrased_question", "answer")} for row in rows]
        encode = encoder(tokenizer, form)
        found["forget_paraphrased"] = Part(
            examples(reworded, encode, question="paraphrased_question"), generate=how.generate
        )
    return found


def _examples(tokenizer: Any, chosen: Sequence[Text], rows: Given, form: Chat | Plain, longest: int) -> list[Example]:
    """The texts with all their turns; paraphrases and wrong answers come from the rows, as TOFU names them."""

    def one(text: Text) -> Tokenised:
        ids, start = encoded(tokenizer, [text], form)[0]
        return Tokenised.of(ids[:longest], start)

    def others(text: Text, column: str) -> tuple[Tokenised, ...]:
        return tuple(one(replace(text, answer=answer)) for answer in other_answers(_row(rows, text), column))

    return [
        Example(n, one(text), text.answer, *(others(text, column) for column in OTHERS))
        for n, text in enumerate(chosen)
    ]


def _row(rows: Given, text: Text) -> Mapping[str, Any]:
    return rows.get(text) or {}


_CONTEXT = 2048  # tokens of a text, at most, where neither model nor tokenizer says


def request(recipe: TextRecipe, table: Table | None = None) -> TextJob:
    """Reads texts and tokenizer of a recipe, and checks that they fit.

    Args:
        recipe: of one request.
        table: the user's own texts, where they were read before.

    Raises:
        ConfigurationError: whatever does not fit.
    """
    assert recipe.forget is not None, "a sequence asks for one request at a time"
    based = people.with_base(recipe)
    texts = partial(asked, recipe.data, recipe.forget, recipe.already, table, _learned(based))
    _, found = gathered(based.check_models, texts)
    return built(based, found)


def built(recipe: TextRecipe, found: Asked) -> TextJob:
    """The job of a request whose texts were read.

    Raises:
        ConfigurationError: as `request`.
    """
    assert recipe.forget is not None
    data, tokenizer = recipe.data, models.tokenizer_of(recipe.model)
    if recipe.run.until == "unseen" and not found.holdout:
        raise ConfigurationError(
            "run.until: 'unseen' is the level of texts that the model was never trained on, and there are none: give "
            "data.holdout, or a level in nats a token."
        )
    form = models.form_of(data, tokenizer, [*found.forget, *found.retain])
    most = context(recipe, tokenizer)
    unseen, measured = (found.holdout[::2], found.holdout[1::2]) if _reads_holdout(recipe) else ([], found.holdout)

    def rows(texts: Sequence[Text], side: str, refusals: Sequence[str] | None = None) -> TextRows:
        try:
            return tokenised(
                texts,
                tokenizer,
                format=form,
                max_length=most,
                too_long=_too_long(data, texts),
                alternates=refusals,
                seed=recipe.run.seed,
            )
        except ConfigurationError as error:
            raise ConfigurationError([f"{side}: {fault}" for fault in error.faults]) from None

    forget, retain = rows(found.forget, "forget", _refusals(data)), rows(found.retain, "retain")
    retain = numbered(retain, len(forget))
    kept = [rows(part, "holdout") if part else None for part in (unseen, measured)]
    halves = {"data.holdout (of the contract)": kept[0], "data.holdout": kept[1]}
    check_overlap(forget, retain, {name: each for name, each in halves.items() if each is not None})
    measures = parts(tokenizer, found, data, recipe.forget, recipe.evaluation, form, measured, most, _learned(recipe))
    asks = attacked(measures, tokenizer, recipe.evaluation.prefix)
    if faults := beyond(asks, models.config_of(recipe.model)):
        raise ConfigurationError(faults)
    return TextJob(
        recipe,
        found,
        tokenizer,
        form,
        forget,
        retain,
        kept[0],
        measures,
        kept[1],
        training=Finetuning(**(_training(recipe) if _learned(recipe) else {})),
        drawn=recipe.run.seed,
    )


def context(recipe: TextRecipe, tokenizer: Any) -> int:
    """Tokens of a text, at most."""
    return recipe.data.max_length or models.context_of(recipe.model, tokenizer) or _CONTEXT


def _learned(recipe: TextRecipe) -> bool:
    """Whether a model learns the texts here: the original, or the one to compare with."""
    return recipe.model.base is not None


def _training(recipe: TextRecipe) -> dict[str, Any]:
    """Of the recipe; a model made on the spot learns from larger steps than others do, where nothing is said."""
    return (people.TRAINING if recipe.model.pretraining is not None else {}) | recipe.training.arguments


def _reads_holdout(recipe: TextRecipe) -> bool:
    """Whether a clause of the contract or the end of the forget loss looks at texts that no model has seen; then the
    scores are of others.
    """
    if recipe.run.until == "unseen":
        return True
    contract = recipe.contract
    return contract is not None and (contract.forget is None or any(c.metric == "unseen" for c in contract.forget))


def _too_long(data: TextData, texts: Sequence[Text]) -> Any:
    """Benchmarks of running texts are divided, as their own code does."""
    running = data.source in ("muse", "wmdp") and not any(text.turns for text in texts)
    return "split" if running and data.too_long == "error" else data.too_long


def _refusals(data: TextData) -> list[str] | None:
    if data.refusals is None:
        return None
    try:
        found = [line.strip() for line in lines(read_text(data.refusals))]
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{data.refusals} must hold refusals, one a line, and cannot be read: {error}"
        ) from error
    return [line for line in found if line]


HASHED = 512  # features of each kind


@dataclass(frozen=True)
class TextRecords:
    """See `TrainingSet`.

    Attributes:
        table: the rows as they were read.
        texts: what they hold, in the same order.
    """

    table: Table
    texts: list[Text]

    def fingerprint(self) -> str:
        """Over ids, questions and answers."""
        whole = hashlib.sha256()
        for text in self.texts:
            whole.update(repr((text.id, text.turns, text.answer)).encode())
        return whole.hexdigest()

    def ids(self) -> None:
        """Not told: a list may leave out what a recipe adds, such as canaries."""

    def named(self, recipe: TextRecipe) -> Rows:
        """By id, row or lot."""
        assert recipe.forget is not None
        return split_of(recipe.data, recipe.forget, self.texts)[1].forget

    def job(self, recipe: TextRecipe) -> TextJob:
        """Tokenised for the recipe's model."""
        return request(recipe, self.table)

    def rows(self, job: TextJob) -> Rows:
        """Of the table."""
        return np.asarray(job.asked.numbers, dtype=np.int64)

    def holding(self, jobs: Sequence[TextJob], rows: tuple[Rows, Rows]) -> list[TextJob]:
        """By the ids of the last one's texts."""
        guard, final = (jobs[-1].retain.subset(part) for part in rows)
        return [replace(job, held=(guard, final)) for job in jobs]

    def once_more(self, last: TextJob, others: Sequence[TextJob]) -> TextJob:
        """Every text once."""
        rows = sorted({row for other in others for row in other.asked.numbers})
        text = f"{len(others)} earlier requests once more"
        found = replace(last.asked, text=text, forget=[self.texts[row] for row in rows], numbers=tuple(rows))
        return replace(built(last.recipe, found), held=last.held)

    def digests(self, rows: Rows) -> list[bytes]:
        """Of all turns and the answer, without the id."""
        records = ([self.texts[row].turns, self.texts[row].answer] for row in rows)
        written = (json.dumps(each, separators=(",", ":")) for each in records)
        return [hashlib.sha256(each.encode("ascii")).digest() for each in written]

    def apart(self, job: TextJob) -> Sequence[Data]:
        """Retain set and both parts of the holdout."""
        return [rows for rows in (job.retain, job.holdout, job.measured) if rows is not None]

    def membership(self, job: TextJob, model: nn.Module, seed: int) -> Membership | None:
        """The answers' mean log-probability, and words and letters of questions and answers."""
        if job.measured is None:
            return None
        forget, holdout = (
            -job.odds(model, side, range(len(rows))).numpy()
            for side, rows in (("forget", job.forget), ("measured", job.measured))
        )
        return Membership(forget, holdout, (features(job.forget.texts), features(job.measured.texts)))


def training_set(recipe: TextRecipe) -> TextRecords:
    """The texts of a recipe.

    Raises:
        ConfigurationError: they cannot be read, or hold faults: all of them at once.
    """
    table = own_table(recipe.data)
    return TextRecords(table, own_texts(recipe.data, table))


def features(texts: Sequence[Text]) -> Array:
    """What a classifier that never sees a model is given, `[n, 2 * 512 + 1]`.

    Counts of words and of two to four letters in a row, hashed and scaled to length 1 each, and the logarithm of the
    text's length.
    """
    from sklearn.feature_extraction.text import HashingVectorizer

    said = [words(text) for text in texts]
    kinds = ({"analyzer": "word", "ngram_range": (1, 2)}, {"analyzer": "char_wb", "ngram_range": (2, 4)})
    counts = [HashingVectorizer(n_features=HASHED, alternate_sign=False, **kind).transform(said) for kind in kinds]
    length = np.log1p([[len(each)] for each in said])
    return np.asarray(np.hstack([*(found.toarray() for found in counts), length]))
