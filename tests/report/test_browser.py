"""Pages in a real browser: nothing is fetched, nothing fails, they sort and filter, and fit a phone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.report.test_pages import demo_directory, run_directory
from unweave.report.build import build

CHROMIUM = Path("/usr/bin/chromium")
QUIET = ("background-networking", "component-update", "sync")
FLAGS = ["--no-sandbox", "--disable-gpu", *(f"--disable-{each}" for each in QUIET)]
WIDTHS = (360, 768, 1280)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="no playwright here: pip install playwright")
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}: install the system's chromium")
    with api.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield opened
        opened.close()


def opened(browser: Any, path: Path, width: int, scheme: str = "light") -> tuple[Any, list[str]]:
    """The page, and whatever it complains of or asks the network for."""
    page = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme).new_page()
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("request", lambda asked: told.append(asked.url) if not asked.url.startswith(("file:", "data:")) else None)
    page.goto(path.as_uri())
    return page, told


@pytest.mark.parametrize("made", [run_directory, demo_directory])
def test_nothing_is_fetched_nothing_fails_and_it_fits(browser: Any, tmp_path: Path, made: Any) -> None:
    path, seen = build(made(tmp_path)), set()
    for width in WIDTHS:
        for scheme in ("light", "dark"):
            page, told = opened(browser, path, width, scheme)
            assert told == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (width, scheme)
            seen.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            page.context.close()
    assert len(seen) == 2, "light and dark"


def test_tables_sort_and_filter(browser: Any, tmp_path: Path) -> None:
    page, told = opened(browser, build(run_directory(tmp_path, steps=9)), 1280)
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    table = page.locator("table", has=page.locator("th button", has_text="step")).first
    steps = table.locator("tbody tr:visible > :first-child")
    assert steps.all_inner_texts() == [str(i) for i in range(1, 10)]
    for way in (1, -1):
        table.locator("th button", has_text="step").click()
        assert steps.all_inner_texts() == [str(i) for i in range(1, 10)][::way]
    box = page.locator("label.filter input").first
    box.fill("no row says this")
    assert steps.count() == 0 and page.locator("label.filter output").first.inner_text() == "0 of 9"
    box.fill("")
    assert steps.count() == 9 and told == []
