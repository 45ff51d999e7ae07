"""A folder that holds evidence and no run has a page, too: what was found, of which models, and its limits."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.report.card import card
from tests.report.test_pages import checked
from unweave.audit.claims import BLIND
from unweave.errors import ConfigurationError
from unweave.report.build import build

FOR = {"against": [], "refuted": False, "level": "E2"}


@pytest.fixture(scope="module")
def drawn() -> dict[str, Any]:
    return json.loads(json.dumps(card()))  # type: ignore[no-any-return]


def test_what_speaks_against_comes_first(drawn: dict[str, Any], tmp_path: Path) -> None:
    broken = [item | {"finding": "refutes"} if item["name"] == "budget" else item for item in drawn["claim"]["items"]]
    against = [item["denies"] for item in broken if item["finding"] == "refutes" and item["name"] != BLIND]
    found = drawn | {"claim": drawn["claim"] | {"items": broken, "against": against}}
    (tmp_path / "evidence.json").write_text(json.dumps(found))
    text = checked(build(tmp_path))
    links = set(re.findall(r'href="#(at-[\w-]+)"', text))
    assert len(links) >= 3 and all(f'id="{link}"' in text for link in links), "a run's contract has no section here"
    assert "A limit that was agreed was not kept." in text
    assert (
        "The influence of this data on the model is not bounded: a limit" in text
        and "8 original, 8 retrained, 8 unlearned models" in text
    )
    assert "models made for this evidence, of one recipe" in text and "ask for tests of that very model" in text
    for title in ("Strongest claim", "Gaps to retraining", "Relearning", "blind", "Limits of this claim", "null band"):
        assert title in text, title
    assert all(sentence in text for sentence in against) and len(against) >= 3
    assert "&lt;" in text and "<script>alert" not in text


def test_what_it_supports_and_about_which_model(drawn: dict[str, Any], tmp_path: Path) -> None:
    items = [{**item, "finding": None} for item in drawn["claim"]["items"]]
    own = {"recipe": "0" * 64, "before": "1" * 64, "after": "2" * 64}
    found = drawn | {"claim": drawn["claim"] | FOR | {"items": items}, "own_run": own}
    (tmp_path / "evidence.json").write_text(json.dumps(found))
    text = checked(build(tmp_path)).replace("&#39;", "'")
    assert "No limits were agreed." in text
    assert "E2. Over several trainings" in text and "Every limit that was agreed is kept" not in text
    assert f"a run's own, the tensors with SHA-256 {'2' * 16}" in text


def test_evidence_that_is_not_complete_says_what_is_missing(drawn: dict[str, Any], tmp_path: Path) -> None:
    parts = ("attacks", "over_runs", "robustness", "claim")
    found = drawn | dict.fromkeys(parts) | {"pending": list(parts), "status": "running"}
    (tmp_path / "evidence.json").write_text(json.dumps(found))
    text = checked(build(tmp_path))
    assert "missing: attacks, over_runs, robustness, claim" in text and "Gaps to retraining" in text
    assert "Relearning" not in text


def test_evidence_of_another_form_is_refused(drawn: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "evidence.json").write_text(json.dumps(drawn | {"schema": 2}))
    with pytest.raises(ConfigurationError, match="expected schema 1, found 2"):
        build(tmp_path)
    (tmp_path / "evidence.json").write_text("{")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        build(tmp_path)
