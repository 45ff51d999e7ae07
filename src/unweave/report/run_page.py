"""The page of one run directory, and of evidence without a run."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from unweave.errors import ConfigurationError
from unweave.modalities import MODALITIES, Modality, of_document
from unweave.recipe.yaml_lines import Document, dump
from unweave.report import contract, evidence, first, traces, tradeoff, verdict
from unweave.report import examples as each
from unweave.report.numbers import ORDER
from unweave.report.page import (
    WORDS,
    First,
    Gallery,
    Listing,
    Page,
    Picture,
    Section,
    Table,
    Verdict,
    limits,
    number,
)

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """What a run left behind.

    Args:
        summary: of `summary.json`.
        scores: of `scores.json`.
        steps: the lines of `steps.jsonl`.
        recipe: the text of `recipe.yaml`.
        quoted: of `quote.json`, if the run was quoted.
        examples: of `examples.json`, if it was written.
        answers: of `answers.json`, if the model answers questions.
        evidence: of `evidence.json`, if evidence was collected.
        drawn: `grid.png` as base64, if the models draw.
    """

    summary: Json
    scores: Json
    steps: Sequence[Json]
    recipe: str
    quoted: Json | None = None
    examples: Json | None = None
    answers: Json | None = None
    evidence: Json | None = None
    drawn: str | None = None

    @property
    def kind(self) -> Modality:
        """Of the data; records of one's own, where the recipe does not say."""
        said = yaml.safe_load(self.recipe)
        found = of_document(Document(said, "recipe.yaml")) if isinstance(said, dict) else None
        return found or MODALITIES["records"]

    @property
    def confidence(self) -> float | None:
        """Of the contract; None where the recipe does not say."""
        said = yaml.safe_load(self.recipe)
        agreed = said.get("contract") if isinstance(said, dict) else None
        return agreed.get("confidence") if isinstance(agreed, dict) else None

    @property
    def claim(self) -> verdict.Shown:
        """The strongest claim that is supported."""
        shown = None if self.evidence is None else verdict.of_evidence(self.evidence)
        return shown or verdict.of_run(self.summary, self.scores)

    @property
    def first(self) -> First:
        """The first page."""
        return first.of_run(self.summary, self.scores, self.claim, self.evidence, self.kind, self.confidence)


def page(run: Run) -> Page:
    """Words, tables and plots from what a run left behind."""
    summary, scores, shown = run.summary, run.scores, run.claim
    absent = verdict.absent(summary, scores, run.evidence, run.quoted, run.kind)
    return Page(
        title=f"Unlearning report: {summary['request']}",
        lead=f"Report of {first.dated(str(summary['created']))}",
        first=run.first,
        verdicts=verdict.strip(summary, shown, run.evidence, absent),
        figures=verdict.figures(summary, scores, run.kind),
        words=WORDS,
        sections=[
            *contract.sections(summary),
            tradeoff.section(summary, scores),
            *_answers(run.answers),
            *_drawn(run.drawn),
            *each.sections(run.examples),
            *evidence.sections(run.evidence, _pictures(run.examples)),
            *each.quoted(run.quoted, run.examples),
            traces.section(summary, run.steps),
            _settings(summary),
        ],
        listings=[Listing("recipe.yaml", _unnamed(run.recipe)), Listing("summary.json", json.dumps(summary, indent=2))],
        limits=limits(run.evidence),
    )


def read(directory: Path) -> Page:
    """The page of a run directory."""
    return page(load(directory))


def load(directory: Path) -> Run:
    """A run directory; files that an interrupted run did not write are simply not there.

    Raises:
        ConfigurationError: what the run says of itself was changed since it was written, or the evidence in it is of a
            form that this version does not know.
    """
    from unweave.run import seal
    from unweave.run.directory import SUMMARY, TOLD
    from unweave.run.steps_log import read_steps

    summary = json.loads((directory / SUMMARY).read_text(encoding="utf-8"))
    seal.check(directory / SUMMARY, summary, also={*TOLD, "recipe.yaml"})
    scores = json.loads((directory / "scores.json").read_text(encoding="utf-8"))
    recipe = (directory / "recipe.yaml").read_text("utf-8")
    quoted, examples, answers = (_optional(directory / f"{name}.json") for name in ("quote", "examples", "answers"))
    collected = evidence.read(directory / evidence.FILE)
    picture = directory / "grid.png"
    drawn = base64.b64encode(picture.read_bytes()).decode() if picture.is_file() else None
    steps = read_steps(directory / "steps.jsonl")
    return Run(summary, scores, steps, recipe, quoted, examples, answers, collected, drawn)


