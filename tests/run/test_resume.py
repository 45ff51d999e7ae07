"""What `--resume` does, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.run.test_kills import digest
from unweave import modalities
from unweave.cli import main
from unweave.errors import ConfigurationError
from unweave.loop import Record
from unweave.modalities import read
from unweave.modalities.images import job as prepare
from unweave.modalities.images import sources
from unweave.objectives import Objectives
from unweave.recipe.recipe import Recipe
from unweave.rules import Rule
from unweave.run import checkpoint
from unweave.run.interrupt import Interrupt
from unweave.run.runner import run
from unweave.run.steps_log import read_steps
from unweave.trust import TrustRegion

Write = Callable[..., Path]
EVERY = ["run.checkpoint_every=1"]


class Ended(Exception):
    """The run ends here."""


def ending(phase: str, done: int = 0) -> Callable[[str, int, int], None]:
    def watch(now: str, n: int, total: int) -> None:
        if (now, n) == (phase, done):
            raise Ended

    return watch


def ended(settings: Recipe, folder: Path, phase: str, done: int = 0) -> None:
    with pytest.raises(Ended):
        run(settings, folder, watch=ending(phase, done))


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


@pytest.mark.parametrize("phase", ["scoring the unlearned model", "scoring the retrained model"])
def test_killed_after_the_loop_nothing_is_unlearned_again(recipe: Write, tmp_path: Path, phase: str) -> None:
    settings, phases = read(recipe(), ["evaluation.retrained=1"]), []
    ended(settings, tmp_path / "out", phase)
    rows = (tmp_path / "out" / "steps.jsonl").read_bytes()
    summary = run(settings, tmp_path / "out", resume=True, watch=lambda now, *_: phases.append(now))
    assert "unlearning" not in phases and phase in phases and "scoring the retrained model" in phases
    assert (summary["status"], summary["steps"], summary["stop_reason"]) == ("done", 4, "steps used up")
    assert (tmp_path / "out" / "steps.jsonl").read_bytes() == rows and summary["seconds"] > 0


def test_counts_are_those_of_the_whole_run(recipe: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take, settings = TrustRegion.take, read(recipe(), EVERY)
    notes = {1: "undone: for the test", 2: "non-finite, for the test"}

    def refused(self: TrustRegion, number: int, rule: Rule, objectives: Objectives) -> Record:
        record = take(self, number, rule, objectives)
        return replace(record, accepted=False, note=notes[number]) if number in notes else record

    monkeypatch.setattr(TrustRegion, "take", refused)
    ended(settings, tmp_path / "out", "unlearning", done=4)
    summary = run(settings, tmp_path / "out", resume=True)
    assert (summary["steps"], summary["rejected"], summary["skipped"]) == (4, 1, 1)


def test_a_run_goes_on_with_the_memory_that_it_began_with(recipe: Write, tmp_path: Path) -> None:
    """Bit for bit, though the machine that resumes it would choose another; the repair's averages lie on disk."""
    changes = ["run.repair=true", "run.place=disk", "method={name: hamu_q, blocks: model}", *EVERY]
    lean = read(recipe(), [*changes, "run.memory=lean"])
    run(lean, tmp_path / "whole")
    for done in (1, 3):
        folder = tmp_path / str(done)
        ended(lean, folder, "unlearning", done=done)
        run(read(recipe(), [*changes, "run.memory=auto"]), folder, resume=True)
        assert digest(folder) == digest(tmp_path / "whole")
    run(read(recipe(), [*changes, "run.memory=fast"]), tmp_path / "fast")
    assert digest(tmp_path / "fast") != digest(tmp_path / "whole"), "which round otherwise"


def test_what_never_began_begins(recipe: Write, tmp_path: Path) -> None:
    settings = read(recipe())
    run(settings, tmp_path / "whole")
    for n, prepared in enumerate(({}, {"recipe.yaml": "data: {source: digits}\n"}, {".recipe.yaml.1.2": ""})):
        folder = tmp_path / str(n)
        folder.mkdir()
        for name, text in prepared.items():
            (folder / name).write_text(text)
        assert run(settings, folder, resume=True)["steps"] == 4
        assert digest(folder) == digest(tmp_path / "whole")
    assert n == 2


