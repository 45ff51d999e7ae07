"""`unweave run` on two processes: what one process leaves, however it is ended and gone on with; nobody hangs."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor

from tests.conftest import RECIPE as IMAGES
from tests.distributed._command import command
from tests.modalities.diffusion._pictures import RECIPE as DIFFUSION
from tests.modalities.diffusion._pictures import pictures
from tests.modalities.records._tables import RECIPE as RECORDS
from tests.modalities.records._tables import written
from tests.modalities.texts._world import RECIPE as TEXTS
from tests.modalities.texts._world import made
from tests.run._kills import watched
from unweave.cli import main
from unweave.data.pairs import Pair
from unweave.errors import ConfigurationError
from unweave.objectives import Objectives
from unweave.run.steps_log import read_steps

pytestmark = [pytest.mark.ranks, pytest.mark.slow, pytest.mark.filterwarnings("ignore::unweave.GuardWarning")]
SHORT = RECORDS + "contract: {keep: [{metric: loss, absolute: 0.02, clip: 0.1}], forget: [], every: 1, shrinks: 5}\n"
SHORT += "evaluation: {retrained: 0, quote: false}\n"
KINDS: dict[str, tuple[Callable[[Path], object], str, list[str]]] = {
    "images": (lambda folder: None, IMAGES, []),
    "records": (lambda folder: written(folder), RECORDS, ["run.steps=3"]),
    "texts": (made, TEXTS, ["step={name: sgd, lr: 0.05}", "run.steps=2"]),
    "diffusion": (
        lambda folder: pictures(folder / "pictures", 20),
        DIFFUSION.replace("steps: 300", "steps: 20").replace(
            "{images: 20, ", "{images: 20, retrained: 0, quote: false, "
        ),
        ["step={name: sgd, lr: 0.05}", "run.steps=2", "evaluation.attacks=none"],
    ),
}


def alone(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(each) for each in arguments])
    return int(caught.value.code or 0)


def weights(folder: Path) -> dict[str, Tensor]:
    files = sorted((folder / "model").rglob("*.safetensors"))
    return {f"{file.name} {key}": t for file in files for key, t in safetensors.torch.load_file(file).items()}


def assert_same(found: Path, expected: Path, *, rounding: float = 1e-6) -> None:
    own, other = weights(found), weights(expected)
    assert own.keys() == other.keys() and own
    for name, tensor in own.items():
        torch.testing.assert_close(tensor, other[name], rtol=rounding, atol=rounding, msg=lambda m, n=name: f"{n}: {m}")


def digest(folder: Path) -> str:
    return str(json.loads((folder / "summary.json").read_text())["model_after"])


@pytest.mark.parametrize(
    ("kind", "sharded"), [*((kind, False) for kind in KINDS), ("texts", True), ("diffusion", True)]
)
def test_two_processes_leave_what_one_leaves(kind: str, sharded: bool, tmp_path: Path) -> None:
    make, text, settings = KINDS[kind]
    make(tmp_path)
    (tmp_path / "recipe.yaml").write_text(text)
    given = [each for setting in settings for each in ("-s", setting)]
    code = alone("run", tmp_path / "recipe.yaml", "-o", tmp_path / "one", *given)
    given += ["-s", "run.shard=true"] * sharded
    ended = command("run", tmp_path / "recipe.yaml", "-o", tmp_path / "two", *given)
    assert code in (0, 3) and ended.codes == [code, code], ended.said
    assert "report: " in ended.told[0] and ended.said[1] == ended.told[1] == "", "the first one alone speaks"
    assert ("it does not relearn" in ended.said[0]) == (sharded and kind == "texts")
    assert_same(tmp_path / "two", tmp_path / "one")
    names = [{str(each.relative_to(tmp_path / run)) for each in (tmp_path / run).rglob("*")} for run in ("one", "two")]
    assert names[0] == names[1]
    scores = [json.loads((tmp_path / run / "scores.json").read_text())["models"] for run in ("one", "two")]
    compared = 0
    for model, sheet in scores[0].items():
        for name, score in sheet.items():
            if sharded and "relearned" in name:  # which trains a whole model
                continue
            assert scores[1][model][name]["value"] == pytest.approx(score["value"], abs=1e-4), (model, name)
            compared += score["value"] is not None
    assert compared > 3


@pytest.mark.parametrize("memory", ["lean", "least"])
def test_gradients_that_are_not_kept_are_sharded_too(memory: str, tmp_path: Path) -> None:
    """The steps of a sharded run that keeps one gradient, or none, are those of one process that keeps both."""
    recipe = written(tmp_path, RECORDS)
    given = ["-s", "run.steps=3", "-s", "method={name: hamu_q, blocks: model}", "-s", "contract=none"]
    assert alone("run", recipe, "-o", tmp_path / "one", *given, "-s", "run.memory=fast") in (0, 3)
    more = ["-s", f"run.memory={memory}", "-s", "run.shard=true"]
    ended = command("run", recipe, "-o", tmp_path / "two", *given, *more)
    assert ended.codes in ([0, 0], [3, 3]), ended.said
    assert_same(tmp_path / "two", tmp_path / "one")


@pytest.fixture
def whole(tmp_path: Path) -> tuple[Path, Path]:
    """A recipe, and the folder of a run of it on two processes that nobody ended."""
    written(tmp_path, SHORT)
    ended = command("run", tmp_path / "recipe.yaml", "-o", tmp_path / "whole")
    assert ended.codes[0] in (0, 3), ended.said
    return tmp_path / "recipe.yaml", tmp_path / "whole"


@pytest.mark.filterwarnings("default")
def test_a_sharded_run_goes_on_on_another_number_of_processes(tmp_path: Path) -> None:
    """Momentum, the contract's best state and the repair's averages too."""
    recipe = written(tmp_path, SHORT)
    settings = ("shard=true", "repair=true")
    given = ["-s", "method.name=graddiff", "-s", "step={name: sgd, lr: 0.05, momentum: 0.9}"]
    given += [each for setting in settings for each in ("-s", f"run.{setting}")]
    assert command("run", recipe, "-o", tmp_path / "whole", *given).codes[0] in (0, 3)
    for number, world in enumerate((2, 1)):
        folder = tmp_path / f"{number}"
        first = interrupted(folder, 3, lambda all_: all_)
        assert command("run", recipe, "-o", folder, *given, during=first, child=slowly).codes == [130, 130]
        ended = command("run", folder, "--resume", world=world)
        assert ended.codes[0] in (0, 3), ended.said[0]
        assert_same(folder, tmp_path / "whole")
        assert world != 2 or digest(folder) == digest(tmp_path / "whole")


def interrupted(folder: Path, after: int, whom: Callable[[list[int]], list[int]]) -> Callable[[list[int]], None]:
    """Sends Ctrl-C once so many steps are made."""

    def during(processes: list[int]) -> None:
        until = time.monotonic() + 60
        while len(read_steps(folder / "steps.jsonl")) < after and time.monotonic() < until:
            time.sleep(0.002)
        for process in whom(processes):
            os.kill(process, signal.SIGINT)

    return during


def slowly(rank: int) -> None:
    """So that there is time to send a signal between two steps."""
    at = Objectives.at

    def waits(self: Objectives, pair: Pair) -> Objectives:
        time.sleep(0.1)
        return at(self, pair)

    Objectives.at = waits  # type: ignore[method-assign]


@pytest.mark.filterwarnings("default")
def test_an_interrupted_run_is_gone_on_with(
    whole: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """To the bit on as many processes, to rounding on one; whoever was interrupted."""
    recipe, before = whole
    for number, whom in enumerate((lambda all_: all_, lambda all_: all_[:1], lambda all_: all_[1:])):
        folder = tmp_path / f"{number}"
        ended = command("run", recipe, "-o", folder, during=interrupted(folder, 2 + number, whom), child=slowly)
        assert ended.codes == [130, 130], ended
        assert 2 <= json.loads((folder / "summary.json").read_text())["steps"] < 6
        if number == 1:
            capsys.readouterr()
            assert alone("run", folder, "--resume") in (0, 3)
            assert "resumed elsewhere (processes 2 -> 1)" in capsys.readouterr().err
            assert_same(folder, before)
        else:
            assert command("run", folder, "--resume").codes[0] in (0, 3)
            assert digest(folder) == digest(before)


def test_killed_at_random_moments(whole: tuple[Path, Path], tmp_path: Path) -> None:
    """Whichever process a kill hits, and whenever, the other one ends too; what is left is the run to go on with."""
    recipe, before = whole
    dice, folder, kills = random.Random(0), tmp_path / "killed", 0
    with watched() as moments:
        for number in range(10):

            def child(rank: int, hit: int = number % 2, count: int = dice.randint(1, 100)) -> None:
                if rank == hit:
                    moments.left, moments.act = count, lambda: os.kill(os.getpid(), signal.SIGKILL)

            done = (folder / "summary.json").exists()
            ended = command("run", recipe, "-o", folder, "--overwrite" if done else "--resume", child=child)
            if -signal.SIGKILL in ended.codes:
                kills += 1
                assert all(ended.codes) and "Traceback" not in "".join(ended.said), ended
        assert command("run", folder, "--resume").codes[0] in (0, 3)
    assert kills > 6 and digest(folder) == digest(before)


def failing(who: int) -> Callable[[int], None]:
    """One of them alone fails in the third step, or a while later."""

    def child(rank: int) -> None:
        at, steps = Objectives.at, []

        def fails(self: Objectives, pair: Pair) -> Objectives:
            steps.append(0)
            if len(steps) > 2 and rank == who:
                raise ConfigurationError("a fault of this process alone")
            return at(self, pair)

        Objectives.at = fails  # type: ignore[method-assign]

    return child


def test_one_that_fails_alone_says_it_and_all_end(tmp_path: Path) -> None:
    recipe = written(tmp_path, SHORT)
    ended = command("run", recipe, "-o", tmp_path / "first", child=failing(0))
    assert ended.codes[0] == 2 and ended.codes[1] and ended.said[1] == ""
    assert ended.said[0].endswith("error: a fault of this process alone\n")
    ended = command("run", recipe, "-o", tmp_path / "second", child=failing(1))
    assert ended.codes == [1, 2] and "process 1: error: a fault of this process alone\n" in ended.said[1]
    assert "error: another process of this run ended, and this one with it" in ended.said[0]
    assert command("run", tmp_path / "second", "--resume").codes[0] in (0, 3)


def test_what_all_would_refuse_is_said_once(tmp_path: Path) -> None:
    recipe = written(tmp_path, SHORT)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("")
    for settings, told in (
        (["-o", tmp_path / "full"], "is not empty"),
        (["-o", tmp_path / "new", "-s", "method.name=hamuu"], "unknown method 'hamuu'"),
        (["-o", tmp_path / "new", "-s", "run.relearner=2"], "on several ranks"),
    ):
        ended = command("run", recipe, *settings)
        assert ended.codes == [2, 2] and ended.said[1] == "" and told in ended.said[0], ended
        assert "Traceback" not in ended.said[0] and not ended.told[0]
