"""Every verb, end to end, on a tiny recipe."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from unweave.cli import main
from unweave.commands.contract import kept
from unweave.commands.demo import _hardness, _notes, _table
from unweave.demos.digits import ENTRIES, REQUESTS, demo
from unweave.report.demo_page import KINDS

Write = Callable[..., Path]
Captured = pytest.CaptureFixture[str]


def code(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(each) for each in arguments])
    return int(caught.value.code or 0)


def test_a_contract_is_told_with_its_bounds_and_sizes() -> None:
    keep = {"measured": 0.01, "bound": 0.03, "n": 168}
    clause = {"side": "keep", "clause": "accuracy", "group": None, "limit": 0.04}
    rows = [{**clause, "guard": keep, "final": None, "met": True}]
    written = io.StringIO()
    Console(file=written, width=120).print(kept(rows, {"looks": 1, "rollbacks": 0, "share": 0.1, "notes": []}))
    assert "0.01 (at most 0.03), n 168" in written.getvalue() and "the upper bound that decides" in written.getvalue()
    assert "unseen" not in written.getvalue()
    unseen = {**clause, "side": "forget", "clause": "unseen: membership AUC at most 0.55", "met": True}
    rows.append({**unseen, "guard": {**keep, "bound": None}, "final": None})
    Console(file=written, width=200).print(kept(rows, {"looks": 1, "rollbacks": 0, "share": 0.1, "notes": []}))
    assert "not the unseen examples of the table of scores" in written.getvalue()


def test_run_report_evaluate(recipe: Write, tmp_path: Path, capsys: Captured) -> None:
    assert code("run", recipe(), "-s", "evaluation.retrained=1") == 0
    out = capsys.readouterr().out
    folder = tmp_path / "runs" / "recipe"
    assert "done after 4 steps" in out and "distance" in out and str(folder / "report.html") in out
    for name in ("UA", "TA", "MIA_AUC"):
        value, under = out[out.index(f"\n{name} ") :].splitlines()[1:3]
        assert value.startswith(name) and under.startswith("n ") and under.count("[") == 3, "n and three intervals"
    assert "more scores, 3 of them undefined: --all shows them" in out and "forget_loss" not in out
    assert "no interval over trainings" in out
    page = (folder / "report.html").read_text()
    (folder / "report.html").unlink()
    assert code("report", folder) == 0
    assert (folder / "report.html").read_text() == page
    capsys.readouterr()
    assert code("evaluate", folder, "--all") == 0
    out = capsys.readouterr().out
    assert "MIA_TPR; MIA_FPR; MIA_confidence_TPR: undefined. It needs at least 1000" in out and "forget_loss" in out
    assert code("evaluate", folder, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    written = json.loads((folder / "scores.json").read_text())
    assert found["models"]["unlearned"] == written["models"]["unlearned"]
    assert found["gaps"]["unlearned"] == written["gaps"]["unlearned"]
    assert list(found["metrics"]) == list(written["models"]["unlearned"]), "what each of them is, beside it"
    assert found["metrics"]["TA"]["right"] == "higher" and found["metrics"]["forget_loss"]["limits"] == [0, None]
    assert code("evaluate", folder / "model" / "model.safetensors", "--recipe", recipe()) == 0
    told = capsys.readouterr()
    assert "UA" in told.out and "blind, no model" in told.out and "null band" in told.out
    assert "Without the model, forget and holdout set" in told.err
    assert set(found["attacks"]) == {"blind, no model", "loss", "joined"}
    assert all(each["null"] and each["sizes"]["holdout examples"] for each in found["attacks"].values())


def test_a_sequence_says_what_its_verdicts_rest_on(recipe: Write, tmp_path: Path, capsys: Captured) -> None:
    text = """\
