"""The sections that `evidence.json` feeds: what several trainings, attacks and later changes of the weights say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unweave.errors import ConfigurationError
from unweave.report.card import attacks, cost, gaps, records, robustness
from unweave.report.page import Section

SCHEMA = 1
FILE = "evidence.json"


def read(path: Path) -> Mapping[str, Any] | None:
    """What an evidence file holds; None where there is none.

    Raises:
        ConfigurationError: it is of a form that this version does not know.
    """
    if not path.is_file():
        return None
    card: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if card.get("schema") != SCHEMA:
        raise ConfigurationError(
            f"{path}: expected schema {SCHEMA}, found {card.get('schema')}. Collect it again with this version: "
            "unweave evidence"
        )
    return card


def sections(card: Mapping[str, Any] | None, pictures: Mapping[int, str]) -> list[Section]:
    """One section per part that is known; nothing without evidence.

    Args:
        card: of `evidence.json`.
        pictures: base64 PNG by row of the training set, as far as there are some.
    """
    if card is None:
        return []
    found: list[Section] = []
    if card.get("gaps"):
        found.append(gaps.section(card))
    if card.get("per_example"):
        found += records.sections(card["per_example"], pictures)
    if card.get("attacks"):
        found.append(attacks.section(card))
    if card.get("robustness"):
        found += robustness.sections(card["robustness"])
    if card.get("cost"):
        found.append(cost.section(card))
    return found
