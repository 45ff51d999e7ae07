"""Write the Markdown tables of `docs/benchmarks.md` from the result files: `python benchmarks/compare/table.py`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

from cell import ENDS, RESULTS, Cell, best_settings, cells, folder, mean_gap
from held import against, front, orders, ranks, repairs
from problems import SUITES
from rows import TITLES, Group, gap_of, header, marked, mean, requested, row
from settings import HEADLINE, RATES, REPAIRED, REPAIRED_AS, STEPS, TUNED_ON, names, steps, trust

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"


def tuned(found: list[Cell]) -> str:
    """Gap by request and over all; baselines tuned for each request on its own; then every request with its scores."""
    found = [cell for cell in found if cell.place.order is None]
    groups = _tuned_groups(found)
    requests = requested(found)
    lines = [*_summary(groups, requests), "", "Baselines with a setting of their own for each request:", ""]
    lines += _own_settings(found, requests)
    for name in requests:
        lines += ["", f"**{name}**, the gaps seed by seed:", "", *_request(groups, name)]
    return "\n".join(lines)


def _own_settings(found: list[Cell], requests: Sequence[str]) -> list[str]:
    requests = [name for name in requests if name in TUNED_ON[found[0].place.data]]
    best = {name: best_settings(found, names(), (name,)) for name in requests}
    lines = header("", *requests)
    for method in names():
        cells_of = [(s, [c for c in found if _is(c, method, s, q)]) for q in requests if (s := best[q].get(method))]
        if len(cells_of) == len(requests):
            lines.append(row(method, *(f"{mean_gap(c.gap for c in own):.2f} ({s})" for s, own in cells_of)))
    return lines


def _is(cell: Cell, method: str, setting: str, request: str) -> bool:
    return (cell.place.method, cell.place.setting, cell.place.request) == (method, setting, request)


def _tuned_groups(found: list[Cell]) -> list[Group]:
    """Rows of the table: the ends of the scale, headline methods, and baselines with their chosen setting."""
    best = best_settings(found, names(), TUNED_ON[found[0].place.data])
    wanted = [(end, "none") for end in ENDS] + [(m, trust(m).name) for m in HEADLINE] + list(best.items())
    groups = []
    for method, setting in wanted:
        own = [c for c in found if (c.place.method, c.place.setting) == (method, setting)]
        title = TITLES.get(method, f"`{method}`" if method in HEADLINE else f"{method} ({setting})")
        groups += [(title, own)] if own else []
    return groups


def _summary(groups: Sequence[Group], requests: Sequence[str]) -> list[str]:
    lines = header("", *requests, "mean", "steps", "seconds", "gradients", "target met", "runs")
    least = _least(groups, [*requests, None])
    for title, own in groups:
        values = [gap_of(own, name) for name in (*requests, None)]
        marks = [marked(v, v == low and not title.startswith("*")) for v, low in zip(values, least, strict=True)]
        unlearned = not title.startswith("*")
        lines.append(
            row(
                title,
                *marks,
                *_cost(title, own),
                f"{sum(c.reached for c in own)}/{len(own)}" if unlearned else "",
                len(own),
            )
        )
    return lines


def _least(groups: Sequence[Group], requests: Sequence[str | None]) -> list[float | None]:
    methods = [own for title, own in groups if not title.startswith("*")]
    gaps = [[g for own in methods if (g := gap_of(own, name)) is not None] for name in requests]
    return [min(column, default=None) for column in gaps]


def _cost(title: str, own: Sequence[Cell]) -> list[str]:
    """Steps, seconds and gradients; of the ends of the scale the seconds alone."""
    if title.startswith("*"):
        return ["", mean(own, lambda c: c.seconds, 1), ""]
    timed = all(c.cpu_seconds is not None for c in own)
    seconds = mean(own, lambda c: c.cpu_seconds, 1) if timed else "–"
    return [mean(own, lambda c: c.attempts, 0), seconds, f"{mean(own, lambda c: c.passes / 1000, 0)} k"]


def _score(key: str) -> Callable[[Cell], float | None]:
    return lambda cell: cell.scores[key]


def _request(groups: Sequence[Group], name: str) -> list[str]:
    lines = header("", "gaps", "UA", "RA", "TA", "AUC", "steps", "seconds", "gradients")
    for title, every in groups:
        own = sorted((c for c in every if c.place.request == name), key=lambda c: c.place.seed)
        if not own:
            continue
        gaps = " / ".join(f"{c.gap:.2f}" for c in own)
        scores = [mean(own, _score(key), 3) for key in ("UA", "RA", "TA", "MIA_AUC")]
        lines.append(row(title, gaps, *scores, *_cost(title, own)))
    return lines


def step_lengths(found: list[Cell]) -> str:
    """By method: how runs ended and how far from retraining, with the trust region and at every fixed rate."""
    rows: dict[str, list[Group]] = {}
    data = found[0].place.data
    for setting in steps(list(STEPS), data):
        own = [c for c in found if (c.place.method, c.place.setting) == (setting.method, setting.name)]
        written = " ".join(f"{key} {value:g}" for key, value in setting.arguments.items())
        length = "trust region" if setting.step["name"] == "trust" else f"SGD {setting.step['lr']:g}"
        rows.setdefault(f"{setting.method} {written}".strip(), []).append((length, own))
    rows = {title: _common(groups) for title, groups in rows.items()}
    lengths = ["trust region", *(f"SGD {rate:g}" for rate in RATES[data])]
    lines = header("", *lengths)
    lines += [row(title, *(_ending(own) for _, own in groups)) for title, groups in rows.items()]
    lines += ["", "Over all rows; runs that neither diverged nor met the target have *stalled*:", ""]
    lines += header("", "runs", "diverged", "stalled", "target met", "steps to it", "seconds to it", "mean gap")
    for wanted in lengths:
        every = [cell for groups in rows.values() for length, own in groups if length == wanted for cell in own]
        lines += [row(wanted, *_ends(every))] if every else []
    return "\n".join(lines)


def _common(groups: Sequence[Group]) -> list[Group]:
    """The groups' cells of those requests and seeds that every group has: they compare like with like."""
    shared = set.intersection(*({(c.place.request, c.place.seed) for c in own} for _, own in groups))
    return [(title, [c for c in own if (c.place.request, c.place.seed) in shared]) for title, own in groups]


