"""`method: auto`: a race on the request itself, whose winner makes an ordinary run; recorded, resumable, corrected."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unweave.cli import main
from unweave.errors import ConfigurationError, UnsupportedError
from unweave.modalities import job, read
from unweave.recipe.auto import BASELINES, HEADLINE, Auto
from unweave.report.build import build
from unweave.run import directory, race
from unweave.run.identity import resolve
from unweave.run.runner import run
from unweave.tasks import Classification

Write = Callable[..., Path]
AUTO = """\
data: {source: digits}
forget: {class: 3}
training: {epochs: 2}
method: {name: auto, among: [hamu_q, finetune, graddiff], gradients: 30}
run: {steps: 8, forget_batch: 32, retain_batch: 64, repair: false}
contract: {keep: [{metric: accuracy, absolute: 0.3}], forget: [{metric: accuracy, at_most: 0.4}], every: 2}
evaluation: {retrained: 0, quote: false}
"""


@pytest.fixture(scope="module")
def raced(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("raced")
    (folder / "recipe.yaml").write_text(AUTO)
    return run(read(folder / "recipe.yaml"), folder / "out"), folder / "out"


def told(legs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in leg.items() if key != "seconds"} for leg in legs]


def test_the_run_is_an_ordinary_one_of_the_winner(raced: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    summary, folder = raced
    found, written = summary["race"], read(folder / "recipe.yaml")
    assert summary["method"] == found["winner"] == written.method.name in found["among"]
    assert found["tried"] == 3 and written.contract is not None and written.contract.tried == 3
    again = run(written, tmp_path / "again")
    assert again["model_after"] == summary["model_after"] and "race" not in again, "its recipe gives the same model"
    page = build(folder).read_text()
    assert "The method was chosen on the guard set" in page and "divided by 3" in page and "round 2" in page


def test_halving_and_the_budget(raced: tuple[dict[str, Any], Path]) -> None:
    found = raced[0]["race"]
    rounds = {n: [leg["method"] for leg in found["legs"] if leg["round"] == n] for n in (1, 2, 3)}
    assert [len(each) for each in rounds.values()] == [3, 2, 0], "two rounds of three: all, then the better half"
    assert set(rounds[2]) < set(rounds[1])
    first = [leg for leg in found["legs"] if leg["round"] == 1]
    assert all(5 <= leg["gradients"] <= 5 + 2 for leg in first if leg["ended"] == race.SPENT)
    assert any(leg["ended"] == race.SPENT for leg in first)
    assert sum(leg["gradients"] for leg in found["legs"]) <= 30 + 2 * len(found["legs"])
    ranked = race.better([leg for leg in found["legs"] if leg["round"] == 2])
    assert ranked[0] == found["winner"]


def test_who_meets_all_comes_before_who_is_further_and_who_uses_less() -> None:
    def leg(method: str, met: bool, forgotten: float, used: float) -> dict[str, Any]:
        return {"method": method, "met": met, "forgotten": forgotten, "used": used}

    legs = [leg("a", False, 0.9, 0.0), leg("b", True, 1.0, 0.8), leg("c", True, 1.0, 0.2), leg("d", False, 0.9, 0.5)]
    assert race.better(legs) == ["c", "b", "a", "d"]
    assert race.better([leg("x", True, 1.0, 0.5), leg("y", True, 1.0, 0.5)]) == ["x", "y"]


def test_interrupted_in_the_race_and_resumed_it_is_the_same(
    raced: tuple[dict[str, Any], Path], recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, done = race._leg, list[str]()

    def interrupted(recipe: Any, *given: Any) -> Any:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(recipe.method.name)
        return real(recipe, *given)

    path, folder = recipe(AUTO), tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(race, "_leg", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(read(path), folder)
    assert len(json.loads((folder / race.FILE).read_text())["legs"]) == 2 and directory.finished(folder) is None
    with pytest.raises(ConfigurationError, match=r"method.gradients changed since the run began: 30 -> 40"):
        run(read(path, ["method.gradients=40"]), folder, resume=True)
    summary = run(read(folder / "recipe.yaml"), folder, resume=True)  # as `unweave run --resume DIR` does
    assert summary["model_after"] == raced[0]["model_after"]
    assert told(summary["race"]["legs"]) == told(raced[0]["race"]["legs"])
    assert run(read(path), folder, resume=True) == summary, "a finished run is handed back, by the word auto, too"
    assert run(read(folder / "recipe.yaml"), folder, resume=True) == summary, "and by the recipe that it wrote"


def test_a_run_that_never_raced_is_not_emptied_by_resume(recipe: Write, tmp_path: Path) -> None:
    path, folder = recipe(AUTO), tmp_path / "out"
    before = run(read(path, ["method={name: hamu_q}"]), folder)
    (folder / "thesis.tex").touch()
    with pytest.raises(ConfigurationError, match=r"holds a run whose method was not raced .*--overwrite"):
        run(read(path), folder, resume=True)
    assert (folder / "thesis.tex").exists() and run(read(folder / "recipe.yaml"), folder, resume=True) == before


@pytest.mark.parametrize("content", ['{"legs": []}', "[1]", "{"])
def test_a_damaged_race_is_one_message(recipe: Write, tmp_path: Path, content: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / race.FILE).write_text(content)
    with pytest.raises(ConfigurationError, match=r"is no race that a run wrote.*--overwrite"):
        run(read(recipe(AUTO)), tmp_path / "out", resume=True)


@pytest.mark.parametrize(
    ("overrides", "what"),
    [
        (["run.until=5.0"], r"of those that race finetune has none: name others in method.among"),
        (
            ["contract={keep: [{metric: accuracy, absolute: 0.0155}]}", "forget={random: 0.1}", "run.seed=1"],
            r"(?s)cannot be decided.*divided by them: fewer in method.among",
        ),
    ],
)
def test_what_no_leg_could_do_is_refused_before_any(
    recipe: Write, tmp_path: Path, overrides: list[str], what: str
) -> None:
    with pytest.raises(ConfigurationError, match=what):
        run(read(recipe(AUTO), overrides), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_leg_that_ended_by_itself_does_not_run_again(recipe: Write, tmp_path: Path) -> None:
    easy = "contract={keep: [{metric: accuracy, absolute: 0.9}], forget: [{metric: accuracy, at_most: 0.99}], every: 1}"
    legs = run(read(recipe(AUTO), [easy]), tmp_path / "out")["race"]["legs"]
    last = [leg for leg in legs if leg["round"] == 2]
    assert last and all(leg["gradients"] == 0 and leg["met"] and leg["ended"] != race.SPENT for leg in last)


def test_the_word_alone_races_headline_methods_and_baselines(recipe: Write, tmp_path: Path) -> None:
    asked = read(recipe(AUTO), ["method=auto"])
    auto = Auto(**asked.method.arguments)
    assert auto.candidates(Classification()) == [*HEADLINE, *BASELINES] and auto.budget(100) == 800
    with pytest.raises(UnsupportedError, match=r"`unweave run` of one request"):
        resolve(asked, job(asked), tmp_path)


@pytest.mark.parametrize(
    ("overrides", "what"),
    [
        (["method={name: auto, among: [hamu_q, hamu_w]}"], r"method.among names no method with steps: 'hamu_w'"),
        (["method={name: auto, among: [hamu_q]}"], "method.among takes two methods at least"),
        (["method={name: auto, among: []}"], "method.among takes two methods at least, each once; found none"),
        (["method={name: auto, gradients: 3}"], "gradients must be at least 18"),
        (["method={name: auto, ratio: 0.5}"], r"method.ratio: unknown key"),
        (["method={name: auto, among: [hamu_q, rmu]}"], "RMU is about texts"),
        (["method=auto", "contract=none"], "auto races methods that a contract's guard set judges"),
    ],
)
def test_what_it_cannot_serve_is_a_fault_of_the_recipe(recipe: Write, overrides: list[str], what: str) -> None:
    with pytest.raises(ConfigurationError, match=what):
        read(recipe(AUTO), overrides)


def test_sequences_and_ledgers_name_their_method(
    recipe: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recipe(AUTO.replace("forget: {class: 3}", "requests: [{class: 3}, {class: 4}]"))
    with pytest.raises(SystemExit) as ended:
        main(["run", str(path), "-o", str(tmp_path / "out")])
    assert ended.value.code == 2 and "auto is for one request" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_evidence_names_its_method(recipe: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["evidence", str(recipe(AUTO)), "-o", str(tmp_path / "out")])
    assert ended.value.code == 2 and "method: auto is for `unweave run`" in capsys.readouterr().err
