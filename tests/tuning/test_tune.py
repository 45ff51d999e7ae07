"""A search leaves its folder, goes on where it ended, prunes what cannot win, and never lets a missed clause win."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.audit.test_drawn import command
from unweave import devices
from unweave.audit.work import processes
from unweave.contract.reading import Waypoint
from unweave.errors import ConfigurationError, UnsupportedError
from unweave.modalities import job, read
from unweave.report.build import build
from unweave.run.session import Session
from unweave.store import strict
from unweave.tuning import Asked, crew, space_of, trial, tune, world
from unweave.tuning import run as running
from unweave.tuning.search import best, following, rivals
from unweave.tuning.trial import PRUNED, Look, Rivals, attempt
from unweave.tuning.world import prepared, requests

pytest.importorskip("optuna")
Write = Callable[..., Path]
RECIPE = """\
data: {source: digits}
forget: {class: 3}
training: {epochs: 3}
contract: {keep: [{metric: accuracy, absolute: 0.2}], forget: [{metric: accuracy, at_most: 0.5}], every: 2}
run: {steps: 8, forget_batch: 32, retain_batch: 64, repair: false}
evaluation: {retrained: 0, quote: false}
"""
ASKED = Asked(trials=6, methods=("hamu_q", "graddiff"), proxies=2)


def plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the seconds."""
    return [
        {k: [{n: v for n, v in each.items() if n != "seconds"} for each in value] if k == "requests" else value
         for k, value in row.items() if k != "seconds"}
        for row in rows
    ]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """A search from its beginning to its end."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "recipe.yaml").write_text(RECIPE)
    return tune(read(folder / "recipe.yaml"), folder / "out", ASKED), folder / "out"


def test_everything_that_a_search_leaves(whole: tuple[dict[str, Any], Path]) -> None:
    found, folder = whole
    assert sorted(each.name for each in folder.iterdir()) == ["run", "trials.jsonl", "tune.json", "tuned.yaml"]
    rows = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    assert [row["number"] for row in rows] == list(range(6)) and found["trials"] == rows
    own, second, *others = (row["setting"] for row in rows)
    assert own == {"method": {"name": "hamu_q", "ratio": 0.1}, "step": {"name": "trust", "start": 0.001}}
    assert second["method"] == {"name": "graddiff", "forget": 1.0, "retain": 1.0}, "every method as it comes"
    assert all(each not in (own, second) for each in others)
    won = next(row for row in rows if row["number"] == found["best"])
    assert won is best(rows) and found["met"] is not bool(won["violation"]) and found["tried"] == 6
    tuned = read(folder / "tuned.yaml")
    assert {"name": tuned.method.name, **tuned.method.arguments} == won["setting"]["method"]
    assert tuned.contract is not None and tuned.contract.tried == 6
    comment = [line for line in (folder / "tuned.yaml").read_text().splitlines() if line.startswith("#")]
    assert f"trial {found['best']} of 6" in comment[0] and "No trial read the final set." in comment[-1]
    assert (folder / "run" / "summary.json").is_file() and found["run"]["contract"][0]["final"] is not None
    assert found["gain"]["level"] == 0.05 / 6 and found["gain"]["low"] <= found["gain"]["value"]


def test_the_guard_s_level_counts_the_trials_and_the_final_set_s_does_not(whole: tuple[dict[str, Any], Path]) -> None:
    """Where nothing is lost, the bound is that of no failure among n: guard .05 / 4 / 6, final set .05."""
    from unweave.contract import bounds

    keep = json.loads((whole[1] / "run" / "summary.json").read_text())["contract"][0]
    for place, alpha in (("guard", 0.05 / 4 / 6), ("final", 0.05)):
        n, measured = keep[place]["n"], keep[place]["measured"]
        if measured == 0:
            assert keep[place]["bound"] >= bounds.tango(0, 0, n, alpha) * 0.999
        assert keep[place]["bound"] > measured
    assert keep["guard"]["n"] >= keep["final"]["n"] > 0


@pytest.mark.slow
def test_interrupted_and_resumed_is_the_search_that_never_stopped(
    whole: tuple[dict[str, Any], Path], recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, done = attempt, list[int]()

    def interrupted(world: Any, number: int, *given: Any) -> Any:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(number)
        return real(world, number, *given)

    asked, folder = read(recipe(RECIPE)), tmp_path / "out"
    with monkeypatch.context() as patched:
        patched.setattr(crew, "attempt", interrupted)
        assert tune(asked, folder, ASKED)["status"] == "interrupted"
    assert done == [0, 1, 2] and not (folder / "tuned.yaml").exists()
    with (folder / "trials.jsonl").open("a") as handle:
        handle.write('{"number": 3, "sett')  # a kill in the middle of a line
    found = tune(asked, folder, ASKED)
    assert found["status"] == "done" and plain(found["trials"]) == plain(whole[0]["trials"])
    assert (folder / "tuned.yaml").read_text() == (whole[1] / "tuned.yaml").read_text()
    again = tune(asked, folder, ASKED)
    assert again["trials"] == found["trials"], "a finished search is read"
    with pytest.raises(ConfigurationError, match="--trials changed since the search began: 6 -> 7"):
        tune(asked, folder, Asked(trials=7, methods=ASKED.methods))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(ConfigurationError, match="holds more than a search"):
        tune(asked, tmp_path / "mine", ASKED)


def row(number: int, objective: float | None, violation: float = 0.0, state: str = "complete") -> dict[str, Any]:
    setting = {"method": {"name": "hamu_q", "ratio": 0.1 + number / 100}, "step": {"name": "trust", "start": 1e-3}}
    return {"number": number, "objective": objective, "violation": violation, "state": state, "looks": {}} | {
        "setting": setting
    }


def test_an_infeasible_trial_never_wins() -> None:
    near, far = row(1, 0.1, violation=0.01), row(2, 30.0)
    assert best([near, far]) is far and best([far, near]) is far
    assert best([near, row(3, 0.2, violation=0.005)])["number"] == 3, "of those that miss, the one that misses least"  # type: ignore[index]
    assert best([near, row(4, 0.0, state="pruned")]) is near and best([row(5, None, state="refused")]) is None
    assert best([row(7, 1.0), row(6, 1.0)])["number"] == 6, "the first of two that are alike"  # type: ignore[index]
    assert rivals([near, far]).best == 30.0 and rivals([near]).best is None


def test_what_follows_depends_on_what_is_done_and_the_seed_alone(recipe: Write) -> None:
    asked = read(recipe(RECIPE))
    space = space_of(asked, job(asked).task, ASKED.methods)
    rows, first = [row(n, float(n)) for n in range(5)], running.begun(asked, space)
    taken = [each["setting"] for each in rows]
    one, other = (following(space, first, rows, taken, 5, seed) for seed in (0, 0))
    assert one == other != following(space, first, rows, taken, 5, 1) and one not in taken
    assert following(space, first, list(reversed(rows)), taken, 5, 0) == one
    assert [following(space, first, [], [], n, 0) for n in (0, 1)] == first


def test_a_space_that_is_used_up_ends_the_search(recipe: Write) -> None:
    asked = read(recipe(RECIPE + "step: {name: adam, lr: 1.0e-3}\n"))
    space = space_of(asked, job(asked).task, ("eupmu", "unilateral_surgery"))
    settings = [{"method": {"name": name}, "step": {"name": "adam", "lr": 1e-3}} for name in space.methods]
    assert following(space, [], [], settings, 2, 0) is None


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> trial.World:
    folder = tmp_path_factory.mktemp("proxied")
    (folder / "recipe.yaml").write_text(RECIPE.replace("every: 2", "every: 1"))
    asked = read(folder / "recipe.yaml")
    return prepared(asked, "proxies", requests(asked, job(asked), "proxies", 2, 0))


SLOW: Mapping[str, Any] = {"method": {"name": "hamu_q", "ratio": 0.01}, "step": {"name": "trust", "start": 1e-4}}
FAST: Mapping[str, Any] = {"method": {"name": "graddiff"}, "step": {"name": "trust", "start": 1e-2}}


def test_pruning_saves_work_and_changes_no_trial_that_is_not_pruned(proxied: trial.World) -> None:
    alone = {name: attempt(proxied, 1, dict(each), Rivals()) for name, each in (("slow", SLOW), ("fast", FAST))}
    assert all(each["state"] == "complete" and len(each["requests"]) == 2 for each in alone.values())
    looks = {int(step): value for step, value in alone["fast"]["looks"].items()}
    looks |= dict.fromkeys(range(max(looks, default=0) + 1, 9), 0.0)
    others = Rivals([looks] * trial.STARTUP)
    slow, fast = (attempt(proxied, 2, dict(each), others) for each in (SLOW, FAST))
    assert slow["state"] == "pruned" and slow["why"] == PRUNED and slow["objective"] is None
    assert slow["requests"][0]["objective"] is None, "nobody measured how far it is"
    assert 0 < slow["steps"] < alone["slow"]["steps"] and slow["gradients"] < alone["slow"]["gradients"]
    assert plain([{**fast, "number": 1}]) == plain([alone["fast"]])
    few = attempt(proxied, 2, dict(SLOW), Rivals([looks] * (trial.STARTUP - 1)))
    assert few["state"] == "complete", "so few say nothing of a median"


def test_between_two_requests_what_cannot_win_is_left(proxied: trial.World) -> None:
    whole = attempt(proxied, 1, dict(FAST), Rivals())
    first = whole["requests"][0]
    assert not whole["violation"] and first["objective"] > 0
    least = first["objective"] / 2
    lost = attempt(proxied, 1, dict(FAST), Rivals(best=least))
    assert lost["state"] == "pruned" and "cannot make it the best" in lost["why"] and len(lost["requests"]) == 1
    assert attempt(proxied, 1, dict(FAST), Rivals(best=least * 1.001))["state"] == "complete", "it may still be"
    missing = attempt(proxied, 1, dict(SLOW), Rivals(best=99.0))
    assert missing["state"] == "pruned" and "misses a clause" in missing["why"]


def test_a_look_is_how_far_is_left_and_how_far_beyond() -> None:
    look = Look((), steps=10)
    for step, used, forgotten in ((2, 0.5, 0.25), (4, 1.5, 0.75)):
        look.on_reading(Waypoint(step, used, forgotten, used <= 1, False))
    assert look.seen == {2: 0.75, 4: 0.75} and not look.hopeless


def test_the_final_set_is_read_by_no_trial(recipe: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    from unweave.contract.observer import Observer

    read_sets, real = set[str](), Observer._read

    def noted(self: Observer, model: Any, name: str, device: Any) -> Any:
        read_sets.add(name)
        return real(self, model, name, device)

    monkeypatch.setattr(Observer, "_read", noted)
    asked = read(recipe(RECIPE))
    here = job(asked)
    for by in ("proxies", "contract"):
        found = prepared(asked, by, requests(asked, here, by, 1, 0))  # type: ignore[arg-type]
        assert attempt(found, 0, {"method": {"name": "hamu_q"}, "step": {"name": "trust"}}, Rivals())["requests"]
    assert read_sets == {"guard", "forget"}
    session = Session.start(asked, here, world.modalities.original(asked, here))
    with session.parts.ready():
        session.parts.run(2)
    assert read_sets == {"guard", "forget", "final", "forget final"}, "a run reads it"


def test_methods_that_so_few_trials_leave_out_are_named_before_any(recipe: Write, tmp_path: Path) -> None:
    class Told(Exception):
        """Ends the search before its first trial."""

    def promise(text: str) -> None:
        raise Told(text)

    few = Asked(trials=2, methods=("hamu_q", "graddiff", "finetune"), by="contract")
    with pytest.raises(Told, match=r"^not tried: finetune; --trials 3 tries every method once$"):
        tune(read(recipe(RECIPE)), tmp_path / "few", few, promise=promise)
    enough = Asked(trials=3, methods=few.methods, by="contract")
    with pytest.raises(Told, match=r"^3 trials"):
        tune(read(recipe(RECIPE)), tmp_path / "enough", enough, promise=promise)


def test_by_contract_the_least_used_of_those_that_meet_all_clauses(recipe: Write, tmp_path: Path) -> None:
    asked = read(recipe(RECIPE))
    found = tune(asked, tmp_path / "out", Asked(trials=3, methods=("hamu_q", "graddiff", "finetune"), by="contract"))
    rows = [row for row in found["trials"] if row["state"] == "complete"]
    assert rows and all(row["objective"] == row["requests"][0]["used"] for row in rows)
    met = [row for row in rows if not row["violation"]]
    assert found["met"] is bool(met) and found["gain"] is None and found["original"] == []
    if met:
        assert found["best"] == min(met, key=lambda row: (row["objective"], row["number"]))["number"]
    with pytest.raises(ConfigurationError, match=r"--by contract: expected a contract with a forget clause.*none"):
        tune(read(recipe(RECIPE), ["contract=none"]), tmp_path / "other", Asked(by="contract"))


@pytest.mark.slow
def test_trials_in_processes_are_those_of_one(
    whole: tuple[dict[str, Any], Path], recipe: Write, tmp_path: Path
) -> None:
    """Two at a time: the first two are given, so that they are the same whoever does them."""
    found = tune(read(recipe(RECIPE)), tmp_path / "out", Asked(trials=2, methods=ASKED.methods), jobs=2)
    rows = sorted(found["trials"], key=lambda row: row["number"])
    assert [row["setting"] for row in rows] == [row["setting"] for row in whole[0]["trials"][:2]]
    assert all(row["state"] == "complete" for row in rows) and found["status"] == "done"
    with processes(1) as pool:
        far = tune(read(recipe(RECIPE)), tmp_path / "far", Asked(trials=2, methods=ASKED.methods), executor=pool)
    assert plain(far["trials"]) == plain(rows), "whoever does them"
    with (
        ThreadPoolExecutor(1) as threads,
        pytest.raises(ConfigurationError, match="expected workers that are processes"),
    ):
        tune(read(recipe(RECIPE)), tmp_path / "threads", ASKED, executor=threads)


def test_bad_input_is_one_message(
    recipe: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = recipe(RECIPE)
    for given, what in (
        (("--methods", "hamu_w"), "no method with steps is called 'hamu_w'"),
        (("--jobs", 2, "--cluster", "tcp://x:1"), "--jobs are processes of this machine"),
        (("-s", "method=ssd"), "method"),
        (("-s", "forget={random: 0.6}"), "no room for a proxy request: it takes"),
    ):
        assert command("tune", path, "-o", tmp_path / "out", *given) == 2
        err = capsys.readouterr().err
        assert what in err and err.startswith("error:") and not (tmp_path / "out").exists()
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert command("tune", path, "-o", tmp_path / "out") == 2
    assert "pip install 'unweave[tune]'" in capsys.readouterr().err


def test_a_limit_that_so_many_trials_leave_undecided_is_refused_before_any(recipe: Write, tmp_path: Path) -> None:
    """291 guard examples decide 3 points at .05 / 4 (score bound 1.8 points), and not at .05 / 4 / 200 (4.9 points)."""
    sharp = "contract={keep: [{metric: accuracy, absolute: 0.03}], forget: [{metric: accuracy, at_most: 0.5}]}"
    asked = read(recipe(RECIPE), [sharp, "forget={random: 0.1}"])
    assert asked.contract is not None
    with pytest.raises(ConfigurationError, match="cannot be decided") as refused:
        tune(asked, tmp_path / "out", Asked(trials=200, methods=("hamu_q",)))
    assert "divided by 200: fewer --trials" in refused.value.advice and not (tmp_path / "out").exists()
    here = job(asked)
    world.check(asked, requests(asked, here, "proxies", 1, 0))


def test_the_command(whole: tuple[dict[str, Any], Path], recipe: Write, capsys: pytest.CaptureFixture[str]) -> None:
    path, folder = recipe(RECIPE), whole[1]
    assert command("tune", path, "--space", "--methods", "hamu_q") == 0
    assert capsys.readouterr().out.splitlines()[0] == "method hamu_q: ratio 0 to 0.99"
    given = ("--trials", 6, "--methods", "hamu_q,graddiff", "-o", folder)
    assert command("tune", path, *given) == (0 if whole[0]["met"] else 3)
    out = capsys.readouterr().out
    assert "0, the recipe" in out and "best of 6 trials" in out and str(folder / "tuned.yaml") in out
    page = (folder / "report.html").read_text()
    for text in ("A search for settings", "divided by 6", "0, the recipe", "ratio 0 to 0.99"):
        assert text in page, text


def test_a_missing_distance_is_no_trial(proxied: trial.World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "distance", lambda *given: (None, {}))
    found = attempt(proxied, 1, dict(FAST), Rivals())
    assert found["state"] == "refused" and "undefined" in found["why"]


def test_a_refused_setting_is_noted_but_the_recipe_s_own_is_a_fault(
    proxied: trial.World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*given: Any, **named: Any) -> Any:
        raise UnsupportedError("not this one")

    monkeypatch.setattr(Session, "start", refused)
    assert attempt(proxied, 3, dict(FAST), Rivals())["why"] == "not this one"
    with pytest.raises(UnsupportedError, match="not this one"):
        attempt(proxied, 0, dict(FAST), Rivals())


def test_several_requests_are_refused(recipe: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = recipe("data: {source: digits}\nrequests: [{class: 3}, {class: 4}]\n")
    with pytest.raises(ConfigurationError, match="tune is about one request"):
        tune(read(path), tmp_path / "out", ASKED)
    assert command("tune", path, "--space") == 2 and "tune is about one request" in capsys.readouterr().err


def test_killed_in_the_last_run_it_has_a_page(
    recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And trial 0 is what stands for `auto`; without tune.json nobody knows of what the trials are."""

    class Killed(Exception):
        pass

    def killed(*given: Any, **named: Any) -> Any:
        raise Killed

    asked, folder = Asked(trials=2, methods=ASKED.methods, by="contract"), tmp_path / "out"
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(running, "run_one", killed)
        tune(read(recipe(RECIPE), ["method=auto"]), folder, asked)
    page = build(folder).read_text()
    assert "Not finished: 2 of 2 trials" in page and "0, hamu_q for auto" in page and "Against hamu_q for auto" in page
    (folder / "tune.json").write_text("{}")
    given = ("--trials", 2, "--methods", "hamu_q,graddiff", "--by", "contract", "-s", "method=auto", "-o", folder)
    assert command("tune", recipe(RECIPE), *given) == 2
    assert "says of what the 2 trials in trials.jsonl are" in capsys.readouterr().err


def test_a_look_at_a_model_without_finite_values_is_far_behind(recipe: Write) -> None:
    """What JSON has no number for would be none to the sampler, which compares the last looks of pruned trials."""
    look = Look((), steps=10)
    look.on_reading(Waypoint(2, math.inf, 0.0, False, False))
    lost = {**row(5, None, state="pruned"), "looks": strict({str(step): value for step, value in look.seen.items()})}
    asked = read(recipe(RECIPE))
    space = space_of(asked, job(asked).task, ASKED.methods)
    rows = [*(row(n, float(n)) for n in range(5)), lost]
    assert lost["looks"]["2"] > 100 and following(space, [], rows, [each["setting"] for each in rows], 6, 0)


def test_a_trial_computes_where_a_run_does(proxied: trial.World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, real = list[str](), devices.chosen
    monkeypatch.setattr(devices, "chosen", lambda name: asked.append(name) or real(name))
    recipe = proxied.recipe.model_copy(update={"run": proxied.recipe.run.model_copy(update={"device": "cpu"})})
    attempt(replace(proxied, recipe=recipe, requests=proxied.requests[:1]), 1, dict(FAST), Rivals())
    assert "cpu" in asked
