"""A user's own texts, of which several requests name some."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from unweave.data.text_file import Table
from unweave.evaluation.value import Array
from unweave.modalities._base import Data, Membership, Rows
from unweave.modalities.texts.build import built, request
from unweave.modalities.texts.data import Text
from unweave.modalities.texts.job import TextJob
from unweave.modalities.texts.recipe import TextRecipe
from unweave.modalities.texts.requests import own_table, own_texts, split_of, words

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

    def named(self, recipe: TextRecipe) -> Rows:
        """By id, row or lot."""
        assert recipe.forget is not None
        return split_of(recipe.forget, self.texts)[1].forget

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
