"""Pages in a real browser: nothing is fetched, nothing fails, they sort and filter, links lead on, they fit a phone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.report.card import RUNS, evidence_directory, sha256
from tests.report.test_pages import demo_directory, run_directory
from unweave.audit.experiment import KINDS
from unweave.report.build import build
from unweave.report.overview import board, compare

pytestmark = pytest.mark.slow  # its pages and its browser take as long to make ready
CHROMIUM = Path("/usr/bin/chromium")
QUIET = ("background-networking", "component-update", "sync")
FLAGS = ["--no-sandbox", "--disable-gpu", *(f"--disable-{each}" for each in QUIET)]
WIDTHS = (360, 768, 1280)
STEPS = ["5", *(str(100 - i) for i in range(1, RUNS))]  # of the runs that are compared
PAGES = {
    "run": ("Unlearning report: class", "2.0 points after, 9.0 before", "not a proof of deletion"),
    "demo": ("comes closest: 3.0 points",),
    "evidence": (
        *("not bounded: a limit", "Strongest claim, of E0 to E4", f"it and {RUNS - 1} more of the same recipe"),
        *("Signed gaps to retraining", "t of every forget example", "The worst over several trainings"),
        *(
            "ROC: threshold on the loss",
            "After training on 20 % of the forget set",
            "Right on the data to forget, by precision",
        ),
        *("U-LiRA, auc", "True positives at few false positives", "Half-life in steps"),
    ),
    "compare": (f"{RUNS} runs compared", "they differ in original model", "Distance to the retrained model"),
    "board": ("All runs below", f"{RUNS}, 0 of them kept a contract", "Evidence against the result ✗a"),
}
DARK = "getComputedStyle(document.body).backgroundColor"
OPEN = "document.querySelectorAll('details').forEach(each => { each.open = true; })"
ASTRAY = """() => Array.from(document.querySelectorAll('[href^="#"], [*|href^="#"]'))
    .map(each => each.getAttribute('href') ?? each.getAttribute('xlink:href'))
    .filter(name => document.getElementById(name.slice(1)) === null)"""
HASHES = """() => Array.from(document.querySelectorAll('td')).filter(cell => /^[0-9a-f]{64}$/.test(cell.innerText))
    .map(cell => {
        cell.scrollIntoView({block: 'center', inline: 'end'});
        const text = document.createRange();
        text.selectNodeContents(cell);
        const seen = Array.from(text.getClientRects()).flatMap(line => [line.left + 1, line.right - 1].map(x => {
            const top = document.elementFromPoint(x, (line.top + line.bottom) / 2);
            return top === cell;
        }));
        const scrolls = ['auto', 'scroll'].includes(getComputedStyle(cell.closest('.scroll')).overflowX);
        return [cell.innerText, scrolls && seen.length > 0 && seen.every(each => each)];
    })"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="no playwright here: pip install playwright")
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}: install the system's chromium")
    with api.sync_playwright() as play:
        opened = play.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def pages(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One page of every kind; the runs that are compared and listed have pages of their own, one of them evidence."""
    folder = tmp_path_factory.mktemp("pages")

    def directory(name: str) -> Path:
        (folder / name).mkdir(parents=True)
        return folder / name

    runs = [evidence_directory(directory("runs/a"))]
    for number in range(1, RUNS):
        runs.append(run_directory(directory(f"runs/run no-{number}"), retrained=number != 3))
        summary = json.loads((runs[-1] / "summary.json").read_text())
        (runs[-1] / "summary.json").write_text(json.dumps(summary | {"steps": 100 - number, "model_before": "0a" * 32}))
    found = {"evidence": build(runs[0])}
    for run in runs[1:]:
        build(run)
    compare(runs, folder / "compared.html")
    return found | {
        "run": build(run_directory(directory("run"), steps=9)),
        "demo": build(demo_directory(directory("demo"))),
        "compare": folder / "compared.html",
        "board": board(folder / "runs"),
    }


@pytest.fixture
def visit(browser: Any, pages: dict[str, Path]) -> Iterator[Callable[..., Any]]:
    """Opens a page; whatever it complains of or asks the network for, until the test's end, is an error."""
    told: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 800}, color_scheme="light")

    def to(kind: str, width: int = 1280) -> Any:
        page = context.new_page()
        page.set_viewport_size({"width": width, "height": 800})
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("request", lambda asked: told.extend([] if asked.url.startswith(("file:", "data:")) else [asked.url]))
        page.goto(pages[kind].as_uri())
        return page

    yield to
    context.close()
    assert told == []


