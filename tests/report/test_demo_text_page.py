"""The page of the demo on texts: what a model wrote is text, whatever it wrote."""

from __future__ import annotations

import json
from pathlib import Path

from tests.report.test_pages import HOSTILE, checked
from unweave.report.build import build
from unweave.report.demo_page import KINDS

NAMES = {"original": "end", "retrained": "reference", "NPO": "baseline", f"HAMU {HOSTILE}": "headline"}


def test_what_models_wrote_is_escaped(tmp_path: Path) -> None:
    row = dict.fromkeys(KINDS["demo_text.json"].columns, 0.5) | {
        "steps": 7,
        "seconds": 0.5,
        "ended": HOSTILE,
        "warnings": [HOSTILE],
    }
    score = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 60, "unit": "share", "reason": ""}
    row["scores"] = dict.fromkeys(KINDS["demo_text.json"].columns, score)
    row |= {"recited": {"forget": 1.0, "retain": 0.98}}
    rows = [{**row, "name": name, "kind": kind, "distance": float(i)} for i, (name, kind) in enumerate(NAMES.items())]
    gone = {**score, "value": None, "low": None, "high": None, "reason": HOSTILE}
    rows[0] |= {"forget_quality": None, "scores": {**row["scores"], "forget_quality": gone}}
    asked = {"question": f"Who? {HOSTILE}", "truth": HOSTILE, "answers": {name: f"{HOSTILE} {name}" for name in NAMES}}
    demo = {
        "created": "2026-01-01",
        "seconds": 1.0,
        "reading_share": 0.05,
        "environment": {"torch": HOSTILE},
        "counts": {"forget": 60, "retain": 540, "holdout": 120, "known": 40, "places": 32, "reworded": 290},
        "weights": 184640,
        "vocabulary": 800,
        "settings": dict.fromkeys(list(NAMES)[2:], HOSTILE),
        "rows": rows,
        "answers": {"forget": [asked], "retain": [asked]},
    }
    (tmp_path / "demo_text.json").write_text(json.dumps(demo))
    text = checked(build(tmp_path))
    assert HOSTILE not in text and text.count("&lt;script&gt;") > 20
    assert "98 % on the retain side" in text and "184,640 weights" in text
    assert "50.0 % [40.0, 60.0]" in text and "undefined: " in text
    assert "Headline methods that do worse" in text and "–" in text
    assert text.count("<svg") == 2