data: {source: digits}
requests: [{id: threes, class: 3}, {id: few, random: 0.05, seed: 1}]
training: {epochs: 4}
contract: {keep: [{metric: accuracy, absolute: 0.08}], forget: [{metric: accuracy, at_most: 0.5}]}
run: {steps: 4, forget_batch: 32, retain_batch: 64}
evaluation: {retrained: 0, quote: false}
guards: {near_duplicates: "off"}
"""
    code("run", recipe(text), "-o", tmp_path / "out")
    out = capsys.readouterr().out
    done = json.loads((tmp_path / "out" / "sequence.json").read_text())
    last = done["requests"][-1]
    assert last["guard"] > 100 and f"upper bounds on {last['guard']} guard examples" in out
    sizes = [clause["n"] for test in last["retests"] for clause in test["clauses"]]
    assert sizes == [entry["forget"] for entry in done["requests"]] and len(sizes) == 2
    assert re.findall(r"still forgotten, \w+: forget accuracy at most 50 %: [\d.]+, n (\d+)", out) == [*map(str, sizes)]
    assert all(re.search(rf" {n} +4 ", out) for n in sizes), "the table has n"

    del done["requests"][-1]["guard"], done["sha256"]  # as an earlier version wrote it
    (tmp_path / "out" / "sequence.json").write_text(json.dumps(done))
    assert code("run", "--resume", tmp_path / "out") == 2
    assert "of another version of unweave (there is no 'guard')" in capsys.readouterr().err


def test_run_as_json(recipe: Write, tmp_path: Path, capsys: Captured) -> None:
    assert code("run", recipe(), "--output", tmp_path / "o", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["summary"]["status"] == "done" and found["directory"] == str(tmp_path / "o")

    del found["summary"]["seconds"], found["summary"]["sha256"]  # as another version wrote it
    (tmp_path / "o" / "summary.json").write_text(json.dumps(found["summary"]))
    assert code("run", "--resume", tmp_path / "o") == 2
    assert "of another version of unweave (there is no 'seconds')" in capsys.readouterr().err


def test_a_run_that_changed_nothing_is_loud(recipe: Write, capsys: Captured) -> None:
    settings = ["method.name=finetune", "step.name=sgd", "step.lr=1e-30"]
    assert code("run", recipe(), *(part for each in settings for part in ("-s", each))) == 1
    told = capsys.readouterr()
    assert "THE RUN CHANGED NOTHING" in told.err and "unchanged after 4 steps" in told.out


def test_diagnose_changes_nothing_and_says_how_hard(recipe: Write, tmp_path: Path, capsys: Captured) -> None:
    path = recipe()
    before = sorted(tmp_path.rglob("*"))
    assert code("diagnose", path) == 0
    out = capsys.readouterr().out
    assert not [word for word in ("verdict", "cosine", "kappa", "feasible quota", "class 3") if word not in out]
    assert code("diagnose", path, "--json") == 0
    assert json.loads(capsys.readouterr().out)["verdict"]["level"] in ("easy", "hard", "infeasible")
    assert sorted(tmp_path.rglob("*")) == before


def test_demo(tmp_path: Path, capsys: Captured) -> None:
    arguments = ["--request", "class", "--method", "hamu_q", "--method", "finetune", "--steps", "2"]
    assert code("demo", "-o", tmp_path / "demo", *arguments, "--epochs", "1") == 0
    out = capsys.readouterr().out
    assert not [word for word in ("original", "retrained again", "HAMU-Q", "fine-tune", "distance") if word not in out]
    assert "SCRUB" not in out and len(re.findall(r"\d±\d", out)) == 5 * 4, "every score over examples has an interval"
    assert re.search(r"n: UA 1\d\d; RA 1\d{3}; TA 4\d\d; AUC 1\d\d examples; 1 training a row", out)
    assert "what chance gives an exact method" in " ".join(out.split())
    page = (tmp_path / "demo" / "report.html").read_text()
    assert "comes closest" in page
    first = json.loads((tmp_path / "demo" / "demo.json").read_text())
    assert [row["name"] for row in first["requests"][0]["rows"][:3]] == ["original", "retrained", "retrained again"]
    assert first["requests"][0]["rows"][1]["distance"] == 0


def test_the_demo_is_readable_on_a_terminal_of_80_columns() -> None:
    share = {"value": 1.0, "low": 0.904, "high": 1.0, "n": 130, "reason": ""}
    undefined = {"value": None, "low": None, "high": None, "n": 0, "reason": "the model diverged"}
    scores = {**dict.fromkeys(("UA", "RA", "TA"), share), "MIA_AUC": {**share, "value": 0.23, "low": 0.11, "high": 0.3}}
    numbers = {"distance": 31.6, "seconds": 21.7, "scores": {**scores, "TA": {**share, "n": 450}}}
    kinds = {"original": ("end", None), "retrained again": ("end", None), "UnilateralSurgery": ("method", False)}
    rows = [{"name": name, "kind": kind, "met": met, "steps": 100, **numbers} for name, (kind, met) in kinds.items()]
    written = io.StringIO()
    console = Console(file=written, width=80)
    console.print(_table(rows, KINDS["demo.json"]))
    assert list(_notes(rows, KINDS["demo.json"])) == ["n: UA, RA, AUC 130; TA 450 examples; 1 training a row"]
    lacking = {**rows[0], "scores": {**scores, "UA": undefined}}
    assert list(_notes([lacking], KINDS["demo.json"]))[1:] == ["original, UA: undefined. the model diverged"]
    lines = written.getvalue().splitlines()
    assert len(lines) == 1 + len(rows) and "\N{HORIZONTAL ELLIPSIS}" not in written.getvalue()
    words = ("UnilateralSurgery !", "31.6", "100.0±9.6", "0.23±0.12", "21.7", 5 * "\N{FULL BLOCK}")
    assert all(word in lines[-1] for word in words)
    for steps in (1, 49, 75, 100, 149):
        trace = _hardness({"method": "HAMU-Q", "cosine": [0.5] * steps})
        assert max(map(len, trace.splitlines())) <= 80, steps


@pytest.mark.parametrize(("request_name", "methods"), [("noise", []), ("random", ["finetune"])])
def test_the_demo_runs_every_method_on_every_request(request_name: str, methods: list[str]) -> None:
    told: list[dict[str, Any]] = []
    result = demo([request_name], methods, steps=1, training={"epochs": 1}, tell=told.append)
    assert result["requests"] == told and len(told) == 1
    rows = {row["name"]: row for row in told[0]["rows"]}
    assert len(rows) == 3 + (len(methods) or len(ENTRIES))
    assert all(row["distance"] is not None and row["ended"] for row in rows.values())
    assert rows["retrained"]["seconds"] > 0


def test_what_the_demo_compares(capsys: Captured) -> None:
    assert list(REQUESTS) == ["noise", "class", "random"]
    assert {entry.method for entry in ENTRIES} == {
        *("hamu_q", "hamu_u", "eupmu", "unilateral_surgery", "ofmu"),
        *("finetune", "graddiff", "scrub"),
    }
    assert code("demo", "--request", "nosie") == 2
    assert "Did you mean 'noise'?" in capsys.readouterr().err
