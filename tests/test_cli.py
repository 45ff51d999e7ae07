"""The command itself: help, exit codes, what goes to stdout and what to stderr."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import unweave
from unweave import cli
from unweave.cli import main

COMMANDS = ["demo", "run", "diagnose", "evaluate", "audit", "requests", "report", "methods"]


def code(arguments: Sequence[str]) -> int:
    with pytest.raises(SystemExit) as caught:
        main(list(arguments))
    return int(caught.value.code or 0)


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    script = "import sys; from unweave.cli import main\ntry: main(['--help'])\nfinally: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    text, _, modules = done.stdout.rpartition("\n╰") if "\n╰" in done.stdout else done.stdout.rpartition("\n\n")
    loaded = {name.split(".")[0] for name in modules.split()}
    assert not loaded & {"torch", "numpy", "scipy", "sklearn", "matplotlib", "jinja2", "yaml", "pydantic"}
    assert not [name for name in COMMANDS if name not in text]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert code([command, "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert code(["--version"]) == 0
    assert capsys.readouterr().out == f"unweave {unweave.__version__}\n"


def test_a_flag_shows_no_type_in_any_help(capsys: pytest.CaptureFixture[str]) -> None:
    groups: dict[str, Sequence[str]] = {"audit": ["plan", "judge"], "requests": ["add", "list", "run", "verify"]}
    each = [[], *([name] for name in COMMANDS), *([name, sub] for name, subs in groups.items() for sub in subs)]
    for arguments in each:
        assert code([*arguments, "--help"]) == 0
        out = capsys.readouterr().out
        assert "--help" in out and not re.search(r"<bool>|<int|<list|<path>|<str>|9223372036854775807", out), arguments


def test_python_dash_m_and_an_unknown_command() -> None:
    done = subprocess.run([sys.executable, "-m", "unweave", "dmeo"], capture_output=True, text=True)
    assert done.returncode == 2 and "demo" in done.stderr and "Traceback" not in done.stderr


def test_methods_lists_every_method_with_its_paper(capsys: pytest.CaptureFixture[str]) -> None:
    from unweave.oneshot import CATALOGUE

    assert code(["methods", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in found] == list(CATALOGUE)
    assert all(entry["about"].endswith((".", ":", ",")) and entry["paper"] for entry in found)
    assert code(["methods"]) == 0
    out = capsys.readouterr().out
    assert not [name for name in CATALOGUE if name not in out]


def test_one_method_shows_how_to_write_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert code(["methods", "hamu_q"]) == 0
    out = capsys.readouterr().out
    assert "method:\n  name: hamu_q\n  ratio: 0.1\n" in out and out.index("ratio: 0.1") < out.index("  rate: null\n")
    assert code(["methods", "hamuq"]) == 2
    assert "Did you mean 'hamu_q'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variable", "arguments"),
    [
        *[(variable, ["--help"]) for variable in ("NO_COLOR=1", "TERM=dumb", "TERM=xterm-256color")],
        ("TERM=xterm-256color", ["report", "nowhere"]),
    ],
)
def test_no_escape_codes_without_a_terminal(variable: str, arguments: list[str]) -> None:
    kept = {k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "CI", "GITHUB_ACTIONS")}
    command = [sys.executable, "-m", "unweave", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=kept | dict([variable.split("=")]))
    assert done.returncode == (0 if arguments == ["--help"] else 2)
    assert done.stdout + done.stderr and "\x1b" not in done.stdout + done.stderr


def test_a_directory_that_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code(["report", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("error: ") and "expected a directory" in captured.err


@pytest.mark.parametrize("where", ["unweave.cli.app", "unweave.commands.methods.main"])
def test_ctrl_c_at_any_time_is_one_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(where, interrupted)
    with pytest.raises(SystemExit) as caught:
        cli.main(["methods"])
    assert caught.value.code == 130 and capsys.readouterr().err == "interrupted\n"