@pytest.mark.parametrize("kind", PAGES)
def test_nothing_is_fetched_nothing_fails_and_it_fits(visit: Callable[..., Any], kind: str) -> None:
    """At every width, light and dark, with all that can be unfolded unfolded."""
    page, seen, cases = visit(kind), set(), 0
    text = page.locator("body").text_content()
    assert [each for each in PAGES[kind] if each not in re.sub(r"\s+", " ", text)] == []
    page.evaluate(OPEN)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (width, scheme)
            seen.add(page.evaluate(DARK))
            cases += 1
    assert cases == 6 and len(seen) == 2, "light and dark"


@pytest.mark.parametrize("kind", PAGES)
def test_every_link_on_the_page_leads_somewhere(visit: Callable[..., Any], pages: dict[str, Path], kind: str) -> None:
    page = visit(kind)
    assert page.evaluate(ASTRAY) == []
    away = page.eval_on_selector_all("a:not([href^='#'])", "all => all.map(each => each.getAttribute('href'))")
    assert [each for each in away if not (pages[kind].parent / each.replace("%20", " ")).is_file()] == []
    assert len(away) == (RUNS if kind == "board" else 0)


def test_an_objection_leads_to_the_section_that_shows_it(visit: Callable[..., Any]) -> None:
    page = visit("evidence", 360)
    links = page.locator(".state li a")
    titles = links.all_inner_texts()
    assert len(titles) >= 4 and "Relearning" in titles and "Attacks" in titles
    for number, title in enumerate(titles):
        links.nth(number).click()
        heading = page.locator("section:target > h2")
        assert heading.inner_text() == title
        assert -1 < heading.bounding_box()["y"] < 800


def test_hashes_are_whole_on_a_phone(visit: Callable[..., Any]) -> None:
    """Each can be scrolled to so that every line of it is on top: not cut off, not under the column that stays."""
    page = visit("evidence", 360)
    page.evaluate(OPEN)
    hashes = page.evaluate(HASHES)
    assert {name for name, _ in hashes} == {sha256(kind, i) for kind in KINDS for i in range(RUNS)}
    assert len(hashes) == 3 * RUNS + 2, "every model, and the two of the run"
    assert [name for name, whole in hashes if not whole] == []


@pytest.mark.parametrize(
    ("kind", "head", "values", "wanted", "left"),
    [
        ("run", "step", [str(i) for i in range(1, 10)], "9", 1),
        ("evidence", "kind", [kind for kind in KINDS for _ in range(RUNS)], "Unlearned", RUNS),
        ("compare", "steps", STEPS, "run NO-3", 1),
        ("board", "steps", STEPS, "NO-3", 1),
    ],
)
def test_tables_sort_and_filter(
    visit: Callable[..., Any], kind: str, head: str, values: list[str], wanted: str, left: int
) -> None:
    page = visit(kind)
    page.evaluate(OPEN)
    button = page.locator("th button", has_text=re.compile(f"^{head}$"))
    table = page.locator("table", has=button).first
    column = 1 + table.locator("thead th").all_inner_texts().index(head)
    shown = table.locator(f"tbody tr:visible > :nth-child({column})")
    assert shown.all_inner_texts() == values
    for down in (False, True):
        table.locator(button).click()
        key = int if values[0].isdigit() else str
        assert shown.all_inner_texts() == sorted(values, key=key, reverse=down)
    label = table.locator("xpath=../preceding-sibling::label[1]")
    for words, rows in (("no row says this", 0), (wanted, left), ("", len(values))):
        label.locator("input").fill(words)
        assert label.locator("output").inner_text() == f"{rows} of {len(values)}" and shown.count() == rows
