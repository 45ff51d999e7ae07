"""`unweave evidence` on two processes: what one process finds, however it is ended and gone on with; nobody hangs."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.audit.test_collect import RECIPE as IMAGES
from tests.audit.test_texts import RECIPE as TEXTS
from tests.audit.test_texts import world as texts_folder
from tests.distributed._command import Ended, command
from tests.distributed.test_command_on_ranks import alone, failing
from tests.modalities.records._tables import RECIPE as TABLE
from tests.modalities.records._tables import written
from unweave.audit import collect
from unweave.audit.experiment import Experiment
from unweave.audit.models import make
from unweave.data.pairs import Pair
from unweave.errors import ConfigurationError
from unweave.modalities import job, read
from unweave.modalities.records import training
from unweave.objectives import Objectives

assert texts_folder  # a fixture

pytestmark = [pytest.mark.ranks, pytest.mark.slow, pytest.mark.filterwarnings("ignore::unweave.GuardWarning")]
RECORDS = (
    TABLE.replace(TABLE.splitlines()[1], "forget: {random: 0.3}").replace("epochs: 30", "epochs: 3")
    + "contract: none\nevidence: {runs: 2, retrained: 2, relearning: {steps: [0, 1, 2]}}\n"
)
SHADOWS = IMAGES.replace("retrained: 4", "retrained: 2, shadows: 9").replace(
    "contract: none", "contract: {keep: [], forget: [{metric: retrained}], every: 1}"
)
WEIGHTS = 1e-6  # by which unlearned weights may differ: the order of a few sums, over two or three steps
POINTS = 1e-3  # a gap: a score's slope in all weights, some tens at most, in hundredths
RELATIVE = 1e-3  # statistics over two models a side, which divide by a spread that may be small


def evidence(cache: Path, monkeypatch: pytest.MonkeyPatch, recipe: Path, *given: str | Path, **how: Any) -> Ended:
    """The command on two processes, with a cache of its own."""
    monkeypatch.setenv("UNWEAVE_CACHE", str(cache))
    return command("evidence", recipe, *given, **how)


def found(folder: Path) -> Any:
    return json.loads((folder / "evidence.json").read_text())


def unlearned(
    cache: Path, recipe: Path, settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> list[dict[str, torch.Tensor]]:
    """The weights that lie in a cache."""
    monkeypatch.setenv("UNWEAVE_CACHE", str(cache))
    asked = read(recipe, settings)
    here = Experiment(asked, job(asked))
    models = [make(here, "unlearned", number) for number in range(here.count("unlearned"))]
    assert all(each.about["cached"] and each.about["changed"] for each in models)
    return [dict(each.model.state_dict()) for each in models]


def assert_same(two: Any, one: Any) -> None:
    """What was found: the same trained models, all else to the rounding of the ranks."""
    trained = [[m["sha256"] for m in each["runs"]["models"] if m["kind"] != "unlearned"] for each in (two, one)]
    assert trained[0] == trained[1] and len(trained[0]) >= 4
    assert two["status"] == one["status"] == "complete" and two["environment"]["processes"] == 2
    assert two["claim"]["level"] == one["claim"]["level"] and len(two["claim"]["items"]) > 5
    assert [each["finding"] for each in two["claim"]["items"]] == [each["finding"] for each in one["claim"]["items"]]
    metrics = one["gaps"]["unlearned"]["metrics"]
    for name, gap in metrics.items():
        assert two["gaps"]["unlearned"]["metrics"][name]["value"] == pytest.approx(gap["value"], abs=POINTS), name
        assert two["gaps"]["original"]["metrics"][name] == one["gaps"]["original"]["metrics"][name], "no step in it"
    assert metrics
    for side in ("forget", "retain"):
        ts = [each["per_example"][side]["ecdf"]["t"] for each in (two, one)]
        assert ts[0] == pytest.approx(ts[1], rel=RELATIVE, abs=RELATIVE) and len(ts[0]) > 10
    curves = [[each["curves"] for each in card["robustness"]["relearning"]] for card in (two, one)]
    assert len(curves[0]) == len(curves[1]) > 1
    for ours, theirs in zip(*curves, strict=True):
        assert ours["original"] == theirs["original"] and ours["retrained"] == theirs["retrained"]
        for own, other in zip(ours["unlearned"], theirs["unlearned"], strict=True):
            assert own == pytest.approx(other, abs=1e-4)


KINDS = {
    "images": (IMAGES, []),
    "shadows of sharded models": (SHADOWS, ["run.shard=true"]),
    "records": (RECORDS, []),
    "texts": (TEXTS.replace("{name: adamw, lr: 3.0e-3}", "{name: sgd, lr: 0.05}"), ["run.shard=true"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_find_what_one_finds(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    text, settings = KINDS[kind]
    folder = request.getfixturevalue("texts_folder") if kind == "texts" else tmp_path
    recipe = written(folder, text, "ranks.yaml") if kind == "records" else folder / "ranks.yaml"
    recipe.write_text(text)
    monkeypatch.setenv("UNWEAVE_CACHE", str(tmp_path / "one cache"))
    code = alone("evidence", recipe, "-o", tmp_path / "one", "--workers", "1")
    given = [each for setting in settings for each in ("-s", setting)]
    ended = evidence(tmp_path / "two cache", monkeypatch, recipe, "-o", tmp_path / "two", *given)
    assert code in (0, 3) and ended.codes == [code, code], ended.said
    assert "2 share the steps of unlearning" in ended.said[0] and "evidence: " in ended.told[0]
    assert ended.said[1] == ended.told[1] == "", "the first one alone speaks"
    one, two = found(tmp_path / "one"), found(tmp_path / "two")
    assert_same(two, one)
    on_two = unlearned(tmp_path / "two cache", recipe, settings, monkeypatch)
    on_one = unlearned(tmp_path / "one cache", recipe, [], monkeypatch)
    for ours, theirs in zip(on_two, on_one, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=WEIGHTS, atol=WEIGHTS)
    if "shadows" in kind:
        aucs = [each["over_runs"]["u_lira"]["auc"]["value"] for each in (two, one)]
        assert aucs[0] == pytest.approx(aucs[1], abs=1e-3) and aucs[1] is not None


def stepping(folder: Path) -> Callable[[int], None]:
    """Steps take their time, and leave a file for each that begins."""

    def child(rank: int) -> None:
        at = Objectives.at

        def waits(self: Objectives, pair: Pair) -> Objectives:
            with (folder / f"steps of {rank}").open("a") as file:
                file.write(".")
            time.sleep(0.1)
            return at(self, pair)

        Objectives.at = waits  # type: ignore[method-assign]

    return child


def signalled(file: Path, whom: Callable[[list[int]], list[int]], size: int = 3) -> Callable[[list[int]], None]:
    """Ctrl-C, once a file has so many bytes."""

    def during(processes: list[int]) -> None:
        until = time.monotonic() + 60
        while not (file.exists() and file.stat().st_size >= size) and time.monotonic() < until:
            time.sleep(0.002)
        for process in whom(processes):
            os.kill(process, signal.SIGINT)

    return during


def test_interrupted_it_goes_on_on_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever was interrupted, in a step: the models that were there are kept, the half one is not."""
    recipe = written(tmp_path, RECORDS)
    given = ["-o", tmp_path / "out"]
    for number, whom in enumerate((lambda all_: all_, lambda all_: all_[:1], lambda all_: all_[1:])):
        place = tmp_path / f"{number}"
        place.mkdir()
        during = signalled(place / "steps of 0", whom)
        ended = evidence(tmp_path / "cache", monkeypatch, recipe, *given, child=stepping(place), during=during)
        assert ended.codes == [130, 130], ended
        assert ended.said[0].endswith("interrupted: what was made is kept; the same command goes on from there\n")
        assert ended.said[1] == "" and found(tmp_path / "out")["status"] == "running"
        assert 3 <= (place / "steps of 0").stat().st_size < 6, "it ended in its first unlearning"
        assert abs((place / "steps of 0").stat().st_size - (place / "steps of 1").stat().st_size) <= 1
    assert alone("evidence", recipe, *given, "--workers", "1") in (0, 3)
    done = found(tmp_path / "out")
    assert done["status"] == "complete"
    assert [m["cached"] for m in done["runs"]["models"]] == [True] * 4 + [False] * 2
    whole = evidence(tmp_path / "other", monkeypatch, recipe, "-o", tmp_path / "whole")
    assert whole.codes[0] in (0, 3)
    assert_same(found(tmp_path / "whole"), done)


