"""The texts that a recipe names: which are to be forgotten, which are kept, and which no model has seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from unweave.data.splits import by_random_fraction
from unweave.data.text import Text, by_id, read_ids, read_table, texts
from unweave.data.text.benchmarks import SIZES, Benchmark, Duplicates, muse, tofu_request, waterdrum_tofu, wmdp
from unweave.data.text.sources import Table
from unweave.errors import ConfigurationError, suggest
from unweave.run.sections import DataSection, ForgetSection

Rows = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Asked:
    """One request on texts.

    Attributes:
        text: it in words.
        forget: texts to forget.
        retain: texts to keep.
        holdout: texts that no model was trained on; empty where nobody knows any.
        rows: the rows that texts came from, by id, for what else they hold (paraphrases, wrong answers).
    """

    text: str
    forget: list[Text]
    retain: list[Text]
    holdout: list[Text]
    rows: Rows


def asked(data: DataSection, forget: ForgetSection) -> Asked:
    """Reads the texts of a recipe.

    Raises:
        ConfigurationError: whatever is wrong with them; for a user's own, all faults of a table at once.
    """
    found = _own(data, forget) if data.source == "texts" else _benchmark(data, forget.split or "")
    if data.retain_sample is not None and data.retain_sample < len(found.retain):
        generator = torch.Generator().manual_seed(forget.seed)
        chosen = torch.randperm(len(found.retain), generator=generator)[: data.retain_sample].sort().values
        found = replace(found, retain=[found.retain[row] for row in chosen.tolist()])
    if data.holdout is not None:
        table = read_table(data.holdout, config=data.config, split=data.split)
        rows = {**_by_id(table, "holdout-"), **found.rows}
        found = replace(found, holdout=_texts(table, data, "holdout-"), rows=rows)
    return found


def _own(data: DataSection, forget: ForgetSection) -> Asked:
    assert data.path is not None, "the recipe has seen to it"
    table = read_table(_name(data.path), config=data.config, split=data.split)
    every, rows = _texts(table, data), _by_id(table)
    if forget.file is not None:
        other = read_table(forget.file)
        gone = _texts(other, data, "forget-")
        if shared := sorted({t.id for t in gone} & {t.id for t in every}):
            raise ConfigurationError(
                f"{forget.file.name}: {len(shared)} ids are also in {data.path.name} ({', '.join(shared[:5])}): the "
                "texts to forget must not be among those to keep. Name them with forget.ids, or take them out of data."
            )
        return Asked(f"the texts in {forget.file.name}", gone, every, [], {**rows, **_by_id(other, "forget-")})
    if forget.ids is not None:
        split, text = by_id(every, read_ids(forget.ids)), f"the texts named in {forget.ids.name}"
    else:
        assert forget.random is not None, "the recipe holds exactly one of them"
        split = by_random_fraction(len(every), forget.random, forget.seed)
        text = f"a random {100 * forget.random:g} % of the texts"
    return Asked(text, [every[i] for i in split.forget], [every[i] for i in split.retain], [], rows)


def _texts(table: Table, data: DataSection, prefix: str = "") -> list[Text]:
    return texts(table, columns=data.columns, prefix=prefix)


def _by_id(table: Table, prefix: str = "") -> Rows:
    return {f"{prefix}{n}" if row.get("id") is None else str(row["id"]): row for n, row in enumerate(table)}


def _benchmark(data: DataSection, split: str) -> Asked:
    source, duplicates = None if data.path is None else _name(data.path), data.duplicates
    found = _READERS[data.source](split, source, duplicates)
    name = {"tofu": "TOFU", "waterdrum": "WaterDrum-TOFU", "muse": "MUSE", "wmdp": "WMDP"}[data.source]
    text = f"{name} {split}" + (f" with {duplicates} duplicates in the retain set" if duplicates else "")
    return Asked(text, found.forget, found.retain, found.holdout, {})


def _size(split: str) -> str:
    return _one_of(split, {f"forget{size}": size for size in SIZES})


def _tofu(split: str, source: str | None, duplicates: Duplicates | None) -> Benchmark:
    return tofu_request(_size(split), source or "locuslab/TOFU", duplicates)


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


def _name(path: Path) -> str:
    """A name on the hub has its slash on every system."""
    return str(path) if path.is_absolute() else path.as_posix()
