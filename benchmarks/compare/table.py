"""Write the Markdown tables of `docs/benchmarks.md` from the result files: `python benchmarks/compare/table.py`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean, median

from cell import ENDS, RESULTS, Cell, best_settings, cells, mean_gap
from problems import SUITES
from settings import HEADLINE, RATES, REPAIRED, REPAIRED_AS, STEPS, TUNED_ON, names, steps, trust

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks.md"
TITLES = {"original": "*nothing done*", "retrained": "*retrained*", "retrained_again": "*retrained again*"}
Group = tuple[str, list[Cell]]


def row(*values: object) -> str:
    return f"| {' | '.join(map(str, values))} |"


def header(*names: str) -> list[str]:
    return [row(*names), "|---|" + "---:|" * (len(names) - 1)]


def mean(found: Iterable[Cell], of: Callable[[Cell], float | None], digits: int) -> str:
    """The mean of what is defined, or a dash."""
    values = [value for cell in found if (value := of(cell)) is not None]
    return f"{fmean(values):.{digits}f}" if values else "–"


def tuned(found: list[Cell]) -> str:
    """Gap by request and over all; baselines tuned for each request on its own; then every request with its scores."""
    groups = _tuned_groups(found)
    requests = sorted({cell.place.request for cell in found}, key=["poison", "class", "random", "mix"].index)
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
        values = [_gap_of(own, name) for name in (*requests, None)]
        marks = [_marked(v, v == low and not title.startswith("*")) for v, low in zip(values, least, strict=True)]
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
    gaps = [[g for own in methods if (g := _gap_of(own, name)) is not None] for name in requests]
    return [min(column, default=None) for column in gaps]


def _gap_of(own: Sequence[Cell], request: str | None) -> float | None:
    chosen = [c for c in own if request in (None, c.place.request)]
    return mean_gap(c.gap for c in chosen) if chosen else None


def _marked(value: float | None, bold: bool) -> str:
    text = "–" if value is None else f"{value:.2f}"
    return f"**{text}**" if bold else text


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


def repairs(found: list[Cell]) -> str:
    """Each method without a repair and with one, on the seeds that nothing was chosen on; ends of the scale first."""
    rows = _sides(found)
    ran = {c.place.request for title, sides in rows.items() if not title.startswith("*") for own in sides for c in own}
    requests = sorted(ran, key=["poison", "class", "random", "mix"].index)
    lines = header("", *(f"{name}{end}" for name in (*requests, "mean") for end in ("", ", repaired")), "steps", "runs")
    for title, sides in rows.items():
        own = [[c for c in side if c.place.request in ran] for side in sides]
        gaps = [[_marked(_gap_of(side, name), bold=False) for side in own] for name in (*requests, None)]
        steps = " / ".join(mean(side, lambda c: c.attempts, 0) for side in own) if len(own) > 1 else ""
        values = [value for pair in gaps for value in (pair if len(pair) > 1 else (pair[0], ""))]
        lines.append(row(title, *values, steps, len(own[0])))
    return "\n".join(lines)


def _sides(found: list[Cell]) -> dict[str, list[list[Cell]]]:
    """The held-out cells of each row, without a repair and with one; of the ends of the scale the one."""
    held = [c for c in found if c.place.seed != 0 and c.place.order is None]
    best = [best_settings(found, names(repair), TUNED_ON[found[0].place.data]) for repair in (False, True)]
    rows = {TITLES[end]: [(end, "none")] for end in ENDS if end != "retrained"}
    rows |= {f"`{m}`": [(m, trust(m).name), (m, trust(m).repaired().name)] for m in HEADLINE}
    rows |= {m: [(m, of[m]) for of in best] for m in names() if all(m in of for of in best)}
    sides = {t: [[c for c in held if (c.place.method, c.place.setting) == p] for p in of] for t, of in rows.items()}
    sides = {title: own for title, own in sides.items() if all(own)}
    shared = set.intersection(*({_where(c) for c in own[1]} for own in sides.values() if len(own) > 1))
    return {t: [[c for c in side if _where(c) in shared] for side in own] for t, own in sides.items()}


def ranks(found: list[Cell]) -> str:
    """Where each method stands among all, without a repair and with one, on the seeds that nothing was chosen on."""
    rows = {title: sides for title, sides in _sides(found).items() if len(sides) == 2}
    held = {(title, end): {_where(c): c.gap for c in own} for title, s in rows.items() for end, own in enumerate(s)}
    places = sorted(set.intersection(*(set(gaps) for gaps in held.values())))
    order = {place: sorted(gaps[place] for gaps in held.values()) for place in places}
    requests = sorted({name for name, _ in places}, key=["poison", "class", "random", "mix"].index)
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
    requests = ("poison", "class", "random")
    lines = header("", *(f"{name}{end}" for name in (*requests, "mean") for end in ("", ", other order")), "apart")
    for title, (_, own) in ((t, s) for t, s in _sides(found).items() if len(s) == 2):
        method, setting = own[0].place.method, own[0].place.setting
        again = [
            c for c in found if c.place.order is not None and (c.place.method, c.place.setting) == (method, setting)
        ]
        pairs = [(a, b) for a in own for b in again if _where(a) == _where(b)]
        if not pairs:
            continue
        of = {name: [p for p in pairs if p[0].place.request == name] for name in requests} | {"mean": pairs}
        gaps = (
            mean(side, lambda c: c.gap, 2) for both in of.values() for side in ([p[i] for p in both] for i in (0, 1))
        )
        lines.append(row(title, *gaps, f"{fmean(abs(a.gap - b.gap) for a, b in pairs):.2f}"))
    return "\n".join(lines)


def front(suites: Mapping[str, list[Cell]]) -> str:
    """What to run by default, what it gives and what it costs, beside the best baseline; held-out seeds."""
    found = {data: _sides(own) for data, own in suites.items()}
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


def _chosen_on(found: list[Cell]) -> list[Cell]:
    return [c for c in found if c.place.seed == 0 and c.place.setting.endswith(REPAIRED)]


TABLES: dict[str, Callable[[list[Cell]], str]] = {
    "tuned": tuned,
    "steps": step_lengths,
    "repair": repairs,
    "ranks": ranks,
    "orders": orders,
}
CHOSEN = ("repair", "ranks", "orders")  # those that need the cells on which settings with a repair were chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    chosen = parser.parse_args()
    page = chosen.page.read_text()
    every = {data: list(cells(chosen.results, data).values()) for data in SUITES}
    repaired = {data: own + _chosen_on(every.get(REPAIRED_AS.get(data, ""), [])) for data, own in every.items()}
    blocks = {
        f"{data}-{name}": partial(made, (repaired if name in CHOSEN else every)[data])
        for data, own in every.items()
        if own
        for name, made in TABLES.items()
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
