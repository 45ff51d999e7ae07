"""A certificate and a rejection in words."""

from __future__ import annotations

from collections.abc import Sequence

from unweave.ledger.chain import Entry, Json
from unweave.run.record import counted


def text(entry: Entry) -> str:
    """A certificate or a rejection for people, in Markdown."""
    found, certified = entry.body, entry.kind == "certificate"
    lines = [f"# {'Certificate' if certified else 'Rejection'}: request {found['request']}", ""]
    lines += [f"**{found['verdict'] if certified else found['reason']}**", ""]
    lines += [f"- time: {entry.time}", f"- entry {entry.number} of the ledger: `{entry.hash}`"]
    if "weights" in found:
        lines += _details(found)
    return "\n".join(lines) + "\n"


def _details(found: Json) -> Sequence[str]:
    records, weights, claim = found["records"], found["weights"], found["claim"]
    sheets = found["scores"]
    scored = [
        f"| {name} | {' | '.join(_number(sheet[name]) for sheet in sheets.values())} |"
        for name in next(iter(sheets.values()), {})
    ]
    clauses = [
        f"| {c['clause']} | {plain(c['limit'])} | {plain(c['measured'])} | {'met' if c['met'] else 'missed'} |"
        for c in found["contract"]
    ]
    return [
        f"- records: {records['count']} (of {records['named']} named), HMAC-SHA-256 `{records['hmac']}`",
        f"- weights before: `{weights['before']}`",
        f"- weights after: `{weights['after']}`",
        f"- model: {found['model']['file']}, SHA-256 `{found['model']['sha256']}`",
        f"- recipe: {found['recipe']['file']}, SHA-256 `{found['recipe']['sha256']}`",
        f"- code: unweave {found['code']['unweave']}, SHA-256 `{found['code']['sha256']}`",
        f"- method: {found['method']}, {counted(found['steps'], 'step', 'steps')}, {found['seconds']:.1f} s",
        f"- claim: {claim['level'] or 'none'}. {claim['text']}",
        *(f"- against: {each}" for each in claim["against"]),
        *("", "| contract | limit | measured | n | |", "|---|---:|---:|---:|---|", *clauses),
        *("", f"| score | {' | '.join(sheets)} |", f"|---|{'---|' * len(sheets)}", *scored),
        *("", found["limits"]),
    ]


def _number(score: Json) -> str:
    if score["value"] is None:
        return "undefined"
    interval = "" if score["low"] is None else f" ({score['low']:.4g} to {score['high']:.4g})"
    return f"{score['value']:.4g}{interval}, n {score['n']}"


def plain(value: float | None) -> str:
    """A number to four digits; JSON has none that is not finite."""
    return "not finite" if value is None else f"{value:.4g}"
