"""Builds wheel and sdist into dist/ and tests the built files: `python scripts/dist.py`.

The wheel is installed, alone, into a fresh virtual environment that sees this one's libraries, and the README is
executed there from another folder. The sdist is unpacked; it must hold the repository, collect its tests, run some of
them, and give the same wheel.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
LEFT_OUT = (".ci/", ".github/")  # of the sdist
TESTS = ("tests/test_docs.py", "tests/test_gallery.py", "tests/test_site.py", "-k", "not runs and not run_in_order")


def run(*command: object, where: Path) -> str:
    """What a command says; its end with another code than 0 is the end of this one.

    Raises:
        SystemExit: with what it said.
    """
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    made = subprocess.run(list(map(str, command)), cwd=where, env=clean, capture_output=True, text=True)
    if made.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{made.stdout[-4000:]}\n{made.stderr[-4000:]}")
    return made.stdout


def build(where: Path, into: Path, *targets: str) -> None:
    """Wheel or sdist of a folder."""
    run(sys.executable, "-m", "hatchling", "build", "-d", into, *targets, where=where)


def missing(wanted: Iterable[str], found: Iterable[str], of: str) -> None:
    """Ends with the names of what is not there.

    Raises:
        SystemExit: something is not.
    """
    if gone := sorted(set(wanted) - set(found)):
        sys.exit(f"{of} lacks {len(gone)} files, such as {gone[:5]}")


def tracked() -> list[str]:
    """The files of the repository, by git."""
    return [name for name in run("git", "ls-files", where=ROOT).splitlines() if (ROOT / name).exists()]


def in_wheel(wheel: Path) -> dict[str, bytes]:
    """The files of a wheel's package."""
    with zipfile.ZipFile(wheel) as file:
        return {name: file.read(name) for name in file.namelist() if ".dist-info/" not in name}


def try_wheel(wheel: Path, folder: Path) -> None:
    """Installs it alone, and uses it from a folder that has no source beside it."""
    home, work = folder / "venv", folder / "work"
    work.mkdir()
    run(sys.executable, "-m", "venv", "--without-pip", home, where=folder)
    python = home / "bin" / "python"
    (site,) = home.glob("lib/python*/site-packages")
    (site / "libraries.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")) + "\n")
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel, where=work)
    place = run(python, "-c", "import unweave; print(unweave.__file__)", where=work).strip()
    if not Path(place).is_relative_to(site):
        sys.exit(f"the wheel was to be tested, and {place} was")
    version = run(python, "-c", "import importlib.metadata as m; print(m.version('unweave'))", where=work).strip()
    if f"-{version}-" not in wheel.name:
        sys.exit(f"{wheel.name} says that it is {version}")
    for words in (["methods"], ["papers"], ["papers", "run", "ofmu/tofu", "--scale", "paper", "--dry-run"]):
        run(home / "bin" / "unweave", *words, where=work)
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    (work / "readme.py").write_text("\n".join(blocks))
    said = run(python, "-W", "error", "readme.py", where=work)
    if not said.startswith("contract met"):
        sys.exit(f"the README's lines said {said}")
    print(f"{wheel.name}: installed alone, the README runs from another folder: {said.splitlines()[0]}")


def try_sdist(sdist: Path, wheel: Path, folder: Path) -> None:
    """Unpacks it: all files of the repository, tests that can be collected and some that pass, and the same wheel."""
    with tarfile.open(sdist) as file:
        file.extractall(folder, filter="data")
    (root,) = folder.iterdir()
    inside = [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]
    missing((name for name in tracked() if not name.startswith(LEFT_OUT)), inside, sdist.name)
    tests = run(sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", where=root)
    run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS, where=root)
    build(root, folder / "again", "-t", "wheel")
    (again,) = (folder / "again").iterdir()
    if in_wheel(again) != in_wheel(wheel):
        sys.exit(f"{sdist.name} gives another wheel than the repository")
    print(f"{sdist.name}: {len(inside)} files, {tests.splitlines()[-1]}, and the same wheel")


def main() -> None:
    """Builds both, and tests both."""
    shutil.rmtree(DIST, ignore_errors=True)
    build(ROOT, DIST)
    (wheel,), (sdist,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    missing(
        (name.removeprefix("src/") for name in tracked() if name.startswith("src/unweave/")),
        in_wheel(wheel),
        wheel.name,
    )
    with tempfile.TemporaryDirectory() as folder:
        try_wheel(wheel, Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        try_sdist(sdist, wheel, Path(folder))


if __name__ == "__main__":
    main()
