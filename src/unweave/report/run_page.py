"""The page of one run directory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unweave.report import contract, plots, quote
from unweave.report.page import Listing, Page, Plot, Section, Table, Verdict, number

Json = Mapping[str, Any]
ORDER = ("original", "unlearned", "retrained", "retrained again")
HEADLINES = {
    "Forget accuracy": "FA",
    "Test accuracy": "TA",
    "Probability of forget answers": "forget_probability",
    "Probability of retain answers": "retain_probability",
    "Model utility": "model_utility",
}
PLANES: tuple[dict[str, str], ...] = (
    {"FA": "accuracy on the forget set, %", "TA": "test accuracy, %"},
    {
        "forget_probability": "probability of forget answers, %",
        "retain_probability": "probability of retain answers, %",
    },
)


def page(
    summary: Json,
    scores: Json,
    steps: Sequence[Json],
    recipe: str,
    quoted: Json | None = None,
    examples: Json | None = None,
    answers: Json | None = None,
) -> Page:
    """Words, tables and plots from what a run left behind.

    Args:
        summary: of `summary.json`.
        scores: of `scores.json`.
        steps: the lines of `steps.jsonl`.
        recipe: the text of `recipe.yaml`.
        quoted: of `quote.json`, if the run was quoted.
        examples: of `examples.json`, if it was.
        answers: of `answers.json`, if the model answers questions.
    """
    return Page(
        title=f"{summary['method']}: {summary['request']}",
        lead=f"{summary['forget']} examples to forget, {summary['retain']} to keep. {summary['created']}",
        verdicts=_verdicts(summary, scores),
        sections=[
            *contract.sections(summary),
            Section("Scores", tables=[_scores(scores), *_gaps(scores)], plots=_plane(scores)),
            *_answers(answers),
            *quote.sections(quoted, examples),
            Section("The run", _sentence(summary), plots=_traces(steps)),
            Section("Settings and environment", tables=_settings(summary)),
        ],
        listings=[Listing("recipe.yaml", recipe), Listing("summary.json", json.dumps(summary, indent=2))],
    )


def score_text(score: Json | None, *, short: bool = False) -> str:
    """A score with its interval, shares as percentages; if there is no value, the reason (a dash if short)."""
    if score is None or (short and score["value"] is None):
        return "–"
    if score["value"] is None:
        return f"undefined: {score['reason']}"
    share = score["unit"] == "share"
    factor, places = (100, 1) if share else (1, 1 if score["unit"] == "points" else 3)
    text = f"{factor * score['value']:.{places}f}{' %' if share else ''}"
    if short or score["low"] is None:
        return text
    return f"{text} [{factor * score['low']:.{places}f}, {factor * score['high']:.{places}f}]"


def _verdicts(summary: Json, scores: Json) -> list[Verdict]:
    good = summary["status"] == "done"
    strip = [Verdict("Status", f"{summary['status']}: {summary['stop_reason']}", "good" if good else "bad")]
    strip += contract.verdicts(summary)
    gaps = {name: table["average_gap"]["value"] for name, table in scores["gaps"].items()}
    if gaps.get("unlearned") is not None and gaps.get("original") is not None:
        closer = gaps["unlearned"] < gaps["original"]
        second = (
            f"; a second retrained model is {gaps['retrained again']:.1f} away" if gaps.get("retrained again") else ""
        )
        text = f"{gaps['unlearned']:.1f} points after, {gaps['original']:.1f} before{second}"
        strip.append(Verdict("Distance to the retrained model", text, "good" if closer else "bad"))
    else:
        strip.append(Verdict("Distance to the retrained model", "not computed: no retrained reference", "note"))
    if summary["efficiency"] is not None:
        cost = f"{summary['seconds']:.1f} s against {summary['retrain_seconds']:.1f} s for retraining"
        strip.append(Verdict("Cost", cost, "good" if summary["efficiency"] < 1 else "note"))
    before, after = scores["models"]["original"], scores["models"]["unlearned"]
    strip += [
        Verdict(title, _change(before[name], after[name]))
        for title, name in HEADLINES.items()
        if name in before and name in after
    ]
    strip += [Verdict("Warning", text, "bad") for text in summary["warnings"]]
    return strip


def _change(before: Json, after: Json) -> str:
    if before["value"] is None or after["value"] is None:
        return "undefined"
    return f"{100 * before['value']:.1f} % before, {100 * after['value']:.1f} % after"


def _scores(scores: Json) -> Table:
    models = [name for name in ORDER if name in scores["models"]]
    names = list(scores["models"][models[0]])
    rows = []
    for name in names:
        cells = [scores["models"][model].get(name) for model in models]
        rows.append([name, *map(score_text, cells), str(cells[0]["n"]) if cells[0] else "–", cells[0]["definition"]])
    return Table("Each score with its 95 % interval over examples", ["", *models, "n", "definition"], rows)


def _gaps(scores: Json) -> list[Table]:
    models = [name for name in ORDER if name in scores["gaps"]]
    if not models:
        return []
    rows = [
        [metric, *(score_text(scores["gaps"][m].get(metric)) for m in models)] for metric in scores["gaps"][models[0]]
    ]
    caption = "Points of difference to the retrained model; original and second retrained model are the two ends"
    return [Table(caption, ["", *models], rows)]


def _plane(scores: Json) -> list[Plot]:
    models = {name: scores["models"][name] for name in ORDER if name in scores["models"]}
    axes = next((a for a in PLANES if all(key in model for model in models.values() for key in a)), None)
    if axes is None:
        return []
    points = [
        plots.Point(name, *(100 * model[key]["value"] for key in axes))
        for name, model in models.items()
        if None not in (model[key]["value"] for key in axes)
    ]
    if not points:
        return []
    x, y = axes.values()
    svg = plots.plane("What was forgotten, what was kept", points, x=x, y=y)
    return [
        Plot(
            svg,
            "The closer to the retrained model, the better: less on the forget set than that is not a virtue.",
        )
    ]


def _answers(answers: Json | None) -> list[Section]:
    """Questions with the true answer and what every model says."""
    tables = []
    for side, rows in (answers or {}).items():
        names = [name for name in ORDER if rows and name in rows[0]["answers"]]
        texts = [[row["question"], row["truth"], *(row["answers"][name] for name in names)] for row in rows]
        if texts:
            tables.append(Table(f"Of the {side} set", ["question", "true answer", *names], texts))
    return [Section("What it says", "Greedy answers, the likeliest token each time.", tables)] if tables else []


def _traces(steps: Sequence[Json]) -> list[Plot]:
    if not steps:
        return []
    x = [row["step"] for row in steps]
    found = []
    for i, side in enumerate(("forget", "retain")):
        svg = plots.lines(f"The {side} objective", x, {side: [row["losses"][i] for row in steps]}, y="loss")
        found.append(Plot(svg, "On the examples of each step, before it; both objectives are minimised."))
    hardness = {"cosine": [row["cosine"] for row in steps], "κ / κ₂": [row["kappa"] for row in steps]}
    hardness = {name: values for name, values in hardness.items() if any(v is not None for v in values)}
    if hardness:
        text = "Cosine below 0: the two gradients conflict. κ / κ₂ above 1: this much forgetting must cost."
        found.append(Plot(plots.lines("Hardness", x, hardness, y="", levels={"zero": 0.0}), text))
    radius = [row["radius"] for row in steps]
    if any(value is not None for value in radius):
        text = "Length of the step that the trust region allowed."
        found.append(Plot(plots.lines("Radius", x, {"radius": radius}, y="length"), text))
    return found


def _sentence(summary: Json) -> str:
    lost = f"{summary['rejected']} rolled back, {summary['skipped']} skipped as not finite"
    return f"{summary['steps']} steps in {summary['seconds']:.1f} s ({lost}). The end: {summary['stop_reason']}."


def _settings(summary: Json) -> list[Table]:
    environment = [[name, str(value)] for name, value in summary["environment"].items()]
    hashes = [["before", summary["model_before"]], ["after", summary["model_after"]]]
    memory = [["peak memory", f"{number(summary['peak_memory_bytes'] / 2**20, 0)} MiB"]]
    return [
        Table("Environment", ["", ""], environment + memory),
        Table("SHA-256 of the model's tensors", ["", ""], hashes),
    ]


def read(directory: Path) -> Page:
    """The page of a run directory; files that an interrupted run did not write are simply not there."""
    from unweave.run.record import read_steps

    summary = json.loads((directory / "summary.json").read_text(encoding="utf-8"))
    scores = json.loads((directory / "scores.json").read_text(encoding="utf-8"))
    recipe = (directory / "recipe.yaml").read_text("utf-8")
    more = (_optional(directory / name) for name in ("quote.json", "examples.json", "answers.json"))
    return page(summary, scores, read_steps(directory / "steps.jsonl"), recipe, *more)


def _optional(path: Path) -> Json | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
