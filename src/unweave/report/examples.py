"""Example by example: how well each model knows what was to be forgotten, and the ten that it knows best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unweave.report import plots
from unweave.report.page import Gallery, Picture, Plot, Section

Json = Mapping[str, Any]
NAMES = ("original", "unlearned", "retrained", "unseen")


def sections(examples: Json | None) -> list[Section]:
    """The distribution over the forget set and its worst ten; nothing for a run that kept no examples."""
    if examples is None or not examples.get("distribution"):
        return []
    known = {name: [v for v in examples["distribution"].get(name, ()) if v is not None] for name in NAMES}
    samples = {name: values for name, values in known.items() if values}
    text = (
        "An average can hide single records. Log-odds of an error, in nats: far below 0 a model is sure of the true "
        "answer, above 0 it is wrong. Forgotten well, the unlearned model's curve lies on the retrained model's."
    )
    found = []
    if samples:
        drawing = plots.ecdf("Every forget example under every model", samples, x="log-odds of an error, nats")
        caption = "Curves to the left know more." + (
            " Unseen: examples of the same labels that no model was trained on, under the unlearned model."
            if "unseen" in samples
            else ""
        )
        found.append(Plot(drawing, caption))
    return [Section("Example by example", text, plots=found, galleries=_worst(examples.get("worst", ())))]


def _worst(worst: Any) -> list[Gallery]:
    if not worst:
        return []
    compared = worst[0].get("retrained") is not None
    title = f"The worst {len(worst)}: forget examples that the unlearned model knows best"
    title += ", compared with the retrained model" if compared else ""
    return [Gallery(title, [picture(each) for each in worst])]


def picture(example: Json) -> Picture:
    """One example with what the models say of it: an image, or its text."""
    predicted = "" if example.get("predicted") is None else f", predicted {example['predicted']:+.2g}"
    label = f", label {example['label']}" if "label" in example else ""
    said = f"row {example['row']}{label}{predicted}"
    said += f": {_odds(example['before'])} to {_odds(example['after'])}"
    if example.get("retrained") is not None:
        said += f"; retrained {_odds(example['retrained'])}"
    return Picture(example.get("png") or "", said, str(example.get("text") or ""))


def _odds(value: float | None) -> str:
    return "–" if value is None else f"{value:+.1f}"