def test_a_finished_run_stays_as_it_is(recipe: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, folder = recipe(), tmp_path / "runs" / "recipe"
    for arguments in ([], ["--resume"], [str(folder), "--resume"]):
        before = contents(folder) if arguments else {}
        with pytest.raises(SystemExit) as caught:
            main(["run", *(arguments if len(arguments) == 2 else [str(path), *arguments])])
        told = capsys.readouterr()
        assert caught.value.code == 0 and "done after 4 steps" in told.out
        assert ("this run is finished" in told.err) == bool(arguments)
        assert not arguments or contents(folder) == before
    with pytest.raises(ConfigurationError, match=r"run.steps changed since the run began: 4 -> 5"):
        run(read(path, ["run.steps=5"]), folder, resume=True)
    (folder / "report.html").unlink()
    with pytest.raises(SystemExit):
        main(["run", str(folder), "--resume"])
    assert (folder / "report.html").exists(), "killed before the page was there: it is made"


CHANGES = {
    "a hyperparameter": (["method.ratio=0.9"], "method.ratio changed since the run began: ", " -> 0.9"),
    "the method": (["method.name=finetune"], "method.name changed since the run began: ", '"hamu_q" -> "finetune"'),
    "a key of the method": (["method.name=finetune"], "method.ratio changed", " -> nothing"),
    "the step": (["step={name: trust, start: 0.002}"], "step.start changed", "0.001 -> 0.002"),
    "the seed": (["run.seed=1"], "run.seed changed since the run began: 0 -> 1"),
    "a batch": (["run.forget_batch=17"], "run.forget_batch changed since the run began: 16 -> 17"),
    "the request": (["forget.class=4"], "forget.class changed since the run began: 3 -> 4", "forget set changed"),
    "the training": (["training.epochs=2"], "training.epochs changed since the run began: 1 -> 2"),
    "what may move": (["model.parameters=['*weight']"], "model.parameters changed", 'null -> ["*weight"]'),
}


def test_another_recipe_does_not_resume_a_run(recipe: Write, unfinished: Path) -> None:
    before, refused = contents(unfinished), 0
    for overrides, *says in CHANGES.values():
        with pytest.raises(ConfigurationError) as caught:
            run(read(recipe(), [*EVERY, *overrides]), unfinished, resume=True)
        assert not [part for part in says if part not in str(caught.value)], str(caught.value)
        assert "--overwrite" in caught.value.advice and contents(unfinished) == before
        refused += 1
    assert refused == 9


@pytest.fixture
def unfinished(recipe: Write, tmp_path: Path) -> Path:
    """A run that ended in its third step, with checkpoints of the first two."""
    ended(read(recipe(), EVERY), tmp_path / "out", "unlearning", done=3)
    return tmp_path / "out"


def test_what_decides_no_weight_may_change(recipe: Write, tmp_path: Path, unfinished: Path) -> None:
    moved = unfinished.rename(tmp_path / "moved")
    assert run(read(recipe(), ["run.checkpoint_every=7"]), moved, resume=True)["steps"] == 4
    run(read(recipe()), tmp_path / "whole")
    assert digest(moved) == digest(tmp_path / "whole")


def test_other_data_do_not_resume_a_run(recipe: Write, unfinished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = sources.load("digits", None)
    images = source.train.images.clone()
    images[5, 0, 0, 0] += 1
    train = type(source.train)(images, source.train.labels, source.train.mean, source.train.std)
    monkeypatch.setattr(prepare.sources, "load", lambda *_: type(source)("digits", train, source.test, source.classes))
    with pytest.raises(ConfigurationError) as caught:
        run(read(recipe(), EVERY), unfinished, resume=True)
    assert caught.value.faults[0].startswith("train set changed since the run began: sha256 ")
    assert not [fault for fault in caught.value.faults if fault.startswith(("test set", "forget set"))]


def test_another_original_does_not_resume_a_run(
    recipe: Write, unfinished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = prepare.request(read(recipe())).network.build(seed=5)
    monkeypatch.setattr(modalities, "original", lambda *_: other)
    with pytest.raises(ConfigurationError, match="original model changed since the run began: sha256"):
        run(read(recipe(), EVERY), unfinished, resume=True)


def test_under_another_version_it_goes_on_with_a_warning(
    recipe: Write, tmp_path: Path, unfinished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    with pytest.warns(UserWarning, match=r"resumed elsewhere \(threads 1 -> 7\)"):
        run(read(recipe(), EVERY), unfinished, resume=True)


@pytest.mark.parametrize("file", ["tensors.safetensors", "state.json", "sha256.json"])
def test_a_torn_checkpoint_is_named_and_the_one_before_it_leads_to_the_same_end(
    recipe: Write, tmp_path: Path, unfinished: Path, file: str
) -> None:
    newest = sorted((unfinished / "checkpoint").iterdir())[-1]
    (newest / file).write_bytes((newest / file).read_bytes()[:-9])
    with pytest.warns(UserWarning, match="the checkpoint .* cannot be read") as caught:
        run(read(recipe(), EVERY), unfinished, resume=True)
    assert str(newest) in str(caught[0].message)
    run(read(recipe(), EVERY), tmp_path / "whole")
    assert digest(unfinished) == digest(tmp_path / "whole")
    assert read_steps(unfinished / "steps.jsonl") == read_steps(tmp_path / "whole" / "steps.jsonl")


def test_two_torn_checkpoints_are_an_error(recipe: Write, unfinished: Path) -> None:
    for path in (unfinished / "checkpoint").iterdir():
        (path / "state.json").write_text("{}")
    with pytest.raises(ConfigurationError, match=r"no checkpoint can be read.*Start the run again with --overwrite"):
        run(read(recipe(), EVERY), unfinished, resume=True)


def test_a_directory_without_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["run", str(tmp_path), "--resume"])
    assert caught.value.code == 2 and "holds no recipe.yaml" in capsys.readouterr().err


def test_ctrl_c_while_scoring_says_how_to_go_on(
    recipe: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as caught:
        patch.setattr(prepare.ImageJob, "score", interrupted)
        main(["run", str(recipe()), "-o", str(tmp_path / "out")])
    assert caught.value.code == 130 and f"unweave run --resume {tmp_path / 'out'}" in capsys.readouterr().err
    assert run(read(recipe()), tmp_path / "out", resume=True)["status"] == "done"


def test_a_second_ctrl_c_stops_in_the_middle_of_a_step_and_saves_nothing_of_it(recipe: Write, tmp_path: Path) -> None:
    settings, asked = read(recipe(), EVERY), []

    def twice(phase: str, done: int, total: int) -> None:
        if phase == "unlearning" and done == 3:
            asked.append(done)
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(settings, tmp_path / "out", watch=twice)
    states = checkpoint.load(tmp_path / "out" / "checkpoint")
    assert asked == [3] and states is not None and states["run"]["progress"]["made"] == 2
    run(settings, tmp_path / "out", resume=True)
    run(settings, tmp_path / "whole")
    assert digest(tmp_path / "out") == digest(tmp_path / "whole")
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["status"] == "done"


def test_ctrl_c_between_steps_has_the_same_exit_code(
    recipe: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def entered(self: Interrupt) -> Interrupt:
        self.came = True
        return self

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as caught:
        patch.setattr(Interrupt, "__enter__", entered)
        main(["run", str(recipe()), "-o", str(tmp_path / "out")])
    assert caught.value.code == 130 and "interrupted after" in capsys.readouterr().out


@pytest.mark.parametrize("lost", ["scores.json", "model"])
def test_what_a_finished_run_has_lost_is_made_again(recipe: Write, tmp_path: Path, lost: str) -> None:
    settings, place = read(recipe()), tmp_path / "out" / lost
    done = run(settings, tmp_path / "out")
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    again = run(settings, tmp_path / "out", resume=True)
    assert place.exists() and again["model_after"] == done["model_after"] and again["status"] == "done"
