"""The site and what stands around the code: its pages, its notebooks, its reference, its messages, its version."""

from __future__ import annotations

import ast
import importlib
import json
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import unweave

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
REFERENCE = sorted((DOCS / "reference").glob("*.md"))
ROOMS = (
    "unweave",
    "unweave.rules",
    "unweave.losses",
    "unweave.evaluation",
    "unweave.audit.attacks",
    "unweave.ledger",
    "unweave.testing",
)
notebooks = runpy.run_path(str(ROOT / "scripts" / "notebooks.py"))


def leaves(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [leaf for each in (nav.values() if isinstance(nav, dict) else nav) for leaf in leaves(each)]


def test_every_page_is_in_the_nav_once() -> None:
    named = leaves(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert sorted(named) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


def test_every_public_name_is_in_the_reference() -> None:
    shown = {
        line.removeprefix("::: ") for page in REFERENCE for line in page.read_text().splitlines() if line[:4] == "::: "
    }
    public = {
        f"{room}.{name}"
        for room in ROOMS
        for name in importlib.import_module(room).__all__
        if not name.isupper() or name == "METHODS"  # constants stand in no docstring of their own
    }
    assert not sorted(public - shown)
    for name in shown:
        room, _, last = name.rpartition(".")
        try:
            assert hasattr(importlib.import_module(room), last), name
        except ModuleNotFoundError:
            importlib.import_module(name)


def written(node: ast.AST) -> str | None:
    """A text of the source, with `…` for what it fills in."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return None


def test_every_message_of_the_troubleshooting_page_is_one_of_ours() -> None:
    asked = re.findall(r"^\*\*`(.+)`\*\*$", (DOCS / "troubleshooting.md").read_text(), re.MULTILINE)
    trees = [ast.parse(path.read_text()) for path in (ROOT / "src").rglob("*.py")]
    ours = "\n".join(filter(None, (written(node) for tree in trees for node in ast.walk(tree))))
    assert asked and not [message for message in asked if message not in ours]


def test_what_the_page_of_costs_shows_is_what_was_measured() -> None:
    rows = [
        line for line in (DOCS / "costs.md").read_text().splitlines() if line.startswith("| ") and line.count("|") == 6
    ]
    assert rows and not [row for row in rows if row not in (DOCS / "benchmarks.md").read_text()]


def test_the_readme_is_read_in_five_minutes() -> None:
    page = (ROOT / "README.md").read_text()
    assert len(page.split()) < 1200
    assert page.count("<img") == 1 and len(re.findall(r"^\|[-:|]+\|$", page, re.MULTILINE)) == 1, (
        "one picture, one table"
    )


def test_what_the_readme_says_of_the_drawn_demo_is_what_its_page_shows() -> None:
    rows = {
        cells[0].strip("* "): cells
        for line in (DOCS / "demos.md").read_text().splitlines()
        if line.startswith("| ") and len(cells := [each.strip() for each in line.strip("|").split("|")]) == 8
    }
    named = {
        (name, column): float(rows[name][place])
        for name in ("HAMU-Q", "original", "retrained", "only hidden")
        for column, place in (("UA", 1), ("RA", 2), ("search", 5))
    }
    page = " ".join((ROOT / "README.md").read_text().split())
    for words in (
        f"draws one in {100 - named['HAMU-Q', 'UA']:.0f} % of 200 images",
        f"{named['HAMU-Q', 'RA']:.0f} % of the other digits are as asked ({named['original', 'RA']:.0f} % before",
        f"finds them in {named['HAMU-Q', 'search']:.0f} %, in a model that was retrained in "
        f"{named['retrained', 'search']:.0f} %, in one whose class is only hidden in "
        f"{named['only hidden', 'search']:.0f} %",
    ):
        assert words in page, words


PAGE = """# Title

Text.

```python
x = 1
```
```python
print(x)
```

More, and `code`.

```python no-run
never()
```
"""


def test_a_page_becomes_a_notebook() -> None:
    made = notebooks["notebook"](PAGE)
    assert [(cell["cell_type"], cell["source"]) for cell in made["cells"]] == [
        ("markdown", "# Title\n\nText."),
        ("code", "x = 1"),
        ("code", "print(x)"),
        ("markdown", "More, and `code`.\n\n```python no-run\nnever()\n```"),
    ]
    nbformat = pytest.importorskip("nbformat")
    nbformat.validate(nbformat.from_dict(made))


def test_a_cell_is_shown_with_what_it_printed_and_drew() -> None:
    cell = notebooks["notebook"](PAGE)["cells"][2]
    cell["outputs"] = [
        {"output_type": "stream", "name": "stdout", "text": "1\n"},
        {"output_type": "execute_result", "data": {"text/plain": "2"}},
        {"output_type": "display_data", "data": {"image/png": "AAAA\n", "text/plain": "<Figure>"}},
    ]
    shown = notebooks["shown"](cell)
    assert shown.startswith("```python\nprint(x)\n```\n\n```text\n1\n2\n```\n")
    assert 'src="data:image/png;base64,AAAA"' in shown and "<Figure>" not in shown


def test_tutorials_are_pages_with_cells_that_are_python() -> None:
    pages = [page for page in (DOCS / "tutorials").glob("*.md") if page.stem != "index"]
    assert pages
    for page in pages:
        code = [
            cell["source"] for cell in notebooks["notebook"](page.read_text())["cells"] if cell["cell_type"] == "code"
        ]
        assert code, page.name
        for each in code:
            compile(each, page.name, "exec")


def test_the_script_writes_a_notebook(tmp_path: Path) -> None:
    script, page = ROOT / "scripts" / "notebooks.py", DOCS / "tutorials" / "vision.md"
    subprocess.run([sys.executable, str(script), str(page)], cwd=tmp_path, check=True, timeout=60)
    assert json.loads((tmp_path / "vision.ipynb").read_text())["cells"][0]["source"].startswith("# Vision")


def test_links_that_leave_the_docs_lead_to_pages_of_the_site() -> None:
    pytest.importorskip("mkdocs")
    relinked = runpy.run_path(str(ROOT / "scripts" / "site_links.py"))["relinked"]
    text = "[a](../examples/own_rule.py) [b](../README.md#install) [c](concepts.md#task) [d](https://x.y) `[e](../z)`"
    assert relinked(text, "docs/faq.md", "faq.md") == (
        "[a](repository/examples/own_rule.py.md) [b](repository/README-page.md#install) [c](concepts.md#task) "
        "[d](https://x.y) `[e](../z)`"
    )
    back = '[a](docs/concepts.md) [b](src/unweave/rules) <img src="docs/drawn.png">'
    place = "repository/CONTRIBUTING-page.md"
    assert relinked(back, "CONTRIBUTING.md", place) == (
        '[a](../concepts.md) [b](src/unweave/rules.md) <img src="../drawn.png">'
    )


def test_the_version_is_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"]["path"] == "src/unweave/__init__.py"
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+)?", unweave.__version__)
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == unweave.__version__


def test_what_is_pinned_covers_every_extra() -> None:
    pinned = {
        re.split("==", line)[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").read_text().split()
    }
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {re.split(r"[\[<>=]", each)[0].lower() for extra in ("dev", "docs") for each in extras[extra]}
    assert named and not named - pinned


def test_what_others_run_is_yaml() -> None:
    if not (ROOT / ".github").is_dir():
        pytest.skip("the source distribution has no .github")
    files = sorted((ROOT / ".github").rglob("*.yml"))
    assert files and all(yaml.safe_load(file.read_text()) for file in files)
