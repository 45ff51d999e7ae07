"""The worked examples of CONTRIBUTING.md: each is applied to a copy of the repository, and its own tests run there."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SECTION = re.compile(r"^### Worked example: (?P<name>[^\n]*)\n(?P<text>.*?)(?=^##|\Z)", re.DOTALL | re.MULTILINE)
PATCH = re.compile(r"^```diff\n(?P<patch>.*?)^```", re.DOTALL | re.MULTILINE)
TOUCHED = re.compile(r"^\+\+\+ b/(?P<file>\S+)", re.MULTILINE)
COMMAND = re.compile(r"^    (?P<command>(?:python -m pytest|unweave) .*)$", re.MULTILINE)
EXAMPLES = {m["name"]: m["text"] for m in SECTION.finditer((ROOT / "CONTRIBUTING.md").read_text())}
MOST = {"a rule": 6, "a score of images": 4}
COPIED = ("src", "tests", "docs", "examples", "CHANGELOG.md", "CONTRIBUTING.md", "README.md", "pyproject.toml")


def test_both_are_there() -> None:
    assert EXAMPLES.keys() == MOST.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_a_worked_example_works(name: str, tmp_path: Path) -> None:
    text = EXAMPLES[name]
    for part in COPIED:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copyfile
        copy(ROOT / part, tmp_path / part)
    patches, touched = PATCH.findall(text), set(TOUCHED.findall(text))
    assert 2 <= len(touched) <= MOST[name], touched
    for patch in patches:
        applied = subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=patch, capture_output=True, text=True)
        assert applied.returncode == 0, applied.stderr
    commands = COMMAND.findall(text)
    assert commands
    settings = {**os.environ, "PYTHONPATH": str(tmp_path / "src"), "OMP_NUM_THREADS": "1"}
    for command in commands:
        module = shlex.split(command.removeprefix("python -m "))
        line = [sys.executable, "-m", *module]
        done = subprocess.run(line, cwd=tmp_path, env=settings, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-2000:]}"
