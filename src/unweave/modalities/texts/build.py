"""From a recipe of texts to its job: everything read and tokenised, nothing trained or loaded yet."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from unweave.data.checks import check_overlap
from unweave.data.text_file import Table, lines, read_text
from unweave.errors import ConfigurationError, gathered
from unweave.modalities.texts import models
from unweave.modalities.texts.data import Text, TextRows, tokenised
from unweave.modalities.texts.job import TextJob
from unweave.modalities.texts.recipe import TextData, TextRecipe
from unweave.modalities.texts.requests import Asked, asked
from unweave.modalities.texts.rows import numbered
from unweave.modalities.texts.sets import parts

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
    texts = partial(asked, recipe.data, recipe.forget, recipe.already, table, _learned(recipe))
    _, found = gathered(recipe.check_models, texts)
    return built(recipe, found)


def built(recipe: TextRecipe, found: Asked) -> TextJob:
    """The job of a request whose texts were read.

    Raises:
        ConfigurationError: as `request`.
    """
    assert recipe.forget is not None
    data, tokenizer = recipe.data, models.tokenizer_of(recipe.model)
    form = models.form_of(data, tokenizer, [*found.forget, *found.retain])
    longest = data.max_length or models.context_of(recipe.model, tokenizer) or _CONTEXT
    unseen, measured = (found.holdout[::2], found.holdout[1::2]) if _reads_holdout(recipe) else ([], found.holdout)

    def rows(texts: Sequence[Text], side: str, refusals: Sequence[str] | None = None) -> TextRows:
        try:
            return tokenised(
                texts,
                tokenizer,
                format=form,
                max_length=longest,
                too_long=_too_long(data, texts),
                alternates=refusals,
                seed=recipe.run.seed,
            )
        except ConfigurationError as error:
            raise ConfigurationError([f"{side}: {fault}" for fault in error.faults]) from None

    forget, retain = rows(found.forget, "forget", _refusals(data)), rows(found.retain, "retain")
    retain = numbered(retain, len(forget))
    check_overlap(forget, retain)
    return TextJob(
        recipe,
        found,
        tokenizer,
        form,
        forget,
        retain,
        rows(unseen, "holdout") if unseen else None,
        parts(tokenizer, found, data, recipe.forget, recipe.evaluation, form, measured, longest, _learned(recipe)),
        rows(measured, "holdout") if measured else None,
    )


def _learned(recipe: TextRecipe) -> bool:
    """Whether a model learns the texts here: the original, or the one to compare with."""
    return recipe.model.base is not None


def _reads_holdout(recipe: TextRecipe) -> bool:
    """Whether a clause of the contract looks at texts that no model has seen; then the scores are of others."""
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
