"""The demo on texts, shrunken: every method runs, and the table says what it says it does."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from unweave.cli import main
from unweave.commands import demo as command
from unweave.contract.reading import REACHED
from unweave.demos.compare import Json
from unweave.demos.texts import COLUMNS, ENTRIES, demo_text
from unweave.report.demo_page import KINDS, standing
from unweave.watch import Watch

pytestmark = pytest.mark.slow  # what they look at takes as long to make
TRAINING = {"epochs": 5, "hidden": 32, "layers": 1, "vocabulary": 600, "lr": 2e-2}  # to know the people a little
KIND = KINDS["demo_text.json"]


def code(arguments: Sequence[str]) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    return int(caught.value.code or 0)


@pytest.fixture(scope="module")
def found() -> Json:
    pytest.importorskip("transformers")
    pytest.importorskip("rouge_score")
    return demo_text(count=50, training=TRAINING, steps=2, batches=(4, 4))


def test_what_is_compared(found: Json) -> None:
    assert {entry.key for entry in ENTRIES} == {"npo", "graddiff", "hamu_q", "hamu_q_npo", "eupmu", "ofmu"}
    names = [row["name"] for row in found["rows"]]
    assert names == ["original", "retrained", "retrained again", *(entry.name for entry in ENTRIES)]
    assert list(found["settings"]) == names[3:]
    assert [row["kind"] for row in found["rows"]].count("headline") == 4
    assert found["counts"] | {"places": 32} == found["counts"]
    assert found["counts"]["forget"] == 20 and found["counts"]["holdout"] == 40


def test_every_row_is_measured_and_the_distance_is_the_mean_gap(found: Json) -> None:
    assert set(KIND.columns) == {*COLUMNS, "forget_quality"}
    reference = found["rows"][1]
    assert reference["distance"] == 0 and reference["forget_quality"] == 1
    for row in found["rows"]:
        gaps = [abs(row[key] - reference[key]) for key in COLUMNS]
        assert row["distance"] == pytest.approx(100 * sum(gaps) / 10)
    methods = [row for row in found["rows"] if row["kind"] in ("baseline", "headline")]
    assert len(methods) == 6 and all(0 < row["steps"] <= 2 for row in methods)
    assert {row["ended"] for row in methods} <= {"steps used up", "contract met", REACHED}
    original = {key: found["rows"][0][key] for key in COLUMNS}
    assert all({key: row[key] for key in COLUMNS} != original for row in methods), "every method moved the model"


def test_answers_stand_side_by_side(found: Json) -> None:
    for side in ("forget", "retain"):
        assert len(found["answers"][side]) == 3
        for asked in found["answers"][side]:
            assert asked["question"].endswith("?") and asked["truth"].endswith(".")
            assert list(asked["answers"]) == [row["name"] for row in found["rows"]]


def test_a_headline_method_that_does_worse_is_named() -> None:
    kinds = {"original": "end", "NPO": "baseline", "HAMU": "headline", "OFMU": "headline"}
    distances = dict(zip(kinds, (30.0, 3.0, 2.0, 4.0), strict=True))
    rows = [{"name": name, "kind": kind, "distance": distances[name]} for name, kind in kinds.items()]
    first, worse = standing(rows)
    assert first.startswith("HAMU comes closest") and worse == "Further away than NPO (3.0): OFMU (4.0)."
    assert standing(rows[:3]) == [first] and standing(rows[:1]) == ["No method has a distance."]


def test_the_command(
    found: Json, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    def ran(
        methods: Sequence[str], *, seed: int, steps: int, training: Json, watch: Watch, tell: Callable[[Json], None]
    ) -> Json:
        asked.extend([methods, seed, steps, training["epochs"]])
        tell(found)
        return found

    monkeypatch.setattr(command, "demo_text", ran)
    monkeypatch.setenv("COLUMNS", "80")
    options = ["--method", "hamu_q_npo", "--steps", "3", "--epochs", "4", "--seed", "5"]
    assert code(["demo", "--text", "-o", str(tmp_path), *options]) == 0
    assert asked == [["hamu_q_npo"], 5, 3, 4]
    out = capsys.readouterr().out
    notes = command._notes(found["rows"], KIND)
    assert next(notes).startswith("n: FQ, fP, fR, TR, ES, oR, rP, rR 20; MU ") and not list(notes)
    assert len(re.findall(r"±\d", out)) == len(COLUMNS) * len(found["rows"]), "every score of questions has one"
    assert max(map(len, out[: out.rindex(" s. Report")].splitlines())) <= 80
    assert "what chance gives an exact method" in " ".join(out.split())
    words = ("People to forget: ", "People to keep: ", "true answer", "retrained again", "HAMU-Q over NPO", "dist")
    assert not [word for word in words if word not in out]
    assert "What the models say" in (tmp_path / "report.html").read_text()
    assert json.loads((tmp_path / "demo_text.json").read_text())["rows"] == found["rows"]


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert code(["demo", "--text"]) == 2
    assert capsys.readouterr().err.count("pip install 'unweave[language]'") == 1


def test_what_belongs_to_the_digits_or_to_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    assert code(["demo", "--text", "--request", "class"]) == 2
    assert "--request" in capsys.readouterr().err
    assert code(["demo", "--text", "--method", "hamuq"]) == 2
    assert "Did you mean 'hamu_q'?" in capsys.readouterr().err
