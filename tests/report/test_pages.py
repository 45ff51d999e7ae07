"""Report pages: one file, no network, no script but its own, whatever the names are."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from unweave.errors import ConfigurationError
from unweave.report import traces
from unweave.report.build import build

HOSTILE = "<script>alert(1)</script>"


def score(name: str, value: float | None, unit: str = "share") -> dict[str, Any]:
    ends = (None, None) if value is None or unit == "points" else (value - 0.01, value + 0.01)
    reason = "" if value is not None else f"too few {HOSTILE}"
    return {
        "name": name,
        "value": value,
        "low": ends[0],
        "high": ends[1],
        "n": 7,
        "definition": f"of {HOSTILE}",
        "unit": unit,
        "reason": reason,
    }


def sheet(shift: float) -> dict[str, Any]:
    values = {"UA": 0.1, "FA": 0.9 - shift, "RA": 0.95, "TA": 0.93, "MIA_AUC": 0.5, "MIA_TPR": None}
    return {name: score(name, value) for name, value in values.items()}


def gap(value: float) -> dict[str, Any]:
    return {name: score(name, value, "points") for name in ("UA", "average_gap")}


def run_directory(folder: Path, *, retrained: bool = True, steps: int = 5) -> Path:
    names = ["original", "unlearned", *(["retrained"] if retrained else [])]
    scores = {
        "models": {name: sheet(0.1 * i) for i, name in enumerate(names)},
        "gaps": {"original": gap(9.0), "unlearned": gap(2.0)} if retrained else {},
    }
    summary = {
        "status": "done",
        "stop_reason": f"reached {HOSTILE}",
        "contract": [],
        "method": "hamu_q",
        "request": f"class {HOSTILE}",
        **{"forget": 10, "retain": 90, "steps": steps, "rejected": 1, "skipped": 0},
        **{
            "seconds": 1.5,
            "retrain_seconds": 6.0,
            "efficiency": 0.25,
            "peak_memory_bytes": 2**30,
            "model_before": "0a",
            "model_after": "0b",
        },
        "warnings": [f"changed nothing {HOSTILE}"],
        "created": "2025-01-01",
        "environment": {"torch": "2.x", HOSTILE: HOSTILE},
    }
    row = {"losses": [1.0, 0.1], "cosine": -0.5, "kappa": 0.3, "kappa_ratio": 0.6, "radius": 0.1}
    lines = [json.dumps({"step": i, **row}) for i in range(1, steps + 1)]
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "scores.json").write_text(json.dumps(scores))
    (folder / "steps.jsonl").write_text("\n".join([*lines, '{"step": 6, "los']))
    (folder / "recipe.yaml").write_text(f"# {HOSTILE}\nmethod: x\n")
    return folder


def demo_directory(folder: Path) -> Path:
    numbers = {
        "distance": 3.0,
        "UA": 5.0,
        "FA": 95.0,
        "RA": 99.0,
        "TA": 97.0,
        "MIA_AUC": 0.5,
        "steps": 3,
        "seconds": 0.5,
    }
    score = {"value": 0.95, "low": 0.9, "high": 0.98, "n": 130, "unit": "share", "reason": ""}
    gone = {**score, "value": None, "low": None, "high": None, "n": 0, "reason": HOSTILE}
    scores = dict.fromkeys(("UA", "RA", "TA", "MIA_AUC"), score)
    rows = [
        {"name": "original", "kind": "end", "ended": "", **numbers, "steps": None, "scores": scores},
        {"name": f"method {HOSTILE}", "kind": "method", "ended": HOSTILE, **numbers, "scores": scores},
        {
            **dict.fromkeys(numbers),
            **{"name": "broken", "kind": "method", "ended": "diverged", "scores": dict.fromkeys(scores, gone)},
        },
    ]
    trace = {
        "method": HOSTILE,
        "cosine": [0.1, None],
        "kappa": [0.2, 0.2],
        "kappa_ratio": [None, None],
        "forget": [1.0, 2.0],
        "retain": [0.1, 0.1],
    }
    request = {
        "name": HOSTILE,
        "title": f"Forget {HOSTILE}",
        "text": HOSTILE,
        "rows": rows,
        "traces": [trace],
    }
    demo = {
        "created": "today",
        "seconds": 60.0,
        "reading_share": 0.05,
        "environment": {"torch": "2"},
        "settings": {HOSTILE: {"method": {"name": HOSTILE}}},
        "requests": [request],
    }
    (folder / "demo.json").write_text(json.dumps(demo))
    return folder


def test_the_page_says_how_many_steps_each_phase_took() -> None:
    summary = {"steps": 6, "seconds": 1.0, "rejected": 0, "skipped": 0, "stop_reason": "contract met"}
    row = {"losses": [1.0, 0.1], "cosine": None, "radius": None}
    phases = ["push", "push", "repair", "lost", "repair", "repair"]
    steps = [{"step": i, "phase": phase, **row} for i, phase in enumerate(phases, 1)]
    said = traces.section(summary, steps).text
    assert "Of the steps 2 pushed, 3 repaired the retain side, 1 won back what a repair had lost. The end:" in said
    assert "Of the steps" not in traces.section(summary, [{"step": 1, **row}]).text


def checked(path: Path) -> str:
    """The page's text after the checks that hold for every page."""
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    root = ElementTree.fromstring(text.removeprefix("<!DOCTYPE html>"))
    tags = {node.tag for node in root.iter()}
    assert {"html", "head", "body", "table", "svg", "title"} <= tags
    assert not tags & {"iframe", "object", "embed", "link", "image", "form"}
    (script,) = root.iter("script")
    assert script.text and not script.attrib, "the page's own, which its policy names by its hash"
    digest = base64.b64encode(hashlib.sha256(script.text.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'" in text
    for node in root.iter():
        for name, value in node.attrib.items():
            assert not name.startswith("on"), (node.tag, name)
            inline = "data:image/png;base64," if node.tag == "img" else "#"
            assert name not in ("href", "src") or value.startswith(inline), (node.tag, value)
    assert not re.search(r"https?://|//cdn|@import|url\((?!#)|javascript:", text)
    assert "prefers-color-scheme: dark" in text
    return text


def test_run_page(tmp_path: Path) -> None:
    text = checked(build(run_directory(tmp_path)))
    assert "2.0 points after, 9.0 before" in text
    assert "90.0 % [89.0, 91.0]" in text and "undefined: too few" in text
    assert text.count("<svg") == 5, "trade-off plane, two objectives, hardness, radius"
    assert "not a proof of deletion" in text


def clause(name: str, met: bool, final: bool = True) -> dict[str, Any]:
    found = {"measured": 0.0031, "bound": 0.0082, "n": 552, "met": met}
    group = f"class {HOSTILE}"
    return {
        **{"side": "keep", "clause": name, "group": group, "limit": 0.01, "met": met},
        **{"guard": found, "final": found if final else None},
    }


def test_contract_on_the_page(tmp_path: Path) -> None:
    folder = run_directory(tmp_path)
    summary = json.loads((folder / "summary.json").read_text())
    look = {"used": 0.4, "forgotten": 0.7, "kept": True, "rolled_back": False}
    summary |= {
        "contract": [clause(f"accuracy {HOSTILE}", True), clause("loss", False, final=False)],
        "contract_reading": {
            **{"looks": 2, "every": 9, "seconds": 0.21, "share": 0.07, "rollbacks": 1, "notes": [f"wider {HOSTILE}"]},
            "path": [{"step": 9, **look}, {"step": 18, **look, "kept": False, "rolled_back": True}],
        },
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    text = checked(build(folder))
    assert "missed: loss" in text and "0.0082" in text and "every 9 steps" in text and "7.0 % of the run" in text
    assert "Rolled back after step 18" in text
    assert text.count("<svg") == 6, "one more than without a contract: the budget over time"


def test_quote_and_examples_on_the_page(tmp_path: Path) -> None:
    folder = run_directory(tmp_path)
    cost = {"seconds": 2.0, "memory_bytes": 2**20, "basis": HOSTILE}
    quote = {
        "verdict": {"level": "hard", "reason": f"they conflict {HOSTILE}"},
        "suggestion": {"method": None, "settings": {}, "why": "ask for less"},
        **{"run": cost, "retrain": {**cost, "seconds": None, "memory_bytes": None}},
        "groups": [{"name": 3, "examples": 9, "mean": 0.4, "error": None}],
        "paying_groups": [],
        "front": [{"share": 0.1, "price": -0.2}, {"share": 0.5, "price": None}, {"share": 1.0, "price": 0.3}],
    }
    example = {"row": 7, "label": 3, "predicted": 0.25, "before": -6.0, "after": 1.5, "png": "iVBORw0KGgo="}
    examples = {
        "hardest": [example],
        "paid": [{**example, "row": 8, "predicted": None, "png": ""}],
        **{"reached": {"forget": 5.0, "retain": 0.1}, "retain_examples": 90},
    }
    (folder / "quote.json").write_text(json.dumps(quote))
    assert "row 7" not in checked(build(folder)), "a quote without its examples: an interrupted run"
    (folder / "examples.json").write_text(json.dumps(examples))
    text = checked(build(folder))
    assert "row 7, label 3, predicted +0.25: -6.0 to +1.5" in text and "row 8, label 3: -6.0 to +1.5" in text
    assert text.count("<img") == 1 and text.count("<svg") == 6 and "no method" in text


def sequence_directory(folder: Path) -> Path:
    """Two requests; the second missed its contract and undid the first."""

    def test_of(name: str, met: bool, regressed: bool) -> dict[str, Any]:
        clause = {"clause": f"accuracy {HOSTILE}", "measured": 0.123, "limit": 0.1, "met": met}
        return {"id": name, "clauses": [clause], "met": met, "regressed": regressed}

    one = {
        **{"id": f"a{HOSTILE}", "text": HOSTILE, "directory": "01-a", "forget": 5, "steps": 9, "seconds": 1.0},
        **{"reason": "contract met", "met": True, "left": 0.7, "repaired": []},
    }
    first = {**one, "retests": [test_of(one["id"], True, False)]}
    second = {**one, "id": "b", "left": 0.2, "met": False, "repaired": ["x"]}
    second["retests"] = [test_of(one["id"], False, True), test_of("b", False, False)]
    sequence = {"status": "done", "created": "today", "requests": [first, second], "advice": "time to retrain"}
    (folder / "sequence.json").write_text(json.dumps(sequence))
    return folder


def test_sequence_page(tmp_path: Path) -> None:
    text = checked(build(sequence_directory(tmp_path)))
    assert text.count("REGRESSED") == 1 and text.count("not met") == 1 and "repaired: x" in text
    assert "time to retrain" in text and "missed: b" in text and "20 %" in text and text.count("<svg") == 1


def test_run_page_without_retrained_model_and_without_steps(tmp_path: Path) -> None:
    text = checked(build(run_directory(tmp_path, retrained=False, steps=0)))
    assert "no retrained reference" in text and text.count("<svg") == 1


def test_demo_page(tmp_path: Path) -> None:
    text = checked(build(demo_directory(tmp_path)))
    assert "comes closest: 3.0 points; original 3.0" in text and "diverged" in text
    assert (
        text.count("95.0 % [90.0, 98.0]") == 8
        and "n: wrong on the data to forget 130, right on the data to keep 130" in text
        and text.count("undefined: ") == 4
    )


def test_the_page_is_rebuilt_alike(tmp_path: Path) -> None:
    first = build(run_directory(tmp_path)).read_text()
    assert build(tmp_path).read_text() == first


@pytest.mark.parametrize("name", ["demo.json", "sequence.json", "summary.json", "demo_text.json", "demo_drawn.json"])
@pytest.mark.parametrize("text", ["{}", "[]"])
def test_a_file_of_another_version_is_one_message(tmp_path: Path, name: str, text: str) -> None:
    run_directory(tmp_path)
    (tmp_path / "summary.json").unlink()
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigurationError, match=r"damaged, or of another version of unweave \(.*run it again"):
        build(tmp_path)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("damage", ["empty", "no scores", "broken summary", "missing folder"])
def test_a_directory_that_is_no_run_is_one_clear_message(tmp_path: Path, damage: str) -> None:
    folder = tmp_path
    match damage:
        case "no scores":
            (run_directory(folder) / "scores.json").unlink()
        case "broken summary":
            (run_directory(folder) / "summary.json").write_text("{")
        case "missing folder":
            folder = tmp_path / "nowhere"
    with pytest.raises(ConfigurationError, match=r"expected a directory|cannot be read"):
        build(folder)


def test_a_page_of_images_says_what_evidence_would_add(tmp_path: Path) -> None:
    page = build(run_directory(tmp_path)).read_text()
    assert "gaps over several trainings" in page and "unweave evidence" in page
