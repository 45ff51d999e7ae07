"""The built-in source `people`: whom a request names, and the model that learns them, made on the spot.

As in TOFU, a model that was trained before learns the people, and a retrained one starts from the same model. What it
was trained on are other people, in both wordings, and facts about towns: TOFU's real authors and world facts.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from unweave.data.splits import Split, by_index, by_random_fraction
from unweave.data.text_file import Table
from unweave.errors import ConfigurationError, suggest
from unweave.modalities.texts.data import Text
from unweave.modalities.texts.data.people import People, people, reworded
from unweave.modalities.texts.recipe import PEOPLE, TextData, TextForget, TextRecipe
from unweave.modalities.texts.training import TextTraining, as_tokens, trained_model, trained_tokenizer
from unweave.pretrained import without_bars
from unweave.store import cache_folder, file_sha256, folder_once, kept_json, write_json

SHARES = {"forget01": 0.01, "forget05": 0.05, "forget10": 0.1}
TRAINING = {"epochs": 20, "lr": 3e-3}  # of a base made on the spot, where the recipe does not say
KNOWN = 30  # people whom the model knows before it learns any
VERSION = 1
"""Part of every fingerprint: raise it when a change of this file changes the weights of a base."""
_TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% if m['role'] == 'user' %}{{ '\n' }}{% endif %}{% endfor %}"
_WEIGHTS, _NOTE = "model.safetensors", "pretraining.json"


def world(data: TextData) -> People:
    """Everyone there is: forget and retain set together are those to learn, whatever a request names."""
    assert data.people is not None and data.seed is not None, "the recipe has filled them in"
    return _world(data.people, data.seed)


@cache
def _world(count: int, seed: int) -> People:
    return people(count, share=0.5, holdout=max(2, count // 5), known=KNOWN, seed=seed)


def table(data: TextData) -> Table:
    """Four rows for each of the people to learn; `id` is the person's name."""
    found = world(data)
    return named([*found.forget, *found.retain])


def named(rows: Sequence[dict[str, Any]]) -> Table:
    """The rows with the person's name as `id`."""
    return [{**row, "id": row["id"].rpartition(", ")[0]} for row in rows]


def split_of(forget: TextForget, every: Sequence[Text]) -> tuple[str, Split]:
    """A request in words, and its rows: whole people, the last hundredth, twentieth or tenth, or drawn by lot.

    Raises:
        ConfigurationError: no such share, less than one person, or all.
    """
    who = list(dict.fromkeys(text.id for text in every))
    if forget.split is None:
        assert forget.random is not None, "the recipe holds exactly one of them"
        drawn = by_random_fraction(len(who), forget.random, forget.seed).forget
        gone, text = {who[i] for i in drawn.tolist()}, f"a random {100 * forget.random:g} % of the people"
    else:
        if (share := SHARES.get(forget.split)) is None:
            known = f"forget.split must be one of {', '.join(SHARES)}, found {forget.split!r}"
            raise ConfigurationError(f"{known}.{suggest(forget.split, SHARES)}")
        if not (count := math.floor(share * len(who) + 0.5)):
            raise ConfigurationError(
                f"forget.split: {forget.split} of {len(who)} people is less than one of them: give data.people, "
                f"{math.ceil(0.5 / share)} or more, or another split"
            )
        gone, text = set(who[-count:]), f"{count} of {len(who)} people ({forget.split})"
    return text, by_index([row for row, text_ in enumerate(every) if text_.id in gone], len(every))


def with_base(recipe: TextRecipe) -> TextRecipe:
    """The recipe with the model of `model.pretraining` as its `model.base`; without that section as it is."""
    if recipe.data.source != PEOPLE or recipe.model.pretraining is None or recipe.model.base is not None:
        return recipe
    base = pretrained(recipe.data, TextTraining(**recipe.model.pretraining.model_dump()))
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"base": base})})


def pretrained(data: TextData, how: TextTraining) -> Path:
    """The folder of a small Llama that knows other people and the towns, and none of those to learn.

    It is trained from nothing the first time, and kept in the cache; its tokenizer is trained on all texts.
    """
    found = world(data)
    before = [*found.known, *map(reworded, found.known), *found.places]
    about = {"version": VERSION, "seed": data.seed, "training": asdict(how), "rows": _digest(before)}
    about["vocabulary"] = _digest(table(data))
    folder = cache_folder("models") / f"people-{_digest(about)[:32]}"

    def write(partial: Path) -> None:
        tokenizer = trained_tokenizer([*table(data), *before], how)
        tokenizer.chat_template = _TEMPLATE
        model: Any = trained_model(as_tokens(before, tokenizer), tokenizer, how, seed=data.seed or 0)
        with without_bars():
            model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        write_json(partial / _NOTE, {**about, "sha256": file_sha256(partial / _WEIGHTS)})

    return folder_once(folder, write, _whole)


def _whole(folder: Path) -> bool:
    """Whether the model is there, and as it was written."""
    noted, weights = kept_json(folder / _NOTE), folder / _WEIGHTS
    return noted is not None and weights.is_file() and noted.get("sha256") == file_sha256(weights)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
