"""The gaps to retraining, beside the original's and beside those of retraining to itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unweave.audit.evidence_parts.pools import KINDS, Pools
from unweave.audit.runs import GapTable, Margins, retrain_gap
from unweave.evaluation.enough import FEWEST_FOR_NULL
from unweave.evaluation.gap import GAP_METRICS
from unweave.evaluation.value import Score

Sheets = Mapping[str, Sequence[Mapping[str, Score]]]


def sheets_of(pools: Pools, seed: int = 0) -> Sheets:
    """The sheet of every model, by kind."""
    return {kind: [seen.sheet(seed) for seen in pools.of(kind)] for kind in KINDS}


def gap_table(sheets: Sheets, margins: Margins, seed: int = 0) -> GapTable:
    """The gaps of the unlearned models."""
    return retrain_gap(sheets["unlearned"], sheets["retrained"], margins=margins, seed=seed)


def gaps_part(sheets: Sheets, margins: Margins, seed: int = 0) -> dict[str, Any]:
    """`gaps` of `evidence.json`: of the unlearned and the original models, and the null row.

    The null row is one half of the retrained models against the other: what an exact method shows at half the size.
    """
    reference = sheets["retrained"]
    half = len(reference) // 2
    rows = {
        "unlearned": gap_table(sheets, margins, seed),
        "original": retrain_gap(sheets["original"], reference, margins=margins, seed=seed),
    }
    if len(reference) >= FEWEST_FOR_NULL:
        rows["null"] = retrain_gap(reference[:half], reference[half:], margins=margins, seed=seed)
    values = {q: {kind: [_points(sheet[q]) for sheet in sheets[kind]] for kind in KINDS} for q in GAP_METRICS}
    return {"null": None} | {name: table_part(table) for name, table in rows.items()} | {"values": values}


def table_part(table: GapTable) -> dict[str, Any]:
    """A table of gaps, ready for JSON."""
    metrics = {q: gap.as_dict() | {"equivalent": gap.verdict == "equivalent"} for q, gap in table.gaps.items()}
    return {"metrics": metrics, "average_gap": table.average.as_dict(), "ToW": table.tow.as_dict()}


def _points(score: Score) -> float | None:
    return None if score.value is None else 100 * score.value