def test_ctrl_c_while_the_first_one_trains_ends_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = written(tmp_path, RECORDS)

    def child(rank: int) -> None:
        real = training.train

        def slow(*given: Any, **named: Any) -> Any:
            (tmp_path / "training").write_text("...")
            time.sleep(20)
            return real(*given, **named)

        training.train = slow

    during = signalled(tmp_path / "training", lambda all_: all_)
    begin = time.monotonic()
    ended = evidence(tmp_path / "cache", monkeypatch, recipe, "-o", tmp_path / "out", child=child, during=during)
    assert ended.codes == [130, 130] and time.monotonic() - begin < 15, ended
    assert ended.said[0].endswith("interrupted: what was made is kept; the same command goes on from there\n")
    assert ended.said[1] == ended.told[1] == ""


def test_one_that_fails_alone_says_it_and_all_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = written(tmp_path, RECORDS)
    given = (tmp_path / "cache", monkeypatch, recipe, "-o", tmp_path / "out")
    ended = evidence(*given, child=failing(0))
    assert ended.codes[0] == 2 and ended.codes[1] and ended.said[1] == "", ended
    assert ended.said[0].endswith("error: a fault of this process alone\n")
    ended = evidence(*given, child=failing(1))
    assert ended.codes == [1, 2] and "process 1: error: a fault of this process alone\n" in ended.said[1], ended
    assert "another process of this run ended, and this one with it" in ended.said[0]
    assert "go on with the same command" in ended.said[0]

    def trains(rank: int) -> None:
        def fails(*_: Any, **__: Any) -> Any:
            raise ConfigurationError("no training here")

        training.train = fails

    ended = evidence(tmp_path / "empty", *given[1:], child=trains)
    assert ended.codes == [2, 2] and ended.said[1] == "" and ended.said[0].endswith("error: no training here\n"), ended

    def killed(rank: int) -> None:
        def ends(self: Objectives, pair: Pair) -> Objectives:
            os.kill(os.getpid(), signal.SIGKILL)
            raise AssertionError("it is gone")

        if rank:
            Objectives.at = ends  # type: ignore[method-assign]

    ended = evidence(*given, child=killed)
    assert ended.codes == [1, -signal.SIGKILL] and "Traceback" not in "".join(ended.said), ended
    assert evidence(*given).codes[0] in (0, 3)