@contextmanager
def readable(directory: Path) -> Iterator[None]:
    """Around what reads and shows the files of a directory.

    Raises:
        ConfigurationError: one is missing, is no JSON, or lacks what this version writes.
    """
    try:
        yield
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        text = " ".join(str(error).split())
        raise ConfigurationError(f"{directory}: a file of the run cannot be read, or is damaged: {text}") from error
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError) as error:
        what = f"there is no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise ConfigurationError(
            f"{directory}: a file of the run is damaged, or of another version of unweave ({what}). Show it with the "
            "version that wrote it, or run it again"
        ) from error


def _optional(path: Path) -> Json | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _pictures(examples: Json | None) -> dict[int, str]:
    lists = [] if examples is None else [examples.get(key, ()) for key in ("worst", "hardest", "paid")]
    return {one["row"]: one["png"] for found in lists for one in found if one.get("png")}


def _answers(answers: Json | None) -> list[Section]:
    """Questions with the true answer and what every model says."""
    tables = []
    for side, rows in (answers or {}).items():
        names = [name for name in ORDER if rows and name in rows[0]["answers"]]
        texts = [[row["question"], row["truth"], *(row["answers"][name] for name in names)] for row in rows]
        if texts:
            tables.append(Table(f"Of the {side} set", ["question", "true answer", *names], texts))
    return [Section("What it says", "Greedy answers, the likeliest token each time.", tables)] if tables else []


def _drawn(picture: str | None) -> list[Section]:
    """A row of images of each model, all from the same noise."""
    if picture is None:
        return []
    text = "One image of each class, from the same noise in every row; classes to forget come first."
    return [Section("What it draws", text, galleries=[Gallery("", [Picture(picture, "a row a model")], wide=True)])]


def _settings(summary: Json) -> Section:
    environment = [[name, str(value)] for name, value in summary["environment"].items()]
    hashes = [["before", summary["model_before"]], ["after", summary["model_after"]]]
    spent = [
        ["unlearning, seconds", number(summary["seconds"], 1)],
        ["retraining, seconds", number(summary["retrain_seconds"], 1)],
        ["unlearning as a share of retraining", number(summary["efficiency"], 3)],
        ["steps", str(summary["steps"])],
        ["peak memory", f"{number(summary['peak_memory_bytes'] / 2**20, 0)} MiB"],
    ]
    return Section(
        "Cost, environment, hashes",
        "Seeds and all settings are in the recipe at the end of the page.",
        [
            Table("Cost", ["", ""], spent),
            Table("SHA-256 of the model's tensors", ["", ""], hashes),
            Table("Environment", ["", ""], environment),
        ],
    )


def _unnamed(text: str) -> str:
    """A recipe with the number of people that its requests list in place of their ids."""
    said = yaml.safe_load(text)
    data = said.get("data") if isinstance(said, dict) else None
    if not isinstance(data, dict):
        return text
    asked = [said.get("forget"), *(said.get("requests") or ()), *(said.get("already") or ())]
    user, changed = data.get("user") or "user", False
    for request in asked:
        where = request.get("where") if isinstance(request, dict) else None
        if isinstance(where, dict) and user in where:
            ids, changed = where[user], True
            where[user] = f"{len(ids) if isinstance(ids, list) else 1} of them, not shown here"
    return dump(said) if changed else text


def evidence_page(found: Json) -> Page:
    """The page of a directory that holds nothing else: evidence on models of a recipe, without a run of their own."""
    request, shown = found["request"], verdict.of_evidence(found)
    counts = ", ".join(f"{found['runs'][kind]} {kind}" for kind in ("original", "retrained", "unlearned"))
    sections = evidence.sections(found, {})
    missing = f"missing: {', '.join(found['pending'])}. Go on with the command that began it: {verdict.EVIDENCE}"
    pending = [Verdict("Not complete", missing, "note")] if found["pending"] else []
    return Page(
        title=f"Tests of unlearning: {request['text']}",
        lead=f"Report of {first.dated(str(found['created']))}",
        first=first.of_evidence(found, shown, {section.title for section in sections}),
        verdicts=[
            Verdict("Which models", f"{counts} models of {found['method']['name']}: {_subject(found)}"),
            *([] if shown is None else verdict.claims(shown)),
            *pending,
        ],
        words=WORDS,
        sections=sections,
        limits=limits(found),
    )


def read_evidence(directory: Path) -> Page:
    """The page of a directory with evidence alone.

    Raises:
        ConfigurationError: the evidence in it is of a form that this version does not know.
    """
    found = evidence.read(directory / evidence.FILE)
    assert found is not None, "build has looked whether it is there"
    return evidence_page(found)


def _subject(found: Json) -> str:
    if (own := found.get("own_run")) is not None:
        return f"a run's own, the tensors with SHA-256 {own['after'][:16]}…, and others of its recipe"
    return "models made for this evidence, of one recipe: a model that is to be signed off needs a run, `unweave run`"
