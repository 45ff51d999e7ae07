"""Tables of the runs on which nothing was chosen: without a repair and with one, in all orders of the batches."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean, stdev

from cell import CAP, ENDS, Cell, best_settings, mean_gap
from problems import REQUESTS
from rows import TITLES, gap_of, header, marked, mean, requested, row
from scipy.stats import t
from settings import HEADLINE, TUNED_ON, names, trust


def repairs(found: list[Cell]) -> str:
    """Each method without a repair and with one, on the seeds that nothing was chosen on; ends of the scale first."""
    rows = _sides(found)
    ran = requested(c for title, sides in rows.items() if not title.startswith("*") for own in sides for c in own)
    lines = header("", *(f"{name}{end}" for name in (*ran, "mean") for end in ("", ", repaired")), "steps", "runs")
    for title, sides in rows.items():
        own = [[c for c in side if c.place.request in ran] for side in sides]
        gaps = [[marked(gap_of(side, name), bold=False) for side in own] for name in (*ran, None)]
        steps = " / ".join(mean(side, lambda c: c.attempts, 0) for side in own) if len(own) > 1 else ""
        values = [value for pair in gaps for value in (pair if len(pair) > 1 else (pair[0], ""))]
        lines.append(row(title, *values, steps, len(own[0])))
    return "\n".join(lines)


def _sides(found: list[Cell], shared: bool = True) -> dict[str, list[list[Cell]]]:
    """The held-out cells of each row, without a repair and with one; of the ends of the scale the one.

    `shared`: those alone of the requests and seeds on which every row was repaired.
    """
    held = [c for c in found if c.place.seed != 0 and c.place.order is None]
    best = [best_settings(found, names(repair), TUNED_ON[found[0].place.data]) for repair in (False, True)]
    rows = {TITLES[end]: [(end, "none")] for end in ENDS if end != "retrained"}
    rows |= {f"`{m}`": [(m, trust(m).name), (m, trust(m).repaired().name)] for m in HEADLINE}
    rows |= {m: [(m, of[m]) for of in best] for m in names() if all(m in of for of in best)}
    sides = {t: [[c for c in held if (c.place.method, c.place.setting) == p] for p in of] for t, of in rows.items()}
    sides = {title: own for title, own in sides.items() if all(own)}
    if not shared:
        return sides
    common = set.intersection(*({_where(c) for c in own[1]} for own in sides.values() if len(own) > 1))
    return {t: [[c for c in side if _where(c) in common] for side in own] for t, own in sides.items()}


def ranks(found: list[Cell]) -> str:
    """Where each method stands among all, without a repair and with one, on the seeds that nothing was chosen on."""
    rows = {title: sides for title, sides in _sides(found).items() if len(sides) == 2}
    held = {(title, end): {_where(c): c.gap for c in own} for title, s in rows.items() for end, own in enumerate(s)}
    places = sorted(set.intersection(*(set(gaps) for gaps in held.values())))
    order = {place: sorted(gaps[place] for gaps in held.values()) for place in places}
    requests = [name for name in REQUESTS if name in {request for request, _ in places}]
    lines = header(
        "rank of " + str(len(held)), *(f"{n}{end}" for n in (*requests, "mean") for end in ("", ", repaired"))
    )
    standing = {}
    for title in rows:
        values = []
        for name in (*requests, None):
            for end in (0, 1):
                own = [order[p].index(held[title, end][p]) + 1 for p in places if name in (None, p[0])]
                values.append(fmean(own))
        standing[title] = values
    for title, values in sorted(standing.items(), key=lambda item: item[1][-1]):
        lines.append(row(title, *(f"{value:.1f}" for value in values)))
    return "\n".join(lines)


def orders(found: list[Cell]) -> str:
    """Gaps with a repair, batches in the seeds' own order and in another; requests and seeds that have both."""
    pairs = {title: _both_orders(found, own) for title, (_, own) in _repaired(found)}
    pairs = {title: both for title, both in pairs.items() if both}
    requests = requested(a for both in pairs.values() for a, _ in both)
    ends = ("", ", other order")
    lines = header("", *(f"{name}{end}" for name in (*requests, "mean") for end in ends), "apart", "runs")
    for title, both in pairs.items():
        sides = list(zip(*both, strict=True))
        gaps = [marked(gap_of(side, name), bold=False) for name in (*requests, None) for side in sides]
        lines.append(row(title, *gaps, f"{fmean(abs(a.gap - b.gap) for a, b in both):.2f}", len(both)))
    return "\n".join(lines)


def _repaired(found: list[Cell]) -> Iterable[tuple[str, list[list[Cell]]]]:
    return ((title, sides) for title, sides in _sides(found, shared=False).items() if len(sides) == 2)


