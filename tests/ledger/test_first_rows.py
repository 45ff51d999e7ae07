"""A certificate begins with its state and a few rows in plain words, for whoever signs; the numbers stand below."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.ledger._ledgers import certificate
from tests.report.test_first_page import in_plain_words
from unweave.audit.standing import SILENT, STANDINGS, Standing
from unweave.ledger.certificate import state, text
from unweave.ledger.chain import Entry

CLAIM = {"level": "E1", "text": "It holds.", "against": [], "missing": ["that x holds (was not looked at: `y`)"]}
CLAUSE = {"side": "keep", "clause": "accuracy falls by at most 6 points", "group": None, "limit": 0.06, "met": True}
CLAUSE |= {"state": "met", "measured": 0.01, "bound": 0.03, "n": 169}
AGAINST = "What was forgotten comes back."
CASES: dict[str, tuple[str, dict[str, Any], Standing]] = {
    "tested": ("certificate", {}, "shown"),
    "not tested": ("certificate", {"claim": CLAIM | {"level": "E0"}}, "not shown"),
    "too few": ("certificate", {"shown": False}, "not shown"),
    "against": ("certificate", {"claim": CLAIM | {"against": [AGAINST]}}, "refuted"),
    "not reached": ("rejection", {"cause": "missed", "reason": "not reached"}, "refuted"),
    "not ended": ("rejection", {"cause": "interrupted", "reason": "it was ended"}, "not shown"),
}


@pytest.mark.parametrize("name", CASES)
def test_the_first_rows_say_the_state_in_plain_words(name: str, tmp_path: Path) -> None:
    kind, changes, expected = CASES[name]
    sheet = {"FA": {"value": 0.1, "low": 0.05, "high": 0.2, "n": 60, "unit": "share"}}
    body = certificate(tmp_path, "R-1", 1) | {"claim": CLAIM, "contract": [CLAUSE]} | changes
    body["records"] |= {"ids": 3, "people": 3, "count": 1204}
    body["scores"] = {name: sheet | scores for name, scores in body["scores"].items()}
    entry = Entry(4, "2026-01-01T00:00:00+00:00", kind, body, "00", "ab", "cd")
    first, details = text(entry).split("## Details")
    assert state(entry) == expected and f"**{STANDINGS[expected].head}.** {STANDINGS[expected].says}" in first
    others = [words for other, words in STANDINGS.items() if other != expected]
    assert not [words for words in others if words.says in first or words.then in first]
    assert SILENT in first and "1,204 records of 3 people (named by 3 ids)" in first
    assert "measured 1.0 points worse, at most 3.0 points worse" in first and "evidence that x holds;" in first
    assert ('Bounded influence, measured by "right on the data to forget"' in first) == (expected == "shown")
    assert (AGAINST in first) == (name == "against")
    in_plain_words(first)
    assert "hamu_q" in details and "FA" in details, "for whoever checks"
    assert 9 <= first.count("\n|") <= 10, "a few rows"
