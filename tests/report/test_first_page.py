"""The first page: three states that nobody can confuse, in plain words, whatever the names are."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from tests.report.card import evidence_directory
from tests.report.test_pages import HOSTILE, checked, clause, demo_directory, run_directory, score, sequence_directory
from unweave.audit.claims import ITEMS
from unweave.audit.every_metric import METRICS
from unweave.audit.standing import SILENT, STANDINGS, Standing, asked, said, standing
from unweave.contract import State
from unweave.contract.clauses import FORGETTING, UTILITY, Forget, Keep
from unweave.contract.reading import plainly
from unweave.evaluation.figures import change, difference
from unweave.methods import METHODS
from unweave.modalities import MODALITIES
from unweave.report import run_page
from unweave.report.build import build
from unweave.report.demo_page import KINDS
from unweave.report.run_page import load

CODE = [r"\b[A-Za-z]+_\w+", r"\bE[0-4]\b", r"\b(UA|FA|RA|TA|MIA|AUC|RTE|ToW)\b", r"\bunweave\b", r"\.ya?ml", r"bound -"]
"""What stands in code, recipes and tables, and on no first page."""
PROMISES = r"\b(erased|deleted|guarantee\w*|proof|proven|complian\w*)\b"


def first_of(path: Path) -> str:
    """What is read on the first page, without marks; of a page that has none, what comes before the first section."""
    text = checked(path)
    body = text[text.index("<h1>") :]
    end = re.search(r'<h1 class="details"|<section id="at-', body)
    assert end is not None
    return unescape(re.sub(r"<[^>]*>", " ", body[: end.start()].replace("&lt;", "‹")))


def in_plain_words(text: str) -> None:
    """Whether there is no name of code in it, and no promise that no measurement keeps."""
    names = [name for name in (*METRICS, *METHODS) if not re.fullmatch("[a-z]+", name)]
    found = [each for pattern in CODE for each in re.findall(pattern, text)]
    found += [name for name in names if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text)]
    assert not found, found
    assert not re.search(PROMISES, text)
    assert HOSTILE not in text


def agreed(folder: Path, *states: State) -> Path:
    """A run's directory, with a contract of so many clauses."""
    summary = json.loads((folder / "summary.json").read_text())
    reading = {"looks": 1, "every": 9, "seconds": 0.2, "share": 0.1, "rollbacks": 0, "notes": [], "path": []}
    rows = [clause("accuracy falls by at most 1 points", state == "met") | {"state": state} for state in states]
    for row in rows:
        row["guard"], row["final"] = ({**row[place], "state": row["state"]} for place in ("guard", "final"))
    summary |= {"contract": rows, "contract_reading": reading, "warnings": []}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def supported(folder: Path) -> Path:
    """The same with evidence that speaks for it, on the first rung."""
    path = evidence_directory(folder) / "evidence.json"
    found = json.loads(path.read_text())
    items = [
        item | {"finding": "supports" if item["rung"] in ("E0", "E1") else None} for item in found["claim"]["items"]
    ]
    claim = found["claim"] | {"level": "E1", "against": [], "missing": [], "refuted": False, "items": items}
    path.write_text(json.dumps(found | {"claim": claim}))
    return folder


def alone(folder: Path) -> Path:
    """Evidence without a run."""
    evidence_directory(folder)
    for name in ("summary.json", "examples.json"):
        (folder / name).unlink()
    return folder


STATES: dict[str, tuple[Callable[[Path], Path], Standing, str]] = {
    "a run alone": (lambda f: agreed(run_directory(f), "met"), "not shown", "tested by nothing but what steered"),
    "no contract": (run_directory, "not shown", "No limits were agreed."),
    "too few": (lambda f: agreed(run_directory(f), "undecided"), "not shown", "So few examples do not show"),
    "missed": (lambda f: agreed(run_directory(f), "met", "missed"), "refuted", "A limit was not kept: how often"),
    "evidence against": (lambda f: agreed(evidence_directory(f), "met"), "refuted", ITEMS["robustness"].denies),
    "evidence for": (lambda f: agreed(supported(f), "met"), "shown", "An attack on single records finds nothing."),
    "evidence alone": (alone, "refuted", ITEMS["robustness"].denies),
    "a sequence": (sequence_directory, "refuted", "was undone by a later one"),
}


@pytest.fixture
def no_plots_of_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    """The details of evidence have their tests; here they would only cost seconds."""
    monkeypatch.setattr(run_page.evidence, "sections", lambda *_: [])