def _both_orders(found: list[Cell], own: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """Each of these cells with those of the other orders of its batches."""
    again = [c for c in found if c.place.order is not None]
    return [(a, b) for a in own for b in again if replace(b.place, order=None) == a.place]


def against(found: list[Cell]) -> str:
    """How much further than the default each row is with a repair: on all held-out runs that both have.

    Orders of a request and seed are averaged first; an interval is Student's t over requests and seeds.
    """
    held = {title: _with_orders(found, own) for title, (_, own) in _repaired(found)}
    default = {_run(cell): cell for cell in held.pop(DEFAULT, [])}
    rows = []
    for title, own in held.items():
        by: dict[tuple[str, int], list[tuple[float, float]]] = {}
        for cell in (c for c in own if _run(c) in default):
            by.setdefault(_where(cell), []).append((min(cell.gap, CAP), min(default[_run(cell)].gap, CAP)))
        if not by:
            continue
        gaps, defaults = ([fmean(pair[side] for pair in pairs) for pairs in by.values()] for side in (0, 1))
        each = [gap - other for gap, other in zip(gaps, defaults, strict=True)]
        runs = [gap > other for pairs in by.values() for gap, other in pairs]
        nearer = f"{sum(runs)} of {len(runs)}"
        means = f"{fmean(gaps):.2f}", f"{fmean(defaults):.2f}", f"{fmean(each):+.2f}"
        rows.append((fmean(each), row(title, *means, _interval(each), nearer)))
    return "\n".join([*header("", *AGAINST), *(line for _, line in sorted(rows))])


DEFAULT = "`hamu_q`"
AGAINST = ("gap", f"{DEFAULT} on the same runs", "further by", "95 % interval", f"{DEFAULT} nearer in")


def _with_orders(found: list[Cell], own: Sequence[Cell]) -> list[Cell]:
    return [*own, *(again for _, again in _both_orders(found, own))]


def _run(cell: Cell) -> tuple[str, int, int | None]:
    return cell.place.request, cell.place.seed, cell.place.order


def _interval(values: Sequence[float]) -> str:
    """Of their mean, over what they are values of."""
    if len(values) < 2:
        return "–"
    half = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return f"{fmean(values) - half:+.2f} to {fmean(values) + half:+.2f}"


def front(suites: Mapping[str, list[Cell]]) -> str:
    """What to run by default, what it gives and what it costs, beside the best baseline; held-out seeds."""
    found = {data: _on_all(_sides(own)) for data, own in suites.items()}
    rows: dict[str, list[tuple[str, list[Cell]]]] = {}
    for sides in found.values():
        own = {t: s for t, s in sides.items() if not t.startswith(("*", "`"))}
        for end, title in enumerate(
            ("the best tuned baseline, ended when it has forgotten", "the best tuned baseline with a repair")
        ):
            best = min(own, key=lambda t: mean_gap(c.gap for c in own[t][end]))
            rows.setdefault(title, []).append((f" ({best})", own[best][end]))
        for title in ("*nothing done*", "*retrained again*"):
            rows.setdefault(title, []).append(("", sides[title][0]))
        for end, title in enumerate(
            ("`hamu_q`, ended when it has forgotten", "**`hamu_q` with a repair: the default**")
        ):
            rows.setdefault(title, []).append(("", sides["`hamu_q`"][end]))
    columns = [f"{data}{what}" for data in suites for what in (", gap", ", seconds")]
    lines = header("", *columns)
    for title in FRONT:
        values = []
        for name, own in rows[title]:
            values.append(f"{mean_gap(c.gap for c in own):.2f}{name}")
            values.append(mean(own, _seconds, 1))
        lines.append(row(title, *values))
    return "\n".join(lines)


def _on_all(sides: dict[str, list[list[Cell]]]) -> dict[str, list[list[Cell]]]:
    """Those alone of the requests and seeds that every row has on every side."""
    common = set.intersection(*({_where(c) for c in side} for own in sides.values() for side in own))
    return {title: [[c for c in side if _where(c) in common] for side in own] for title, own in sides.items()}


FRONT = (
    "*nothing done*",
    "*retrained again*",
    "**`hamu_q` with a repair: the default**",
    "`hamu_q`, ended when it has forgotten",
    "the best tuned baseline with a repair",
    "the best tuned baseline, ended when it has forgotten",
)


def _seconds(cell: Cell) -> float | None:
    return cell.seconds if cell.cpu_seconds is None else cell.cpu_seconds


def _where(cell: Cell) -> tuple[str, int]:
    return cell.place.request, cell.place.seed
