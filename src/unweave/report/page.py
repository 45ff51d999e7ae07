"""What a report page holds, and how it becomes HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from unweave.data.cache import atomically

LIMITS = (
    "Bounded influence, measured by the scores on this page; not a proof of deletion.",
    "One original and one unlearned model: the intervals are over examples, not over training seeds.",
    "The membership attack is one on populations; an attacker with shadow models may do better.",
    "This is technical evidence, not legal advice.",
)


@dataclass(frozen=True)
class Verdict:
    """One statement of the strip on top of the page."""

    label: str
    text: str
    tone: Literal["good", "bad", "note", "plain"] = "plain"


@dataclass(frozen=True)
class Table:
    """Rows of text; the first cell of a row is its heading."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Plot:
    """An inline SVG and what it says."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Picture:
    """A small image as base64 PNG (empty where the example is no image) and what is said of it."""

    png: str
    text: str


@dataclass(frozen=True)
class Gallery:
    """Examples side by side."""

    caption: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Section:
    """A heading with tables, examples and plots."""

    title: str
    text: str = ""
    tables: Sequence[Table] = ()
    plots: Sequence[Plot] = ()
    galleries: Sequence[Gallery] = ()


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

    def write(self, path: Path) -> None:
        """Writes the page as one HTML file without outside references."""
        from jinja2 import Environment, StrictUndefined

        environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        template = environment.from_string(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
        atomically(path, template.render(page=self).encode())


def number(value: float | None, places: int = 3) -> str:
    """A number for people; a dash where there is none."""
    return "–" if value is None else f"{value:.{places}f}"
