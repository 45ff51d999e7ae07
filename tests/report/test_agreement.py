"""What a score is stands in one place: `scores.json`, `unweave metrics`, the page and the console cannot disagree."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import unweave
from tests._toys import memorised
from tests.report.test_pages import run_directory
from tests.report.test_several import code, rows
from unweave.commands.tables import scores_of
from unweave.contract import Contract, Forget, Keep
from unweave.evaluation import Score
from unweave.modalities import MODALITIES
from unweave.modalities._base import Scored
from unweave.report.build import build
from unweave.report.contract import sections
from unweave.report.numbers import RIGHT
from unweave.run import outcome

Captured = pytest.CaptureFixture[str]
VALUE = {"share": (0.25, "25.0 %"), "points": (-12.34, "-12.3"), "other": (0.25, "0.25")}


def printed(part: Any) -> list[str]:
    console = Console(width=400, highlight=False)
    with console.capture() as caught:
        console.print(part)
    return caught.get().splitlines()


def listed(capsys: Captured) -> Mapping[str, dict[str, Any]]:
    """What `unweave metrics --json` says, by name."""
    capsys.readouterr()
    assert code("metrics", "--json") == 0
    return {each["name"]: each for each in json.loads(capsys.readouterr().out)}


def agree(folder: Path, capsys: Captured, metrics: Mapping[str, dict[str, Any]]) -> int:
    """Holds every score of a run directory against the other three places; how many there are."""
    scores = json.loads((folder / "scores.json").read_text())
    tables = [rows((folder / "report.html").read_text(), i) for i in range(3)]
    models = scores["models"]
    page = {row[1]: row for table in tables for row in table if len(row) == len(models) + 6}
    console = printed(scores_of(scores, everything=True))
    assert page.keys() == models["unlearned"].keys()
    for name, score in models["unlearned"].items():
        metric = metrics[name]
        assert (score["definition"], score["unit"]) == (metric["definition"], metric["unit"]), name
        right, exact = RIGHT[metric["right"]], metric["exact"]
        assert (
            page[name][0] == metric["plain"]
            and page[name][2] == right
            and page[name][-2:] == [metric["definition"], exact]
        ), name
        place = next(i for i, line in enumerate(console) if line.split()[:1] == [name])
        assert console[place + 1].startswith(f"n {score['n']}, {right} "), name
        if score["value"] is not None and score["low"] is None:
            assert f"{name}: no interval; an exact method: {exact}" in [line.strip() for line in console]
            _, told = VALUE.get(metric["unit"], VALUE["other"])
            assert told in console[place] and told in page[name], "one number is told in one way"
        capsys.readouterr()
        assert code("metrics", name) == 0
        alone = " ".join(capsys.readouterr().out.split())
        for text in (metric["definition"], metric["unit"], exact):
            assert " ".join(text.split()) in alone, name
    return len(page)


@pytest.mark.parametrize("name", MODALITIES)
def test_every_metric_of_every_modality(
    name: str, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    metrics = MODALITIES[name].metrics
    sheet = {
        key: Score(metric, {"examples": 30}, VALUE.get(metric.unit, VALUE["other"])[0])
        for key, metric in metrics.items()
    }
    written = outcome.scores(None, {"original": Scored(sheet), "unlearned": Scored(sheet)})  # type: ignore[arg-type]
    folder = run_directory(tmp_path, retrained=False)
    (folder / "scores.json").write_text(json.dumps(written))
    build(folder)
    assert agree(folder, capsys, listed(capsys)) == len(metrics)


def test_a_finished_run(
    recipe: Callable[..., Path], tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    assert code("run", recipe(), "-o", tmp_path / "out") in (0, 3)
    assert agree(tmp_path / "out", capsys, listed(capsys)) > 10


def test_the_page_says_how_often_the_contract_was_read_on_the_way_back() -> None:
    """Looks of one step after its first; without a repair there are none, and no word of it."""
    model, forget, retain = memorised()
    asked = Contract(keep=[Keep("accuracy", absolute=0.2)], forget=[Forget("accuracy", at_most=0.5)], every=2)
    for repair, words in (
        (True, " and 3 times on the way back to where it was just forgotten, in"),
        (False, "steps, in"),
    ):
        result = unweave.unlearn(model, forget=forget, retain=retain, contract=asked, repair=repair)
        assert result.contract is not None
        steps = [point.step for point in result.contract.path]
        assert len(steps) - len(set(steps)) == 3 * repair
        (section,) = sections({"contract": result.contract.clauses(), "contract_reading": result.contract.reading()})
        assert f"read {len(steps)} times, every 2 steps" in section.text and words in section.text