def test_of_a_run_the_first_model_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = written(tmp_path, RECORDS + "evaluation: {retrained: 0, quote: false}\n")
    monkeypatch.setenv("UNWEAVE_CACHE", str(tmp_path / "cache"))
    assert command("run", recipe, "-o", tmp_path / "run", "-s", "run.shard=true").codes[0] in (0, 3)
    ended = command("evidence", tmp_path / "run")
    assert ended.codes[0] in (0, 3) and ended.codes[0] == ended.codes[1], ended.said
    done = found(tmp_path / "run")
    own = [each for each in done["runs"]["models"] if each["kind"] == "unlearned"]
    after = json.loads((tmp_path / "run" / "summary.json").read_text())["model_after"]
    assert own[0]["sha256"] == after == done["own_run"]["after"] != own[1]["sha256"]
    assert [each["cached"] for each in own] == [True, False]


def test_what_cannot_be_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, told = written(tmp_path, RECORDS), "evidence: several processes were started"
    for given, says in (
        (["--workers", "1"], told),
        (["--cluster", "tcp://localhost:1"], told),
        (["-s", "forget={random: 0.02}"], "expected at least 20 examples"),
        (["-s", "run.relearner=2"], "run.relearner: it runs in one process"),
        (["-s", "method={name: ssd}", "-s", "run.shard=true"], "ssd takes no steps"),
        (["-s", "run.device=meta"], "run.device: meta is asked for"),
    ):
        ended = evidence(tmp_path / "cache", monkeypatch, recipe, "-o", tmp_path / "out", *given)
        assert ended.codes == [2, 2] and ended.said[1] == "" and says in ended.said[0], ended
        left = [(each, each.is_file() and each.read_text()[:600]) for each in (tmp_path / "out").rglob("*")]
        assert "Traceback" not in ended.said[0] and not (tmp_path / "out").exists(), (given, left, ended)


def test_the_first_process_alone_looks_at_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made and removed again to see whether it can be: two that do so at once may leave it behind."""

    def watched(rank: int) -> None:
        look = collect.check_evidence

        def noted(folder: Path) -> bool:
            (tmp_path / f"looked-{rank}").touch()
            return look(folder)

        monkeypatch.setattr(collect, "check_evidence", noted)

    given: list[str | Path] = ["-o", tmp_path / "out", "-s", "forget={random: 0.02}"]
    ended = evidence(tmp_path / "cache", monkeypatch, written(tmp_path, RECORDS), *given, child=watched)
    assert ended.codes == [2, 2] and "expected at least 20 examples" in ended.said[0]
    assert [path.name for path in tmp_path.glob("looked-*")] == ["looked-0"] and not (tmp_path / "out").exists()
