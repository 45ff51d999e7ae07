"""A deletion request: the ids of the texts that are to go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unweave.data.index_file import read_ids, rows_of
from unweave.data.splits import Split, by_index
from unweave.errors import ConfigurationError, suggest
from unweave.modalities.texts.data.examples import Text, listed


def by_id(texts: Sequence[Text], ids: Sequence[str] | Path) -> Split:
    """Forget all texts with these ids, keep the others; one id may be that of several texts, as a person's is.

    Raises:
        ConfigurationError: ids that are not there or come twice, none of them, or all there are.
    """
    if isinstance(ids, Path):
        ids = read_ids(ids)
    rows = rows_of(t.id for t in texts)
    faults = []
    if missing := [i for i in ids if i not in rows]:
        close = suggest(missing[0], rows)
        faults.append(f"{len(missing)} of {len(ids)} ids are of no text ({listed(missing)}).{close}")
    if twice := sorted({i for i in ids if list(ids).count(i) > 1}):
        faults.append(f"the request names {len(twice)} ids more than once ({listed(twice)}): once is enough")
    if faults:
        raise ConfigurationError(faults)
    return by_index([row for i in ids for row in rows[i]], len(texts))
