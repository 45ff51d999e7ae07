"""What a run says of itself is what it found: edits are refused wherever it is read, and a resumed run looks first."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch

from tests.conftest import RECIPE
from unweave.audit.finished_run import finished_run
from unweave.cli import main
from unweave.errors import ConfigurationError
from unweave.modalities import read
from unweave.report import overview
from unweave.run import directory, seal
from unweave.run.runner import run
from unweave.run.steps_log import read_steps

Edit = Callable[[Path], None]
CONTRACT = "contract: {keep: [{metric: loss, absolute: 9}], forget: [{metric: loss, at_least: 99}]}"
SETTINGS = RECIPE.replace("contract: none", CONTRACT).replace("quote: false", "quote: true")


class Ended(Exception):
    """The run ends here."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run that missed its contract, and one that ended in its fourth step of four."""
    place = tmp_path_factory.mktemp("runs")
    (place / "recipe.yaml").write_text(SETTINGS)
    settings = read(place / "recipe.yaml", ["run.checkpoint_every=1"])

    def watch(phase: str, done: int, total: int) -> None:
        if (phase, done) == ("unlearning", 4):
            raise Ended

    run(settings, place / "whole")
    with pytest.raises(Ended):
        run(settings, place / "cut", watch=watch)
    return place / "whole", place / "cut"


@pytest.fixture
def whole(made: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[0], tmp_path / "whole"))


@pytest.fixture
def cut(made: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(made[1], tmp_path / "cut"))


def code(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(each) for each in arguments])
    return int(caught.value.code or 0)