@pytest.mark.parametrize("name", STATES)
def test_the_state_is_said_and_nothing_else_is(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    make, state, why = STATES[name]
    if name in ("evidence for", "evidence against"):
        request.getfixturevalue("no_plots_of_evidence")
    if name == "evidence for":  # of the attacks on single records, as the ladder has them on a later rung
        why = "An attack does not tell the data to forget from unseen data."
    text = first_of(build(make(tmp_path)))
    words = STANDINGS[state]
    assert f"{words.head}  {words.says}" in re.sub(r"(?<=\w) +(?=[A-Z])", "  ", text) and words.then in text
    assert why in text and SILENT in text
    others = [each for other, each in STANDINGS.items() if other != state]
    assert not [each for each in others if each.says in text or each.then in text]
    rows = ("What was asked", "What was done", "What it cost", "What would make it stronger", "What this page says")
    assert all(row in text for row in rows)
    assert ("Bounded influence, measured by" in text) == (state == "shown")
    assert ("No bound can be relied on" in text) == (state == "refuted")
    in_plain_words(text)


@pytest.mark.parametrize("name", MODALITIES)
def test_every_modality_is_told_in_plain_words(name: str, tmp_path: Path) -> None:
    """With a value of every score that it has, and every clause that there is."""
    kind = MODALITIES[name]
    sheet = {key: score(key, 0.4, metric.unit) for key, metric in kind.metrics.items()}
    folder = agreed(run_directory(tmp_path), "met", "met")
    (folder / "scores.json").write_text(
        json.dumps({"models": dict.fromkeys(("original", "unlearned", "retrained"), sheet), "gaps": {}})
    )
    (folder / "recipe.yaml").write_text(f"data: {{source: {kind.sources[0]}}}\ncontract: {{confidence: 0.9}}\n")
    first = load(folder).first
    text = " ".join(part for row in first.rows for part in (row.text, *row.points))
    in_plain_words(text.replace(HOSTILE, ""))
    figures = [said(each) for each in kind.front.figures]
    assert len(figures) >= 2 and not [each for each in figures if each not in text]
    assert f"influence of 10 {kind.examples}" in text and "at most 0.8 points worse at 90 %, on 552" in text


def test_a_demo_has_no_name_of_code_before_its_tables(tmp_path: Path) -> None:
    in_plain_words(first_of(build(demo_directory(tmp_path))).replace("unweave", ""))


@pytest.mark.usefixtures("no_plots_of_evidence")
def test_a_run_whose_evidence_is_about_other_models_is_not_shown(tmp_path: Path) -> None:
    folder = agreed(supported(tmp_path), "met")
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps(summary | {"model_after": "f" * 64}))
    text = first_of(build(folder))
    assert "The tests are about other models" in text and STANDINGS["not shown"].says in text


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"status": "interrupted"}, "The run is not finished."),
        ({"status": "diverged"}, "The run failed"),
        ({"model_after": "0a"}, "The model is what it was before: no weight changed."),
    ],
)
def test_a_run_that_did_not_do_it_says_so(changes: dict[str, Any], why: str, tmp_path: Path) -> None:
    folder = run_directory(tmp_path)
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps(summary | changes))
    text = first_of(build(folder))
    assert why in text and "Shown" not in text.split("What was asked")[0]


def test_a_model_that_was_broken_without_a_limit_is_told_in_points(tmp_path: Path) -> None:
    folder = run_directory(tmp_path)
    scores = json.loads((folder / "scores.json").read_text())
    scores["models"]["unlearned"]["TA"] |= {"value": 0.15, "low": 0.12, "high": 0.19}
    (folder / "scores.json").write_text(json.dumps(scores))
    text = first_of(build(folder))
    assert "The model got worse, and nobody had said by how much it may" in text
    assert "right on unseen data: 93.0 % before, 15.0 % after: -78.0 points (95 %: -81.2 to -73.9)" in text


def test_states_follow_from_claim_and_contract() -> None:
    cases: list[tuple[str | None, tuple[str, ...], State | None, bool, Standing]] = [
        ("E1", (), "met", True, "shown"),
        ("E3", (), "met", True, "shown"),
        ("E0", (), "met", True, "not shown"),
        (None, (), "met", True, "not shown"),
        ("E1", (), "undecided", True, "not shown"),
        ("E1", (), "met", False, "not shown"),
        ("E1", (), "missed", True, "refuted"),
        ("E4", ("x",), "met", True, "refuted"),
        (None, ("x",), None, False, "refuted"),
    ]
    for level, against, contract, done, state in cases:
        assert standing(level, against, contract, done=done) == state, (level, against, contract, done)
    assert {state for *_, state in cases} == set(STANDINGS)


def test_every_clause_has_plain_words() -> None:
    levels = {"at_most": 0.02, "at_least": 3.0, "margin": 0.05}
    keeps = [Keep(metric, relative=0.05) for metric in UTILITY]
    forgets = [Forget(metric, **{key: levels[key]}) for metric, key in FORGETTING.items()]
    assert len(keeps) + len(forgets) == len(UTILITY) + len(FORGETTING)
    for each in (*keeps, *forgets):
        words = plainly({"clause": each.text()})
        assert words != each.text() and not [x for pattern in CODE for x in re.findall(pattern, words)], words
    assert plainly({"clause": "my metric falls by at most 2", "group": "a"}) == "my metric falls by at most 2 (a)"


def test_every_score_has_plain_words() -> None:
    plain = {name: said(name) for name in METRICS}
    names = re.compile("|".join(rf"\b{re.escape(name)}\b" for name in METRICS if not re.fullmatch("[a-z]+", name)))
    assert not [name for name, words in plain.items() if names.search(words) or "_" in words]
    assert said("my_own_score") == "my own score"
    assert not [words for kind in KINDS.values() for words in map(said, kind.columns) if "_" in words]


def test_what_was_asked_counts_people_and_rows() -> None:
    whole = asked(1204, 9000, "ticket 7", "rows", 37)
    assert whole.startswith(
        "Bound the influence of 1,204 rows of 37 people (ticket 7) on the model, and keep it working"
    )
    assert whole.endswith("on the other 9,000.")
    assert asked(1, None, "", "rows", 1) == "Bound the influence of 1 row of 1 person on the model."


def test_a_difference_has_the_interval_of_both() -> None:
    """Symmetric intervals add in squares; ends that are missing leave none."""
    before, after = ({"value": v, "low": v - h, "high": v + h, "unit": "share"} for v, h in ((0.9, 0.03), (0.8, 0.04)))
    value, low, high = difference(before, after)
    assert (value, low, high) == pytest.approx((-0.1, -0.15, -0.05))
    assert change(before, after) == "90.0 % before, 80.0 % after: -10.0 points (95 %: -15.0 to -5.0)"
    assert difference(before, after | {"low": None}) == (pytest.approx(-0.1), None, None)
