from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from unweave.audit.canaries import draw, load, read_ids, read_scores
from unweave.data.text_file import as_meant
from unweave.errors import ConfigurationError

IDS = [f"r{i}" for i in range(200)]


def test_the_coins_are_fair_and_the_seed_decides() -> None:
    assert draw(IDS, seed=3).included == draw(IDS, seed=3).included != draw(IDS, seed=4).included
    heads = sum(sum(draw(IDS, seed=i).included) for i in range(200))
    assert 0.49 < heads / 40_000 < 0.51
    assert draw(IDS).seed != draw(IDS).seed, "a fresh one each time, and in the plan"


def test_the_lists_are_the_base_and_the_heads() -> None:
    plan = draw(IDS, base=["a", "b"], seed=1)
    assert plan.train == ("a", "b", *plan.forget)
    assert [name in plan.forget for name in IDS] == list(plan.included)
    assert plan.guesses == 200 and draw(IDS[:21]).guesses == 20


@pytest.mark.parametrize("form", ["csv", "json"])
def test_saved_and_loaded(form: str, tmp_path: Path) -> None:
    plan = draw(IDS, base=["a"], seed=5, guesses=60, level=0.01, delta=1e-5)
    plan.save(tmp_path / "audit", form)  # type: ignore[arg-type]
    again = load(tmp_path / "audit")
    assert (again.canaries, again.included, again.seed) == (plan.canaries, plan.included, 5)
    assert (again.guesses, again.level, again.delta) == (60, 0.01, 1e-5)
    assert read_ids(tmp_path / "audit" / f"train.{form}") == list(plan.train)
    assert read_ids(tmp_path / "audit" / f"forget.{form}") == list(plan.forget)
    assert sorted(path.suffix for path in (tmp_path / "audit").iterdir()) == sorted(
        [".json", ".csv", f".{form}", f".{form}"]
    )


def test_coins_are_drawn_once(tmp_path: Path) -> None:
    draw(IDS, seed=0).save(tmp_path / "audit")
    before = (tmp_path / "audit" / "coins.csv").read_bytes()
    with pytest.raises(ConfigurationError, match="drawn once"):
        draw(IDS, seed=1).save(tmp_path / "audit")
    assert (tmp_path / "audit" / "coins.csv").read_bytes() == before


def test_a_plan_that_was_cut_short_is_none(tmp_path: Path) -> None:
    """plan.json comes last: without it there is no plan, whatever else is there."""
    draw(IDS, seed=0).save(tmp_path)
    (tmp_path / "plan.json").unlink()
    with pytest.raises(ConfigurationError, match="holds no audit"):
        load(tmp_path)


def test_edits_are_found(tmp_path: Path) -> None:
    draw(IDS, seed=0).save(tmp_path)
    path, cases = tmp_path / "coins.csv", 0
    text = path.read_text()
    rows = list(csv.reader(text.splitlines()))
    flipped = text.replace(f"r0,{rows[1][1]}\n", f"r0,{1 - int(rows[1][1])}\n")
    for broken in (flipped, text[:-10], text + "x,1\n", ""):
        path.write_text(broken)
        with pytest.raises(ConfigurationError, match="edited or cut short"):
            load(tmp_path)
        cases += 1
    path.write_text(text)
    assert load(tmp_path).seed == 0 and cases == 4


def test_a_plan_that_cannot_be_read(tmp_path: Path) -> None:
    draw(IDS, seed=0).save(tmp_path)
    for content in ("{", "[]", "{}"):
        (tmp_path / "plan.json").write_text(content)
        with pytest.raises(ConfigurationError, match="cannot be read"):
            load(tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"canaries": IDS[:19]}, "at least 20 canaries; found 19"),
        ({"canaries": [*IDS, "r3"]}, "1 repeated, such as 'r3'"),
        ({"base": ["a", "a"]}, "base records must be named once"),
        ({"base": ["r3"]}, "1 canaries are base records, too"),
        ({"guesses": 61}, "guesses must be even"),
        ({"guesses": 202}, "guesses must be even"),
        ({"level": 0.0}, "level must be"),
        ({"delta": 1.0}, "delta must be"),
    ],
)
def test_what_cannot_be_planned(change: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        draw(**{"canaries": IDS, **change})  # type: ignore[arg-type]


def test_all_faults_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        draw(["a", "a"], base=["a"], guesses=3, level=2.0)
    assert len(caught.value.faults) == 5


def test_ids_from_files(tmp_path: Path) -> None:
    contents = {
        "a.txt": "x\n\n y \n",
        "b.csv": "id,label\nx,1\ny,2\n",
        "c.csv": "x\ny\n",
        "d.json": json.dumps(["x", "y"]),
        "e.csv": "\ufeffid\nx\ny\n",
    }
    for name, text in contents.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert read_ids(tmp_path / name) == ["x", "y"], name
    assert len(contents) == 5
    (tmp_path / "f.json").write_text('{"x": 1}')
    for name, says in (("f.json", "expected a list"), ("gone.txt", "cannot be read"), ("a.pkl", "must end in")):
        with pytest.raises(ConfigurationError, match=says):
            read_ids(tmp_path / name)


FORMULAS = ("=1+1", "+A1", "-2+3", "@SUM(A1)", "\t=1", "＝1", " =1", "'=1", "''@x", "-x")
HARMLESS = ("-5", "+3.5", "-1e9", "a=1", "'x", "x-1", "O'Neill", "id with, comma", 'quo"te')


def test_no_spreadsheet_runs_an_id_and_every_id_is_read_back(tmp_path: Path) -> None:
    ids = [*FORMULAS, *HARMLESS, "plain"]
    made = draw(ids, seed=0, few=True)
    made.save(tmp_path / "audit")
    read = 0
    for name, meant in (("train", made.train), ("forget", made.forget), ("coins", made.canaries)):
        path = tmp_path / "audit" / f"{name}.csv"
        with path.open(newline="") as file:
            cells = [row[0] for row in csv.reader(file)][1:]
        assert not [cell for cell in cells if cell.lstrip()[0] in "=@＝＋－＠" or cell[0] in "\t\r"], cells
        assert all(cell == own for cell, own in zip(cells, meant, strict=True) if own in HARMLESS)
        assert read_ids(path) == [own.strip() for own in meant]
        read += len(cells)
    assert read == 2 * len(made.forget) + 20 and load(tmp_path / "audit").canaries == tuple(ids)
    scores = "id,score\n" + "".join(f'"{as_meant(own)}",1\n' for own in ("'=1", "plain"))
    (tmp_path / "scores.csv").write_text(scores)
    assert read_scores(tmp_path / "scores.csv") == {"=1": 1.0, "plain": 1.0}
