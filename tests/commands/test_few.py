"""Sets of fewer than 20 examples: evidence refuses them before it trains, scores say what is undefined and why."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unweave.audit import models
from unweave.audit.canaries import draw
from unweave.cli import main
from unweave.modalities.images import training
from unweave.report.build import build

RECIPE = """\
data: {source: digits}
forget: {indices: rows.txt}
training: {epochs: 4}
method: {name: hamu_q}
run: {steps: 1, forget_batch: 8, retain_batch: 32}
contract: none
evaluation: {retrained: 0, quote: false}
evidence: {runs: 2, retrained: 2, retain_examples: 100, relearning: {steps: [0, 1]}}
"""


def code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main([*arguments])
    return int(caught.value.code or 0)


def rows(folder: Path, count: int) -> None:
    (folder / "rows.txt").write_text("\n".join(map(str, range(count))))


def test_evidence_refuses_before_anything_is_trained(
    recipe: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("nothing may be trained")

    for module, name in ((training, "train"), (models.Session, "start")):
        monkeypatch.setattr(module, name, never)
    rows(tmp_path, 19)
    assert code("evidence", str(recipe(RECIPE)), "-o", str(tmp_path / "out"), "--workers", "1") == 2
    captured = capsys.readouterr()
    for part in ("at least 20 examples in the forget set and in the holdout", "found 19 and 239", "--few"):
        assert part in captured.err, part
    assert captured.err.count("error: ") == 1 and captured.out == "" and not (tmp_path / "out").exists()
    rows(tmp_path, 20)
    with pytest.raises(AssertionError, match="nothing may be trained"):
        main(["evidence", str(recipe(RECIPE)), "-o", str(tmp_path / "out"), "--workers", "1"])


@pytest.mark.slow
def test_asked_to_go_on_evidence_says_how_little_it_is(
    recipe: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows(tmp_path, 12)
    out, text = tmp_path / "out", RECIPE.replace("epochs: 4", "epochs: 2")
    assert code("run", str(recipe(text)), "-o", str(out)) == 0
    assert code("evidence", str(recipe(text)), "-o", str(out), "--workers", "1", "--few") in (0, 3)
    told = " ".join(capsys.readouterr().out.split())
    note = "The forget set has 12 examples, fewer than 20: attacks on the population are left undefined, and intervals"
    found = json.loads((out / "evidence.json").read_text())
    assert f"note: {note}" in told and any(each.startswith(note) for each in found["notes"])
    attack = found["attacks"]["triple"]["loss"]["models"]["unlearned"]["auc"]
    assert attack["value"] is None and "at least 20" in attack["reason"] and found["per_example"]["forget"]["n"] == 12
    assert note in " ".join(build(out).read_text(encoding="utf-8").split())


def test_an_audit_of_few_canaries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The plan is where it can still be mended; a plan of few canaries is judged only if that is asked for, too."""
    monkeypatch.chdir(tmp_path)
    Path("canaries.csv").write_text("id\n" + "\n".join(map(str, range(12))) + "\n")
    assert code("audit", "plan", "canaries.csv", "-o", "audit", "--seed", "1") == 2
    assert "at least 20 canaries; found 12" in (said := capsys.readouterr().err) and "--few" in said
    assert code("audit", "plan", "canaries.csv", "-o", "audit", "--seed", "1", "--few") == 0
    noise = np.random.default_rng(0).normal(size=12)
    Path("scores.csv").write_text("id,score\n" + "".join(f"{i},{each}\n" for i, each in enumerate(noise)))
    capsys.readouterr()
    assert code("audit", "judge", "audit", "scores.csv") == 2
    captured = capsys.readouterr()
    assert "at least 20 canaries; found 12" in captured.err and "--few" in captured.err and captured.out == ""
    assert code("audit", "judge", "audit", "scores.csv", "--few") == 0
    assert "Of 12 canaries, fewer than 20, intervals say little" in " ".join(capsys.readouterr().out.split())


def test_few_is_said_of_few_only() -> None:
    assert len(draw([str(i) for i in range(20)], seed=0, few=True).canaries) == 20


@pytest.mark.parametrize("command", ["run", "evaluate"])
def test_one_record_is_scored_and_what_is_undefined_says_why(
    command: str, recipe: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows(tmp_path, 1)
    out = tmp_path / "out"
    assert code("run", str(recipe(RECIPE.replace("forget_batch: 8", "forget_batch: 1"))), "-o", str(out)) == 0
    if command == "evaluate":
        capsys.readouterr()
        assert code("evaluate", str(out)) == 0
    told = " ".join(capsys.readouterr().out.split())
    scores = json.loads((out / "scores.json").read_text())["models"]["unlearned"]
    undefined = {name: each["reason"] for name, each in scores.items() if each["value"] is None}
    assert set(undefined) >= {"MIA_AUC", "MIA_TPR"} and scores["UA"]["value"] in (0.0, 1.0) and scores["UA"]["n"] == 1
    assert len(undefined) >= 2 and all(" ".join(reason.split()) in told for reason in undefined.values())
