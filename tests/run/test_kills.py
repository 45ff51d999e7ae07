"""Killed at any moment and resumed, a run leaves bit for bit the weights of one that was never interrupted."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import cycle
from pathlib import Path

import pytest
import safetensors.torch

from tests.run._kills import killed_until_done, timed, watched
from unweave.cli import main
from unweave.modalities import read
from unweave.run import directory
from unweave.run.runner import run
from unweave.run.steps_log import read_steps
from unweave.store import tensors_sha256

Write = Callable[..., Path]
METHODS = ("hamu_q", "eupmu", "ofmu", "scrub")
STEPS = (["step.name=trust"], ["step.name=adam", "step.lr=1e-3"])
CONTRACT = "contract={keep: [{metric: loss, absolute: 0.003, clip: 0.1}], forget: [], every: 1, shrinks: 5}"
SETTINGS = ["run.steps=5", "run.checkpoint_every=2", "run.micro=2", "evaluation.quote=false", CONTRACT]


def digest(folder: Path) -> str:
    return tensors_sha256(safetensors.torch.load_file(folder / "model" / "model.safetensors"))


@pytest.mark.slow
def test_every_resumed_run_is_the_uninterrupted_one(recipe: Write, tmp_path: Path) -> None:
    kills, cases, rollbacks = 0, 0, 0
    with watched() as moments:
        for method, step in zip(METHODS, cycle(STEPS), strict=False):
            repair = ("false", "true", "true", "false")[cases]  # of both kinds, under one stepper and the other
            settings = read(recipe(), [f"method.name={method}", *SETTINGS, *step, f"run.repair={repair}"])
            folders = [tmp_path / f"{cases}" / name for name in ("whole", "killed")]
            before, begin = moments.passed, time.perf_counter()
            whole = run(settings, folders[0])
            total, seconds = moments.passed - before, time.perf_counter() - begin
            assert whole["model_before"] != whole["model_after"]
            rollbacks += whole["contract_reading"]["rollbacks"]
            kills += killed_until_done(settings, folders[1], moments, random.Random(cases), total, seconds)
            assert digest(folders[0]) == digest(folders[1]), (method, step)
            rows = [read_steps(each / "steps.jsonl") for each in folders]
            assert rows[0] == rows[1] and len(rows[0]) >= 5, (method, step)
            parts = directory.finished(folders[1])
            assert parts is not None and parts["contract"] == whole["contract"]
            assert parts["contract_reading"]["path"] == whole["contract_reading"]["path"], (method, step)
            cases += 1
    assert cases == len(METHODS) and kills >= 4 * cases and rollbacks >= 2


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_at_random_times(recipe: Write, tmp_path: Path, number: int) -> None:
    """Wherever they come: in the preparation, between steps, in one, in the scores."""
    path, dice, outcomes = recipe(), random.Random(number), []
    begin = time.perf_counter()
    run(read(path, SETTINGS), tmp_path / "whole")
    seconds = time.perf_counter() - begin
    options = [part for each in SETTINGS for part in ("-s", each)]
    for n in range(2):
        folder = tmp_path / str(n)

        def command(folder: Path = folder) -> None:
            with suppress(SystemExit):
                main(["run", str(path), *options, "-o", str(folder)])

        outcomes.append(timed(command, dice.uniform(0, seconds), number))
        run(read(path, SETTINGS), folder, resume=True)
        assert digest(folder) == digest(tmp_path / "whole")
        assert directory.finished(folder) is not None
    assert len(outcomes) == 2 and set(outcomes) <= {0, number}


@pytest.mark.slow
def test_kill_9_of_the_command_and_resume_by_the_directory_alone(
    recipe: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, folder = recipe(), tmp_path / "runs" / "recipe"
    settings = ["run.steps=25", "run.checkpoint_every=3", "evaluation.quote=false"]
    arguments = ["run", str(path), *(part for each in settings for part in ("-s", each))]
    process = subprocess.Popen([sys.executable, "-m", "unweave", *arguments], env=os.environ | {"OMP_NUM_THREADS": "1"})
    try:
        while len(read_steps(folder / "steps.jsonl")) < 4 and process.poll() is None:
            time.sleep(0.01)
    finally:
        process.kill()
        assert process.wait() == -signal.SIGKILL
    made = len(read_steps(folder / "steps.jsonl"))
    assert 4 <= made < 25 and not (folder / "summary.json").exists()
    with pytest.raises(SystemExit) as caught:
        main(["run", str(folder), "--resume", "--json"])
    assert caught.value.code == 0
    run(read(path, settings), tmp_path / "whole")
    assert digest(folder) == digest(tmp_path / "whole")
    assert len(read_steps(folder / "steps.jsonl")) == 25
