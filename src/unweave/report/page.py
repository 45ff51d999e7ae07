"""What a report page holds, and how it becomes HTML."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from unweave.store import atomically

if TYPE_CHECKING:
    from unweave.report.plots.canvas import Drawing

TEMPLATES = Path(__file__).with_name("templates")
LIMITS = (
    "Bounded influence, measured by the scores on this page; not a proof of deletion.",
    "It is about this model's weights: source files, backups, copies and other models are not covered.",
    "One original and one unlearned model: the intervals are over examples, not over training seeds.",
    "The membership attack is one on populations; an attacker with shadow models may do better.",
    "This is technical evidence, not legal advice.",
)
Tone = Literal["good", "bad", "note", "plain"]


@dataclass(frozen=True)
class Verdict:
    """One statement of the strip on top of the page, with the points that it is made of."""

    label: str
    text: str
    tone: Tone = "plain"
    points: Sequence[str] = ()


@dataclass(frozen=True)
class Point:
    """A statement, and the title of the section that shows it."""

    text: str
    section: str = ""


@dataclass(frozen=True)
class Bottom:
    """What the page says in one sentence, above everything else; what that rests on; what to do with it."""

    text: str
    then: str
    tone: Tone
    points: Sequence[Point] = ()


@dataclass(frozen=True)
class Table:
    """Rows of text; the first cell of a row is its heading."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    link: bool = False  # the heading of a row is the path of a page beside this one


@dataclass(frozen=True)
class Plot:
    """A drawing and what it says."""

    drawing: Drawing
    caption: str


@dataclass(frozen=True)
class Picture:
    """A small image as base64 PNG (empty where the example is no image), its text, and what is said of it."""

    png: str
    text: str
    content: str = ""


@dataclass(frozen=True)
class Gallery:
    """Examples side by side."""

    caption: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Section:
    """A heading with tables, examples and plots; `folded` for what few readers want."""

    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    plots: Sequence[Plot] = ()
    galleries: Sequence[Gallery] = ()
    folded: Sequence[Table] = ()


@dataclass(frozen=True)
class Listing:
    """A file shown as it is, folded."""

    title: str
    text: str


@dataclass(frozen=True)
class Page:
    """A whole report."""

    title: str
    lead: str
    verdicts: Sequence[Verdict]
    sections: Sequence[Section]
    listings: Sequence[Listing] = ()
    limits: Sequence[str] = field(default=LIMITS)
    bottom: Bottom | None = None
    figures: Sequence[Verdict] = ()
    words: Sequence[tuple[str, str]] = ()

    def write(self, path: Path) -> None:
        """Writes the page as one HTML file without outside references; its one script is named by its hash."""
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        environment = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        numbers = itertools.count()
        environment.filters["anchor"] = anchor
        environment.filters["own_ids"] = lambda svg: _own_ids(svg, next(numbers))
        style, script = ((TEMPLATES / name).read_text(encoding="utf-8") for name in ("style.css", "script.js"))
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        text = environment.get_template("page.html").render(page=self, style=style, script=script, digest=digest)
        atomically(path, text.encode())


def anchor(title: str) -> str:
    """Of a section, for links on the page."""
    return "at-" + re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def number(value: float | None, places: int = 3) -> str:
    """A number for people; a dash where there is none."""
    return "–" if value is None else f"{value:.{places}f}"


def _own_ids(svg: str, count: int) -> str:
    """The identifiers of a drawing made unique on the page."""
    return re.sub(r'(\bid="|\bhref="#|url\(#)', rf"\g<1>p{count}-", svg)
