"""`unweave evidence`: what it prints, its exit codes, and what it refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from tests.report.test_pages import checked
from unweave.cli import main
from unweave.report.build import build
from unweave.run.directory import sealed

RECIPE = """\
data: {source: digits}
forget: {class: 3}
training: {epochs: 1}
method: {name: hamu_q}
run: {steps: 1, forget_batch: 16, retain_batch: 32}
contract: none
evidence: {runs: 2, retain_examples: 100, relearning: {steps: [0, 1]}}
"""


def code(*arguments: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["evidence", *arguments])
    return int(caught.value.code or 0)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str, str]:
    """A recipe, the directory of its run with the evidence about it, and what that wrote to stdout and stderr."""
    folder = tmp_path_factory.mktemp("evidence")
    (folder / "recipe.yaml").write_text(RECIPE)
    with pytest.raises(SystemExit), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        main(["run", str(folder / "recipe.yaml"), "-o", str(folder / "out")])
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
        assert code(str(folder / "recipe.yaml"), "-o", str(folder / "out"), "--workers", "1") in (0, 3)
    return folder / "recipe.yaml", folder / "out", out.getvalue(), err.getvalue()


def test_a_table_a_claim_and_a_file(
    shown: tuple[Path, Path, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, made, printed, told = shown
    out = shutil.copytree(made, tmp_path / "out")
    assert "to make: " in told and "on one process" in told
    for word in ("gap, points", "blind, no model", "relearning,", "int4", "claim"):
        assert word in printed
    for name in ("UA, original", "loss, retrained", "KLoM"):
        row = next(line for line in printed.splitlines() if line.startswith(name))
        assert row.count("[") == (1 if name == "KLoM" else 2) and "/" in row, "interval, null band and n"
    told_once = " ".join(printed.split())
    assert "forgetting score; epsilon, at most 0.00: undefined. It needs at least 4" in told_once
    assert "U-LiRA: undefined. not asked for" in told_once and "n: runs / retrained runs" in told_once
    found = json.loads((out / "evidence.json").read_text())
    assert found["status"] == "complete"
    again = code(str(recipe), "-o", str(out), "--workers", "1", "--json")
    repeated = json.loads(capsys.readouterr().out)
    assert repeated["claim"] == found["claim"] and again == (3 if found["claim"]["refuted"] else 0)
    text = checked(build(out))
    assert f"{found['claim']['level']}. " in text
    assert "The evidence is about it and 1 more of the same recipe" in text
    for title in ("Strongest claim", "Gaps to retraining", "Relearning", "blind", "int4"):
        assert title in text, title


@pytest.mark.slow
def test_one_step_forgets_nothing_and_that_is_said(
    recipe: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model that still knows the class: exit code 3, and the gap is named."""
    text = (
        RECIPE.replace("epochs: 1", "epochs: 4")
        .replace("runs: 2", "runs: 3, retrained: 3")
        .replace("hamu_q", "finetune")
        .replace("contract: none", "step: {name: sgd, lr: 1.0e-2}\ncontract: none")
    )
    out = tmp_path / "out"
    with pytest.raises(SystemExit):
        main(["run", str(recipe(text)), "-o", str(out)])
    assert code(str(recipe(text)), "-o", str(out), "--workers", "1") == 3
    assert "Results differ from those of retrained models" in capsys.readouterr().out
    page = checked(build(out))
    assert "not bounded: a limit" in page
    assert "Results differ from those of retrained models, by more than chance." in page
    assert "Points more than in retrained models: wrong on the data to forget -" in page
    section = "at-gaps-to-retraining-over-several-trainings"
    assert f'href="#{section}"' in page and f'id="{section}"' in page


def test_evidence_about_other_weights_is_said(shown: tuple[Path, Path, str, str], tmp_path: Path) -> None:
    """A model that is not among those that were attacked: the page says so, in red."""
    out = shutil.copytree(shown[1], tmp_path / "out")
    summary = json.loads((out / "summary.json").read_text())
    changed = {key: value for key, value in summary.items() if key != "sha256"} | {"model_after": "0b" * 32}
    (out / "summary.json").write_text(json.dumps(sealed(out, changed)))
    assert "The evidence is about other models of the same recipe, not about this one" in checked(build(out))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (RECIPE.replace("runs: 2", "runs: 1"), "evidence.runs"),
        (RECIPE.replace("runs: 2", "runs: 2, shadows: 1"), "evidence.shadows: expected 0 (no U-LiRA) or at least 9"),
        (RECIPE.replace("runs: 2", "runs: 2, shadows: 8"), "found 8"),
        (RECIPE.replace("relearning: {steps: [0, 1]}", "margins: {UA: 0}"), "evidence.margins.UA"),
        (RECIPE.replace("retain_examples", "retain_exampels"), "Did you mean 'retain_examples'?"),
        (RECIPE.replace("forget: {class: 3}", "requests: [{class: 3}, {class: 4}]"), "about one request"),
    ],
)
def test_bad_input_is_one_message(
    text: str, says: str, recipe: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert code(str(recipe(text))) == 2
    assert says in capsys.readouterr().err


def test_relearning_steps_are_checked(recipe: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert code(str(recipe(RECIPE.replace("[0, 1]", "[1, 2]")))) == 2
    assert "relearning.steps must be ascending from 0" in capsys.readouterr().err


def test_no_recipe_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code(str(tmp_path)) == 2
    assert "expected a recipe" in capsys.readouterr().err
