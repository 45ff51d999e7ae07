"""Draws docs/two_gradients.svg, the picture of the site's first page: HAMU-Q's step between two gradients.

The step is not drawn by hand: it is what `unweave.rules.HAMU` answers for these two gradients.
"""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, Polygon

from unweave.rules import HAMU

OUT = Path(__file__).parents[1] / "docs" / "two_gradients.svg"
PAPER, INK, QUIET, FORGET, RETAIN, STEP = "#fbfaf7", "#1f2328", "#6a6f76", "#b5432a", "#2f6f9f", "#1f2328"
RADIUS, RATIO = 1.0, 0.5
FORGETTING = math.radians(20)  # where descending the forget objective points
RETAINING = math.radians(138)  # where descending the retain objective points


def at(angle: float, length: float = 1.0) -> tuple[float, float]:
    return length * math.cos(angle), length * math.sin(angle)


def constrained_step() -> tuple[float, float]:
    """The weight change of HAMU-Q for the two gradients of the picture, with a unit learning rate."""
    gradients = -torch.tensor([at(FORGETTING), at(RETAINING)], dtype=torch.float64)
    rule = HAMU(guarantee="forget", ratio=RATIO, radius=RADIUS, blocks="model")
    x, y = (-rule.weights((gradients @ gradients.T)[None])[0] @ gradients).tolist()
    return x, y


def arrow(axes: Axes, tip: tuple[float, float], colour: str, width: float) -> None:
    head = f"-|>,head_length={0.25 * width},head_width={0.11 * width}"
    line = {"arrowstyle": head, "shrinkA": 0, "shrinkB": 0, "color": colour, "lw": width}
    axes.annotate("", tip, (0, 0), arrowprops=line, zorder=4)


def label(axes: Axes, where: tuple[float, float], text: str, colour: str, **options: str | float) -> None:
    axes.text(*where, text, color=colour, fontsize=10.5, va="center", linespacing=1.35, **options)


def draw(axes: Axes) -> None:
    step = constrained_step()
    across, quota = at(FORGETTING + math.pi / 2), at(FORGETTING, RATIO * RADIUS)
    edge = [(quota[0] + s * across[0], quota[1] + s * across[1]) for s in (-3, 3)]
    far = [(x + at(FORGETTING, 4)[0], y + at(FORGETTING, 4)[1]) for x, y in reversed(edge)]
    rounded = "round,pad=0,rounding_size=.1"
    frame = FancyBboxPatch((-2.1, -1.22), 5.0, 2.56, boxstyle=rounded, fc=PAPER, ec="none")
    half_space = Polygon([*edge, *far], color=FORGET, alpha=0.10, lw=0)
    line = axes.plot(*zip(*edge, strict=True), color=FORGET, lw=1.2, ls=(0, (5, 3)))[0]
    cap = Circle((0, 0), RADIUS, color=FORGET, alpha=0.22, lw=0)
    ball = Circle((0, 0), RADIUS, fill=False, ec=QUIET, lw=1.4)
    for patch in (frame, half_space, cap, ball):
        axes.add_patch(patch)
    for clipped in (half_space, line):
        clipped.set_clip_path(frame)
    cap.set_clip_path(Polygon([*edge, *far], transform=axes.transData))
    arrow(axes, at(FORGETTING, 1.45), FORGET, 2.2)
    arrow(axes, at(RETAINING, 1.3), RETAIN, 2.2)
    arrow(axes, step, STEP, 3.4)
    axes.plot(0, 0, "o", color=INK, ms=6, zorder=5)

    label(axes, (0.04, -0.13), "the model now", INK, ha="center")
    label(axes, (1.43, 0.53), "what forgetting\nwants: $-g_u$", FORGET)
    label(axes, (-1.04, 0.92), "what retaining\nwants: $-g_r$", RETAIN, ha="right")
    label(
        axes,
        (step[0] + 0.10, step[1] + 0.12),
        "the step: best for retain among all that\nstay in the circle and forget enough",
        INK,
        fontweight="bold",
    )
    label(axes, (1.25, -0.62), "beyond this line a step\nforgets at least $Q$", FORGET)
    label(axes, (-0.78, -0.82), "trust region:\nno step is longer than $R$", QUIET, ha="right")


def main() -> None:
    with matplotlib.rc_context({"svg.hashsalt": "unweave", "svg.fonttype": "path"}):
        figure = Figure(figsize=(7.6, 3.9))
        axes = figure.add_axes((0, 0, 1, 1), xlim=(-2.1, 2.9), ylim=(-1.22, 1.34), aspect="equal")
        axes.axis("off")
        draw(axes)
        figure.savefig(OUT, transparent=True, metadata={"Date": None})


if __name__ == "__main__":
    main()