def of_json(name: str, change: Callable[[Any], None]) -> Edit:
    def edit(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        change(content)
        (folder / name).write_text(json.dumps(content, indent=2) + "\n")

    return edit


def met(summary: Any) -> None:
    for clause in summary["contract"]:
        clause["met"] = True
        clause["final"]["met"] = True


def swapped(folder: Path) -> None:
    weights = safetensors.torch.load_file(folder / "model" / "model.safetensors")
    safetensors.torch.save_file({name: -value for name, value in weights.items()}, folder / "model/model.safetensors")


def steps(folder: Path) -> None:
    (folder / "recipe.yaml").write_text((folder / "recipe.yaml").read_text().replace("steps: 4", "steps: 3"))


READERS: dict[str, Callable[[Path], object]] = {
    "resume": directory.finished,
    "report": overview.read,
    "evaluate": lambda folder: directory.finished(folder, also={"model"}),
    "evidence": finished_run,
}
# What was edited, and who refuses it by its hash: evidence looks at the recipe and at models by what they are.
EDITS: dict[str, tuple[str, Edit, str]] = {
    "clauses are met": ("summary.json", of_json("summary.json", met), "resume report evaluate evidence"),
    "no contract": ("summary.json", of_json("summary.json", lambda s: s.update(contract=[])), "resume report evidence"),
    "another end": ("summary.json", of_json("summary.json", lambda s: s.update(stop_reason="x")), "resume report"),
    "no warnings": ("summary.json", of_json("summary.json", lambda s: s.pop("warnings")), "resume report"),
    "no hash": ("summary.json", of_json("summary.json", lambda s: s["sha256"].clear()), "resume report"),
    "a hash less": ("summary.json", of_json("summary.json", lambda s: s["sha256"].pop("scores.json")), "resume report"),
    "hashes of no kind": ("summary.json", of_json("summary.json", lambda s: s.update(sha256=[1])), "resume report"),
    "a score": ("scores.json", of_json("scores.json", lambda s: s["models"].clear()), "resume report evidence"),
    "a quote": ("quote.json", of_json("quote.json", lambda q: q.update(steps=1)), "resume report evidence"),
    "a step": ("steps.jsonl", lambda folder: shortened(folder / "steps.jsonl", 40), "resume report evidence"),
    "another model": ("model/model.safetensors", swapped, "resume evaluate"),
    "another recipe": ("recipe.yaml", steps, "resume report"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_what_was_edited_is_refused(edit: str, whole: Path) -> None:
    name, change, readers = EDITS[edit]
    change(whole)
    refused = 0
    for reader in readers.split():
        with pytest.raises(ConfigurationError, match=rf"{name} was changed since it was written"):
            READERS[reader](whole)
        refused += 1
    assert refused >= 2


def test_every_command_refuses_it_and_without_an_edit_none(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An edit of the clauses turned exit code 3 into 0 when the run was resumed."""
    assert code("run", "--resume", whole) == 3 and code("report", whole) == 0
    met_ = EDITS["clauses are met"][1]
    met_(whole)
    capsys.readouterr()
    commands = (["run", "--resume"], ["report"], ["evaluate"], ["evidence"])
    for command in commands:
        assert code(*command, whole) == 2
        told = capsys.readouterr().err
        assert f"{whole / 'summary.json'} was changed since it was written" in told and "Traceback" not in told
    assert code("board", whole.parent) == 0 and "was changed since" in (whole.parent / "board.html").read_text()


def test_layout_and_what_is_gone_say_nothing_wrong(whole: Path) -> None:
    """A file that was formatted anew, and files that quote what was to be forgotten and were taken away."""
    summary = json.loads((whole / "summary.json").read_text())
    (whole / "summary.json").write_text(json.dumps(dict(reversed(summary.items()))))
    for name in ("examples.json", "quote.json", "steps.jsonl"):
        (whole / name).unlink()
    assert directory.finished(whole) == summary and code("run", "--resume", whole) == 3
    assert set(summary[seal.KEY]) == {
        *("examples.json", "model/model.safetensors", "quote.json", "recipe.yaml", "scores.json", "steps.jsonl"),
        "summary.json",
    }


def test_a_run_of_an_earlier_version_is_read_and_named(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    of_json("summary.json", lambda summary: summary.pop("sha256"))(whole)
    assert code("run", "--resume", whole) == 3 and code("report", whole) == 0
    assert "an earlier version wrote it" in capsys.readouterr().err


def shortened(path: Path, by: int) -> None:
    path.write_bytes(path.read_bytes()[:-by])


def twice(path: Path) -> None:
    rows = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([rows[0], *rows]))


STEPS: dict[str, tuple[Callable[[Path], object], str]] = {
    "two of three": (
        lambda p: p.write_bytes(b"".join(p.read_bytes().splitlines(True)[:2])),
        "hold 3 steps and holds 2",
    ),
    "bytes": (lambda p: p.write_bytes(b"\xff\xfe\0" + p.read_bytes()), "hold 3 steps and holds 0"),
    "no records": (lambda p: p.write_text("3\n[]\n{\n"), "hold 3 steps and holds 0"),
    "torn": (lambda p: p.write_bytes(b"\n".join(p.read_bytes().split(b"\n")[:3])[:-9]), "hold 3 steps and holds 2"),
    "nothing": (lambda p: p.unlink(), "hold 3 steps and holds 0"),
    "one twice": (twice, "changed since the run wrote it"),
}


@pytest.mark.parametrize("edit", STEPS)
def test_a_record_that_was_cut_or_edited_is_named_in_the_summary(edit: str, cut: Path, made: tuple[Path, Path]) -> None:
    change, says = STEPS[edit]
    change(cut / "steps.jsonl")
    with pytest.warns(UserWarning, match=says):
        summary = run(read(cut / "recipe.yaml"), cut, resume=True)
    whole = json.loads((made[0] / "summary.json").read_text())
    assert summary["model_after"] == whole["model_after"] and any(says in text for text in summary["warnings"])
    assert [row["step"] for row in read_steps(cut / "steps.jsonl")][-1] == 4


def test_a_whole_record_goes_on_without_a_word(cut: Path, made: tuple[Path, Path]) -> None:
    summary = run(read(cut / "recipe.yaml"), cut, resume=True)
    assert summary["warnings"] == json.loads((made[0] / "summary.json").read_text())["warnings"]
    assert read_steps(cut / "steps.jsonl") == read_steps(made[0] / "steps.jsonl")


@pytest.mark.parametrize("content", ["", '{"forget": 3}'])
def test_a_quote_that_was_damaged_is_made_again(content: str, cut: Path, made: tuple[Path, Path]) -> None:
    (cut / "quote.json").write_text(content)
    with pytest.warns(UserWarning, match=r"quote\.json is not what the run wrote: it is made again"):
        run(read(cut / "recipe.yaml"), cut, resume=True)
    one, other = (json.loads((folder / "quote.json").read_text())["forget"] for folder in (cut, made[0]))
    assert one == other and len(one)


def test_names_that_are_no_numbers_are_no_checkpoints(cut: Path) -> None:
    for name in ("²", "-1", "1e3", "0x1", "9" * 40, "000007.broken"):
        (cut / "checkpoint" / name).mkdir()
    assert run(read(cut / "recipe.yaml"), cut, resume=True)["steps"] == 4


def test_a_checkpoint_of_another_version_is_one_message(cut: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whole, by its hashes, and without what this version needs."""
    for folder in (cut / "checkpoint").iterdir():
        state = json.loads((folder / "state.json").read_text())
        items = dict(state["tree"]["run"]["items"])
        state["tree"]["run"]["items"] = [[key, value] for key, value in items.items() if key != "progress"]
        (folder / "state.json").write_text(json.dumps(state))
        hashes = json.loads((folder / "sha256.json").read_text())
        hashes["state.json"] = seal.file_sha256(folder / "state.json")
        (folder / "sha256.json").write_text(json.dumps(hashes))
    assert code("run", "--resume", cut) == 2
    assert "a checkpoint of another version of unweave" in capsys.readouterr().err


def test_without_its_checkpoint_a_run_begins_again_and_says_so(cut: Path) -> None:
    shutil.rmtree(cut / "checkpoint")
    (cut / "checkpoint").write_text("")
    with pytest.warns(UserWarning, match="has no checkpoint any more: the run begins again"):
        assert run(read(cut / "recipe.yaml"), cut, resume=True)["steps"] == 4
