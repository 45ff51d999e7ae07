"""The documentation is executed: the python blocks of README and docs/, and the examples."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

from unweave.oneshot import CATALOGUE

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("[!_]*.py"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python(?P<flags>[^\n]*)\n(?P<code>.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(\]\(|<img src=\")(?!https?:|#|mailto:)(?P<target>[^)#\"]+)")


def blocks(page: Path) -> list[str]:
    """The python blocks of a page; ```python no-run marks one that is shown only."""
    found = BLOCK.finditer(page.read_text())
    return [m["code"] for m in found if "no-run" not in m["flags"]]


NOTEBOOKS = ROOT / "docs" / "tutorials"  # `make docs` executes these, as notebooks
RUNNABLE = [page for page in PAGES if blocks(page) and page.parent != NOTEBOOKS]
SAID = re.compile(r"^```text\n(?P<said>.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", RUNNABLE, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_a_page_run_in_order(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    for code in blocks(page):
        exec(compile(code, str(page), "exec"), names)
    said = numberless(capsys.readouterr().out)
    assert not [text for text in SAID.findall(page.read_text()) if numberless(text) not in said]


def numberless(text: str) -> str:
    """What was printed, but for digits: another version of torch may end elsewhere."""
    return re.sub(r"-?\d+(\.\d+)?(e-?\d+)?", "N", text)


def test_enough_pages_run() -> None:
    assert ROOT / "README.md" in RUNNABLE
    assert sum(len(blocks(page)) for page in RUNNABLE) >= 4


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what it imports from its folder anew: another example may have moved that model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(example.parent)
    monkeypatch.setattr(sys, "argv", [str(example), "--smoke"])
    before = set(sys.modules)
    try:
        runpy.run_path(str(example), run_name="__main__")
    finally:
        for name in set(sys.modules) - before:
            if name.startswith("_") and (example.parent / f"{name}.py").exists():
                del sys.modules[name]
        AcceleratorState._reset_state(reset_partial_state=True)
    assert capsys.readouterr().out.strip(), "an example says what it did"


def test_there_are_examples_of_at_most_sixty_lines() -> None:
    assert EXAMPLES and not [path.name for path in EXAMPLES if len(path.read_text().splitlines()) >= 60]


def test_links_between_pages_lead_somewhere() -> None:
    pages = [*PAGES, *ROOT.glob("[A-Z]*.md")]
    links = [(page, m["target"]) for page in pages for m in LINK.finditer(BLOCK.sub("", page.read_text()))]
    assert links and not [f"{page.name}: {to}" for page, to in links if not (page.parent / to.strip()).exists()]


def test_every_row_of_the_catalogue_is_on_the_page_of_papers() -> None:
    named = set(re.findall(r"`([a-z_0-9]+)`", (ROOT / "docs" / "papers.md").read_text()))
    assert not set(CATALOGUE) - named
