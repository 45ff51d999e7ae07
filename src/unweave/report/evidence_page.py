"""The page of evidence whose run directory holds nothing else: other models of a recipe, without a run of their own."""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from unweave.report import evidence, verdict
from unweave.report.page import WORDS, Bottom, Page, Point, Tone, Verdict, limits

Json = Mapping[str, Any]


def page(found: Json) -> Page:
    """Words, tables and plots from `evidence.json`."""
    request, runs, shown = found["request"], found["runs"], verdict.of_evidence(found)
    counts = ", ".join(f"{runs[kind]} {kind}" for kind in ("original", "retrained", "unlearned"))
    asked = (
        f"whether {found['method']['name']} bounds the influence of {request['forget']:,} training examples "
        f"({request['text']}) and keeps the model working on {request['retain']:,} others"
    )
    sections = evidence.sections(found, {})
    return Page(
        title=f"Evidence on unlearning {request['text']} with {found['method']['name']}",
        lead=f"{counts} models. {found['created']}",
        bottom=_bottom(found, shown, {section.title for section in sections}),
        verdicts=[
            Verdict("What was asked", asked),
            Verdict("Which models", _subject(found)),
            *([] if shown is None else verdict.claims(shown)),
        ],
        words=WORDS,
        sections=sections,
        limits=limits(found),
    )


def read(directory: Path) -> Page:
    """The page of a directory.

    Raises:
        ConfigurationError: the evidence in it is of a form that this version does not know.
    """
    found = evidence.read(directory / evidence.FILE)
    assert found is not None, "build has looked whether it is there"
    return page(found)


def _bottom(found: Json, shown: verdict.Shown | None, titles: Set[str]) -> Bottom:
    """The page in one sentence, and what follows from it; links lead to sections that are there."""
    if shown is None:
        told = f"This evidence is not complete: {', '.join(found['pending'])} are missing."
        return Bottom(told, f"Go on with the command that began it: {verdict.EVIDENCE}", "note")
    if shown.against:
        told = "The evidence speaks against the method: it is not ready to be relied on for this request."
        then = "Choose another method or other limits and collect the evidence again, or retrain."
        points = [
            point if point.section in titles else Point(point.text)
            for point in verdict.objections(found, shown.against)
        ]
        return Bottom(told, then, "bad", points)
    tone: Tone = "note" if shown.level in (None, "E0") else "good"
    return Bottom(f"The evidence supports claim {shown.level or 'none'} of E0 to E4.", shown.text, tone)


def _subject(found: Json) -> str:
    if (own := found.get("own_run")) is not None:
        return f"a run's own, the tensors with SHA-256 {own['after'][:16]}…, and others of its recipe"
    return "models made for this evidence, of one recipe: a model that is to be signed off needs a run, `unweave run`"
