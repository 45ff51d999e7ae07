"""What a report page holds, and how it becomes HTML."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from unweave.audit.standing import STANDINGS, Standing, Words
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
WORDS = (
    ("forget set", "the training examples whose influence is to be bounded: the request"),
    ("retain set", "the training examples that stay"),
    ("original", "the model before: it was trained on both"),
    ("unlearned", "the model after: the original, with its weights changed by this run"),
    ("retrained", "a model trained from scratch without the forget set: what exact forgetting would give"),
    ("holdout, unseen", "examples like the forget set's that no model was ever trained on"),
    (
        "UA, FA, RA, TA",
        "share got wrong of the forget set, and got right of it; share got right of the retain and of the test set",
    ),
    ("gap", "difference between the unlearned and the retrained model, in points; 0 is exact"),
    ("interval", "the values that are compatible with what was measured, at 95 % confidence"),
    ("null band", "what an exact method, retraining, would show at the same sizes: chance alone"),
    ("margin", "the difference that counts as none, set before anything was measured"),
    (
        "contract, clause",
        "limits set before the run, by the recipe or, where it names none, by default: what may suffer by how much, "
        "and what is forgotten enough",
    ),
    (
        "guard set, final set",
        "retain examples that no step trained on: the first steered the run, the second was read once",
    ),
    ("AUC", "how well an attack tells two kinds of examples apart: 50 % is a coin, 100 % is always"),
    ("MIA", "membership attack: it guesses from what a model says whether an example was trained on"),
    ("p", "how often an exact method would look at least as bad by chance; below 0.05 it is said to be no chance"),
    ("log-odds, nats", "how sure a model is: 0 is even, 2.3 is ten to one, 4.6 a hundred to one"),
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
class First:
    """The first page, in plain words: for whoever signs, and without the numbers that stand in the details.

    Args:
        state: in which it leaves its reader.
        points: what that rests on.
        rows: what was asked, done, found, what it cost, what would make it stronger, what it says.
    """

    state: Standing
    points: Sequence[Point]
    rows: Sequence[Verdict]

    @property
    def words(self) -> Words:
        """Of the state."""
        return STANDINGS[self.state]


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
    """Examples side by side; or pictures as wide as the page."""

    caption: str
    pictures: Sequence[Picture]
    wide: bool = False


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
    first: First | None = None
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


def limits(found: Mapping[str, Any] | None) -> list[str]:
    """What the page does not say; with evidence over several trainings some of it is said."""
    if found is None:
        return list(LIMITS)
    runs = found["runs"]
    counted = ", ".join(f"{runs[kind]} {kind}" for kind in ("original", "retrained", "unlearned"))
    return [
        *LIMITS[:2],
        f"Intervals over training runs come from {counted} models; all others are over examples, for one model.",
        "An attack that finds nothing is evidence against the attacks that were tried, not against all that exist.",
        *found["notes"],
        LIMITS[-1],
    ]


def number(value: float | None, places: int = 3) -> str:
    """A number for people; a dash where there is none."""
    return "–" if value is None else f"{value:.{places}f}"


def _own_ids(svg: str, count: int) -> str:
    """The identifiers of a drawing made unique on the page."""
    return re.sub(r'(\bid="|\bhref="#|url\(#)', rf"\g<1>p{count}-", svg)
