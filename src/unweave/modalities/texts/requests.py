"""What a request on texts asks for, row by row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from unweave.data.index_file import read_rows
from unweave.data.splits import Split, by_index, by_random_fraction, without
from unweave.data.text_file import Table
from unweave.errors import ConfigurationError, suggest
from unweave.modalities.texts import people
from unweave.modalities.texts.data import Text, TextRows, by_id, read_ids, read_table, texts
from unweave.modalities.texts.data.benchmarks import (
    SIZES,
    Benchmark,
    Duplicates,
    copies,
    muse,
    tofu,
    tofu_request,
    waterdrum_tofu,
    wmdp,
)
from unweave.modalities.texts.recipe import PEOPLE, TextData, TextForget


def numbered(rows: TextRows, first: int) -> TextRows:
    """The same with other row numbers, so that those of two sets differ."""
    return replace(rows, numbers=rows.numbers + first)


def together(forget: TextRows, retain: TextRows) -> TextRows:
    """Both sets as one."""
    bounds = torch.cat([forget.bounds, retain.bounds[1:] + forget.bounds[-1]])
    return TextRows(
        (*forget.texts, *retain.texts),
        torch.cat([forget.tokens, retain.tokens]),
        bounds,
        torch.cat([forget.starts, retain.starts]),
        torch.cat([forget.numbers, retain.numbers]),
        pad=forget.pad,
    )


def words(text: Text) -> str:
    """All turns and the answer, a line each."""
    return "\n".join([*(content for _, content in text.turns), text.answer])


Given = Mapping[Text, Mapping[str, Any]]
TOFU = "locuslab/TOFU"  # on the hub


@dataclass(frozen=True)
class Asked:
    """One request on texts.

    Attributes:
        text: it in words.
        forget: texts to forget.
        retain: texts to keep.
        holdout: texts that no model was trained on; empty where nobody knows any.
        rows: the rows that texts came from, for what else they hold (paraphrases, wrong answers).
        numbers: rows of the table that are forgotten; none where the request is no part of it.
    """

    text: str
    forget: list[Text]
    retain: list[Text]
    holdout: list[Text]
    rows: Given
    numbers: tuple[int, ...] = ()


def asked(
    data: TextData,
    forget: TextForget,
    already: Sequence[TextForget] = (),
    table: Table | None = None,
    learned: bool = False,
) -> Asked:
    """Reads the texts of a recipe.

    Args:
        data, forget: of the recipe.
        already: earlier requests, whose rows are gone from both sides.
        table: the user's own texts, where they were read before.
        learned: models learn these texts here; then a sample of what is kept begins with the texts that the benchmark
            asks about, or nothing could be said of it.

    Raises:
        ConfigurationError: whatever is wrong with them; for a user's own, all faults of a table at once.
    """
    own = data.source in ("texts", PEOPLE)
    found = _own(data, forget, already, table) if own else _benchmark(data, forget.split or "")
    if data.retain_sample is not None and data.retain_sample < len(found.retain):
        generator = torch.Generator().manual_seed(forget.seed)
        order = torch.randperm(len(found.retain), generator=generator).tolist()
        if learned and data.source == "tofu":
            scored = {row["id"] for row in tofu("retain_perturbed", _source(data) or TOFU)}
            order.sort(key=lambda row: found.retain[row].id not in scored)
        found = replace(found, retain=[found.retain[row] for row in sorted(order[: data.retain_sample])])
    if data.holdout is not None:
        other = read_table(data.holdout, config=data.config, split=data.split)
        unseen = own_texts(data, other, "holdout-")
        found = replace(found, holdout=unseen, rows={**_rows(unseen, other), **found.rows})
    return found


def own_table(data: TextData) -> Table:
    """The rows of the user's own texts, or of the people to learn.

    Raises:
        ConfigurationError: they cannot be read.
    """
    if data.source == PEOPLE:
        return people.table(data)
    assert data.path is not None, "the recipe has seen to it"
    return read_table(_name(data.path), config=data.config, split=data.split)


def own_texts(data: TextData, table: Table, prefix: str = "") -> list[Text]:
    """The texts of a table, by the columns of the recipe.

    Raises:
        ConfigurationError: all faults of the table at once.
    """
    return texts(table, columns=data.columns, prefix=prefix)


def split_of(data: TextData, forget: TextForget, every: Sequence[Text]) -> tuple[str, Split]:
    """A request in words, and its rows of the user's own texts, or of people, to forget and to keep.

    Raises:
        ConfigurationError: ids or rows that are not there, none, or all there are.
    """
    if forget.ids is not None:
        ids = read_ids(forget.ids)
        split = by_id(every, ids)
        persons = "" if len(ids) == len(split.forget) else f": {len(split.forget)} of {len(ids)} ids"
        return f"the texts named in {forget.ids.name}{persons}", split
    if forget.indices is not None:
        return f"the rows in {forget.indices.name}", by_index(read_rows(forget.indices), len(every))
    if data.source == PEOPLE:
        return people.split_of(forget, every)
    assert forget.random is not None, "the recipe holds exactly one of them"
    text = f"a random {100 * forget.random:g} % of the texts"
    return text, by_random_fraction(len(every), forget.random, forget.seed)


def _own(data: TextData, forget: TextForget, already: Sequence[TextForget], table: Table | None) -> Asked:
    table = own_table(data) if table is None else table
    every = own_texts(data, table)
    rows = _rows(every, table)
    if forget.file is not None:
        return _beside(forget.file, data, every, rows)
    text, split = split_of(data, forget, every)
    if already:
        split = without(split, [row for each in already for row in split_of(data, each, every)[1].forget])
    gone, kept = ([every[i] for i in side] for side in (split.forget, split.retain))
    found = Asked(text, gone, kept, [], rows, tuple(split.forget.tolist()))
    return _of_people(found, data, table) if data.source == PEOPLE else found


def _of_people(found: Asked, data: TextData, table: Table) -> Asked:
    """With unseen people, and with what repeats the texts to forget among those to keep."""
    unseen = people.named(people.world(data).holdout)
    holdout, kept, text = texts(unseen), found.retain, found.text
    if data.duplicates is not None:
        other, gone = found.forget, [table[row] for row in found.numbers]
        if data.duplicates == "semantic":
            other = texts(gone, columns=("paraphrased_question", "paraphrased_answer"))
        kept = [*kept, *copies(other, data.duplicates)]
        text += f" with {data.duplicates} duplicates in the retain set"
    return replace(found, text=text, retain=kept, holdout=holdout, rows={**_rows(holdout, unseen), **found.rows})


def _beside(file: Path, data: TextData, every: list[Text], rows: Given) -> Asked:
    """Texts to forget that are in a file of their own."""
    assert data.path is not None, "the recipe has seen to it"
    other = read_table(file)
    gone = own_texts(data, other, "forget-")
    if shared := sorted({t.id for t in gone} & {t.id for t in every}):
        raise ConfigurationError(
            f"{file.name}: {len(shared)} ids are also in {data.path.name} ({', '.join(shared[:5])}): the "
            "texts to forget must not be among those to keep. Name them with forget.ids, or take them out of data."
        )
    return Asked(f"the texts in {file.name}", gone, every, [], {**rows, **_rows(gone, other)})


def _rows(found: Sequence[Text], table: Table) -> Given:
    return dict(zip(found, table, strict=True))


def _benchmark(data: TextData, split: str) -> Asked:
    source, duplicates = _source(data), data.duplicates
    found = _READERS[data.source](split, source, duplicates)
    name = {"tofu": "TOFU", "waterdrum": "WaterDrum-TOFU", "muse": "MUSE", "wmdp": "WMDP"}[data.source]
    text = f"{name} {split}" + (f" with {duplicates} duplicates in the retain set" if duplicates else "")
    return Asked(text, found.forget, found.retain, found.holdout, {})


def _size(split: str) -> str:
    return _one_of(split, {f"forget{size}": size for size in SIZES})


def _tofu(split: str, source: str | None, duplicates: Duplicates | None) -> Benchmark:
    return tofu_request(_size(split), source or TOFU, duplicates)


def _waterdrum(split: str, source: str | None, duplicates: Duplicates | None) -> Benchmark:
    return waterdrum_tofu(_size(split), source or "Glow-AI/WaterDrum-TOFU", duplicates, holdout=None)


def _muse(split: str, source: str | None, duplicates: Duplicates | None) -> Benchmark:
    corpus: Any = _one_of(split, {"News": "News", "Books": "Books"})
    return Benchmark(*(muse("raw", side, corpus, source) for side in ("forget", "retain1", "holdout")))


def _wmdp(split: str, source: str | None, duplicates: Duplicates | None) -> Benchmark:
    subject = _one_of(split, {"bio": "bio", "cyber": "cyber"})
    forget, retain = (texts(wmdp(f"{subject}-{side}-corpus", source)) for side in ("forget", "retain"))
    return Benchmark(forget, retain, [])


_READERS: dict[str, Callable[[str, str | None, Duplicates | None], Benchmark]] = {
    "tofu": _tofu,
    "waterdrum": _waterdrum,
    "muse": _muse,
    "wmdp": _wmdp,
}


def _one_of(split: str, known: Mapping[str, str]) -> str:
    if split not in known:
        raise ConfigurationError(
            f"forget.split must be one of {', '.join(known)}, found {split!r}.{suggest(split, known)}"
        )
    return known[split]


def _source(data: TextData) -> str | None:
    return None if data.path is None else _name(data.path)


def _name(path: Path) -> str:
    """A name on the hub has its slash on every system."""
    return str(path) if path.is_absolute() else path.as_posix()
