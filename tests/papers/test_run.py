"""A small grid from the command: it runs, resumes, takes a method of the user's, and leaves a page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from unweave.cli import app
from unweave.errors import ConfigurationError
from unweave.methods import METHODS
from unweave.oneshot import CATALOGUE

GRID = """
title: "A small one <&>"
paper: arXiv 0000
about: words
columns: [UA, forget_rise, distance, seconds_a_step]
scales: {small: {recipe: r.yaml, seeds: [0, 1], needs: nothing}}
axes:
  rho: {"0.5": {forget.mix: 0.5}}
  method:
    HAMU-Q: {method: {name: hamu_q, ratio: 0.5}}
    none feasible: {method: {name: hamu_q, rate: 1.0e+6}}
figures:
  - {title: Ways, trajectories: method, where: {rho: "0.5"}}
  - {title: Rise, measure: forget_rise, along: rho, by: method}
claims:
  - {text: Q holds, measure: quota_missed, of: {method: HAMU-Q}, at_most: 1.0e-6}
  - {text: never run, measure: UA, of: {method: none feasible}, at_least: 0}
reported: [{of: {rho: "0.5", method: HAMU-Q}, measure: UA, value: 0.25, known: digest}]
"""
OWN = """
import unweave
from unweave.losses import Ascent
from unweave.rules import Fixed


def mine(task, original):
    return unweave.Method(Ascent(task.nll), task.nll, Fixed(0.5, 1.0), paper="ours")


nothing = 3
"""


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    (tmp_path / "r.yaml").write_text(
        "data: {source: digits}\nforget: {class: 3}\ntraining: {epochs: 1}\nstep: {name: sgd, lr: 0.01}\n"
        'contract: none\nguards: {near_duplicates: "off"}\n'
        "run: {steps: 2, forget_batch: 130, retain_batch: 200, until: null}\n"
        "evaluation: {quote: false, retrained: 1}\n"
    )
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "grid.yaml").write_text(GRID)
    return tmp_path / "grid.yaml"


def call(*arguments: object) -> tuple[int, str]:
    found = CliRunner().invoke(app, ["papers", *map(str, arguments)])
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found.exit_code, found.stdout


@pytest.mark.slow
def test_a_grid_runs_goes_on_and_leaves_a_page(grid: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, said = call("run", grid, "-o", out, "--with", f"{grid.parent / 'own.py'}:mine")
    assert code == 0 and "mine" in said and "Q holds: yes" in said and "never run: undecided" in said
    found = json.loads((out / "paper.json").read_text())
    assert found["status"] == "done" and len(found["rows"]) == 3 * 2
    refused = [row for row in found["rows"] if row["refused"]]
    assert len(refused) == 2 and all("infeasible" in row["refused"] for row in refused)
    assert {line["where"]["method"] for line in found["table"] if line["kind"] == "end"} == {"original", "retrained"}
    line = next(each for each in found["table"] if each["where"] == {"rho": "0.5", "method": "HAMU-Q"})
    assert line["reported"] == {"UA": [0.25, "digest"]} and line["values"]["forget_rise"]["n"] == 2
    page = (out / "report.html").read_text()
    assert "A small one &lt;&amp;&gt;" in page and "0.25 (digest)" in page and page.count("<svg") == 2
    assert "mine" not in {*METHODS} and not [name for name in CATALOGUE if ":" in name], "for the command alone"

    before = {path: path.stat().st_mtime_ns for path in out.rglob("summary.json")}
    assert len(before) == 4
    code, _ = call("run", grid, "-o", out, "--with", f"{grid.parent / 'own.py'}:mine", "--json")
    assert code == 0 and before == {path: path.stat().st_mtime_ns for path in out.rglob("summary.json")}


def test_a_folder_of_something_else_is_refused(grid: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(Exception, match=r"holds more than an experiment \(thesis.txt\)"):
        call("run", grid, "-o", tmp_path / "out")


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("own.py:nothing", r"expected a function \(task, original\) -> Method, found 3"),
        ("own.py:gone", "found None"),
        ("gone.py:mine", "cannot be imported"),
        ("no_such_module:mine", "cannot be imported"),
        ("mine", "expected module:function or file.py:function, found 'mine'"),
    ],
)
def test_what_is_no_method_is_told(
    place: str, told: str, grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(grid.parent)
    with pytest.raises(Exception, match=told):
        call("run", grid, "-o", tmp_path / "out", "--with", place)


def test_two_rows_of_one_name_are_refused(grid: Path, tmp_path: Path) -> None:
    own = grid.parent / "own.py"
    (grid.parent / "other.py").write_text(OWN)
    with pytest.raises(ConfigurationError, match="two functions are called 'mine'"):
        call("run", grid, "--dry-run", "--with", f"{own}:mine", "--with", f"{grid.parent / 'other.py'}:mine")
    grid.write_text(GRID.replace("none feasible", "mine"))
    with pytest.raises(ConfigurationError, match="the table has a row 'mine' already"):
        call("run", grid, "--dry-run", "--with", f"{own}:mine")


def test_the_list_and_a_dry_run(grid: Path) -> None:
    code, said = call()
    assert code == 0 and "hamu/cifar10-rho" in said and "ofmu/tofu" in said
    listed = json.loads(call("--json")[1])
    assert listed["hamu/cifar10-rho"]["scales"]["small"]["runs"] == 105
    code, said = call("run", "ofmu/tofu", "--scale", "paper", "--dry-run")
    assert code == 0 and "63 runs" in said and "GiB at the peak of a step" in said and " h of steps" in said
    assert json.loads(call("run", grid, "--dry-run", "--json")[1])["runs"] == 4