def _ending(own: Sequence[Cell]) -> str:
    """`gap (runs that met the target and did not diverge/runs)`, and a dagger for each run that diverged."""
    if not own:
        return "–"
    return f"{mean_gap(c.gap for c in own):.1f} ({sum(c.reached for c in own)}/{len(own)})" + "†" * sum(
        c.diverged for c in own
    )


def _ends(own: Sequence[Cell]) -> list[str]:
    reached = [c for c in own if c.reached and not c.diverged]
    diverged = sum(c.diverged for c in own)
    return [
        str(len(own)),
        str(diverged),
        str(len(own) - diverged - len(reached)),
        str(len(reached)),
        f"{median(c.attempts for c in reached):.0f}" if reached else "–",
        f"{median(c.seconds or 0.0 for c in reached):.1f}" if reached else "–",
        f"{mean_gap(c.gap for c in own):.1f}",
    ]


def _chosen_on(found: list[Cell]) -> list[Cell]:
    return [c for c in found if c.place.seed == 0 and c.place.setting.endswith(REPAIRED)]


TABLES: dict[str, Callable[[list[Cell]], str]] = {"tuned": tuned, "steps": step_lengths}
HELD: dict[str, Callable[[list[Cell]], str]] = {"repair": repairs, "ranks": ranks, "orders": orders, "against": against}
"""Those that need the cells too on which settings with a repair were chosen."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=folder, default=RESULTS, help="a folder")
    parser.add_argument("--page", type=Path, default=PAGE)
    chosen = parser.parse_args()
    page = chosen.page.read_text()
    every = {data: list(cells(chosen.results, data).values()) for data in SUITES}
    repaired = {data: own + _chosen_on(every.get(REPAIRED_AS.get(data, ""), [])) for data, own in every.items()}
    blocks = {
        f"{data}-{name}": partial(made, own[data])
        for tables, own in ((TABLES, every), (HELD, repaired))
        for data in every
        if own[data]
        for name, made in tables.items()
    }
    blocks["front"] = partial(front, {data: repaired[data] for data in ("digits", "cifar10-10k")})
    for name, made in blocks.items():
        start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        if start in page:
            before, rest = page.split(start, 1)
            page = f"{before}{start}\n{made()}\n\n{end}{rest.split(end, 1)[1]}"
    chosen.page.write_text(page)


if __name__ == "__main__":
    main()
