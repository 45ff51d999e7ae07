"""Plots: inline, self-contained, escaped, in the page's colours."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from unweave.report import plots
from unweave.report.plots.canvas import INK, MODELS, Drawing, style

HOSTILE = "<script>alert('x')</script> & \"y\" $a_b$"


def every(title: str, name: str) -> dict[str, Drawing]:
    return {
        "lines": plots.lines(
            title,
            [1, 2, 3],
            {name: [1.0, None, 3.0], "retain": [0.1, 0.2, 0.3]},
            y=name,
            levels_at={"zero": 0.0},
        ),
        "plane": plots.plane(title, [plots.Point(name, 1, 2), plots.Point("b", 2, 1)], x=name, y="y"),
        "bars": plots.bars(title, {name: 1.0, "b": 2.0}, {"original": 3.0, name + " ": 0.5}, x="points"),
    }


@pytest.mark.parametrize("kind", ["lines", "plane", "bars"])
def test_inline_svg(kind: str) -> None:
    drawing = every(HOSTILE, HOSTILE)[kind]
    svg = drawing.svg
    assert drawing.title == HOSTILE and drawing.table.rows
    root = ElementTree.fromstring(svg)
    assert root.tag == "svg" and root.get("role") == "img" and root.get("aria-label") == HOSTILE
    assert "viewBox" in root.attrib and "width" not in root.attrib
    assert not re.search(r"https?:|<script|<image|xmlns|url\((?!#)|@import", svg)
    assert INK not in svg and "currentColor" in svg
    text = [node.text for node in root.iter("text")]
    assert any(node and "<script>" in node for node in text), "names are text, not paths and not markup"


def test_identifiers_of_different_plots_do_not_clash_and_the_same_plot_is_the_same_text() -> None:
    first, again, second = every("A", "a"), every("A", "a"), every("B", "a")
    assert first == again
    identifiers = [set(re.findall(r'id="([^"]+)"', svg)) for plot in (first, second) for svg in [plot["lines"].svg]]
    assert identifiers[0] and not identifiers[0] & identifiers[1]


def test_all_gaps_and_single_points_are_drawn() -> None:
    assert plots.lines("t", [1], {"a": [None]}, y="")
    assert plots.plane("t", [plots.Point("a", 0, 0)], x="", y="")
    assert plots.bars("t", {}, {}, x="")


def test_the_blind_baseline_looks_like_no_model_and_rates_are_plain_numbers() -> None:
    names = ("original", "unlearned", "retrained", "blind")
    looks = [style(name, i) for i, name in enumerate(names)]
    assert len({look.colour for look in looks}) == len({look.dash for look in looks}) == len(names)
    svg = plots.roc("ROC", {name: [(0.0, 0.0), (0.01, 0.05), (1.0, 1.0)] for name in names}).svg
    ticks = [node.text for node in ElementTree.fromstring(svg).iter("text")]
    assert "0.01" in ticks and not any("$" in (tick or "") for tick in ticks)


def test_no_two_points_of_a_plane_look_alike() -> None:
    names = ("original", "retrained", "retrained again", *(f"method {i}" for i in range(8)))
    looks = {(look.colour, look.marker) for i, name in enumerate(names) for look in [style(name, i + len(MODELS))]}
    assert len(looks) == len(names)
