"""`unweave audit`: from a list of ids to a verdict, and what bad input gets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unweave.audit.canaries import load
from unweave.cli import main


@pytest.fixture
def ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "canaries.csv"
    path.write_text("id\n" + "\n".join(map(str, range(120))) + "\n")
    (tmp_path / "base.txt").write_text("a\nb\n")
    return path


def code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["audit", *arguments])
    return int(caught.value.code or 0)


def scores(shift: float) -> None:
    plan = load(Path("audit"))
    noise = np.random.default_rng(0).normal(size=len(plan.canaries))
    rows = zip(plan.canaries, noise + shift * np.array(plan.included), strict=True)
    Path("scores.csv").write_text("id,score\n" + "".join(f"{name},{score}\n" for name, score in rows))


def test_from_ids_to_a_verdict(ids: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code("plan", "canaries.csv", "--base", "base.txt", "-o", "audit", "--seed", "4") == 0
    said = capsys.readouterr().out
    assert "120 canaries" in said and "train.csv" in said and "judge audit SCORES.csv" in said
    train = Path("audit/train.csv").read_text().split()
    assert train[:3] == ["id", "a", "b"] and len(train) == 3 + sum(load(Path("audit")).included)
    scores(0.0)
    assert code("judge", "audit", "scores.csv") == 0
    said = capsys.readouterr().out
    assert "No trace was found" in said and "could be shown" in said
    scores(2.0)
    assert code("judge", "audit", "scores.csv") == 3
    assert "Exact unlearning is refuted" in capsys.readouterr().out


def test_json(ids: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code("plan", "canaries.csv", "-o", "audit", "--json", "--format", "json", "--guesses", "40") == 0
    planned = json.loads(capsys.readouterr().out)
    assert planned["canaries"] == 120 and planned["guesses"] == 40 and 0.5 < planned["detectable_auc"] < 0.7
    assert len(json.loads(Path("audit/train.json").read_text())) == planned["included"]
    scores(2.0)
    assert code("judge", "audit", "scores.csv", "--json") == 3
    found = json.loads(capsys.readouterr().out)
    assert found["refuted"] and found["auc"]["p"] < 0.001 and found["epsilon"]["value"] > 0
    assert found["auc"]["null"]["low"] < 0.5 < found["auc"]["null"]["high"] and found["ceiling"] > 1


def edited() -> None:
    path = Path("audit/coins.csv")
    path.write_text(path.read_text().replace(",1", ",0", 1))


def few() -> None:
    Path("canaries.csv").write_text("id\n1\n2\n")


def no_scores() -> None:
    Path("scores.csv").unlink()


def not_finite() -> None:
    Path("scores.csv").write_text(Path("scores.csv").read_text().rsplit(",", 1)[0] + ",nan\n")


JUDGE = ("judge", "audit", "scores.csv")
PLAN = ("plan", "canaries.csv", "-o", "other")
BAD: dict[str, tuple[tuple[str, ...], Callable[[], None] | None, str]] = {
    "no plan": (("judge", ".", "scores.csv"), None, "holds no audit"),
    "edited coins": (JUDGE, edited, "edited or cut short"),
    "no scores": (JUDGE, no_scores, "scores.csv must hold a score"),
    "scores that are not finite": (JUDGE, not_finite, "1 of 120 scores are not finite"),
    "a second draw": (("plan", "canaries.csv", "-o", "audit"), None, "coins are drawn once"),
    "no canaries": (("plan", "gone.csv", "-o", "other"), None, "gone.csv must hold ids"),
    "too few canaries": (PLAN, few, "at least 20 canaries; found 2"),
    "odd guesses": ((*PLAN, "--guesses", "41"), None, "guesses must be even"),
    "a canary in the base": ((*PLAN, "--base", "canaries.csv"), None, "120 canaries are base records"),
    "a level of 1": ((*PLAN, "--level", "1"), None, "level must be between 0 and 0.5"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_one_message(name: str, ids: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, spoil, says = BAD[name]
    assert code("plan", "canaries.csv", "-o", "audit", "--seed", "1") == 0
    scores(0.0)
    if spoil:
        spoil()
    capsys.readouterr()
    assert code(*arguments) == 2
    captured = capsys.readouterr()
    assert says in captured.err and captured.err.count("error: ") == 1
    assert captured.out == "" and "Traceback" not in captured.err
    assert not Path("other").exists()
