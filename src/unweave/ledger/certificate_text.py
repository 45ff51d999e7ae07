"""A certificate, a cover and a rejection in words."""

from __future__ import annotations

from collections.abc import Sequence

from unweave.contract.reading import state_of
from unweave.ledger.chain import Entry, Json
from unweave.run.steps_log import counted

_TITLES = {"certificate": "Certificate", "cover": "Covered", "rejection": "Rejection"}


def text(entry: Entry, attestations: Sequence[Entry] = ()) -> str:
    """What a request ended in, for people, in Markdown, with the evidence about it that is on record."""
    found = entry.body
    lines = [f"# {_TITLES[entry.kind]}: request {found['request']}", ""]
    lines += [f"**{found['reason'] if entry.kind == 'rejection' else found['verdict']}**", ""]
    lines += [f"- time: {entry.time}", f"- entry {entry.number} of the ledger: `{entry.hash}`"]
    if entry.kind == "cover":
        lines += [_records(found["records"]), "- what became of them stands in the certificates named above"]
    if "weights" in found:
        lines += _details(found)
    for each in attestations:
        lines += ["", *_evidence(each)]
    return "\n".join(lines) + "\n"


def _details(found: Json) -> Sequence[str]:
    weights, claim = found["weights"], found["claim"]
    sheets = found["scores"]
    scored = [
        f"| {name} | {' | '.join(_number(sheet[name]) for sheet in sheets.values())} |"
        for name in next(iter(sheets.values()), {})
    ]
    clauses = [
        f"| {c['clause']} | {plain(c['limit'])} | {plain(c['measured'])} | {c['n'] or 'not read'} | {state_of(c)} |"
        for c in found["contract"]
    ]
    return [
        _records(found["records"]),
        f"- weights before: `{weights['before']}`",
        f"- weights after: `{weights['after']}`",
        *_files("model", found["model"]),
        *(_files("base, without the adapters", found["base"]) if "base" in found else ()),
        f"- recipe: {found['recipe']['file']}, SHA-256 `{found['recipe']['sha256']}`",
        f"- code: unweave {found['code']['unweave']}, SHA-256 `{found['code']['sha256']}`",
        f"- method: {found['method']}, {counted(found['steps'], 'step', 'steps')}, {found['seconds']:.1f} s",
        f"- claim: {claim['level'] or 'none'}. {claim['text']}",
        *(f"- against: {each}" for each in claim["against"]),
        *("", "| contract | limit | measured | n | |", "|---|---:|---:|---:|---|", *clauses),
        *("", f"| score | {' | '.join(sheets)} |", f"|---|{'---|' * len(sheets)}", *scored),
        *("", found["limits"]),
    ]


def _records(found: Json) -> str:
    """How many a request named, by how many ids, how many were still there, and with which requests the others went."""
    by = f" by {counted(found['ids'], 'id', 'ids')}" if "ids" in found else ""
    others = f"; the others were carried out with {', '.join(found['earlier'])}" if found.get("earlier") else ""
    return f"- records: {found['count']} (of {found['named']} named{by}), HMAC-SHA-256 `{found['hmac']}`{others}"


def _files(what: str, told: Json) -> Sequence[str]:
    """A file with its digest, or a folder with that of each of its files and one over them all."""
    files = told.get("files")
    over = "" if files is None else f", {counted(len(files), 'file', 'files')}"
    each = [f"  - {name}, SHA-256 `{digest}`" for name, digest in (files or {}).items()]
    return [f"- {what}: {told['file']}{over}, SHA-256 `{told['sha256']}`", *each]


def _evidence(entry: Entry) -> Sequence[str]:
    """Evidence over several trainings: its claim, its main scores, and where it lies."""
    found = entry.body
    claim, models = found["claim"], ", ".join(f"{count} {kind}" for kind, count in found["models"].items())
    scored = [f"| {name} | {_number(each)} | {_band(each['null'])} |" for name, each in found["scores"].items()]
    return [
        f"## Evidence of {found['created']}: {'against the claim' if claim['refuted'] else 'for the claim'}",
        "",
        f"**{claim['level'] or 'none'}: {claim['text']}**",
        "",
        *(f"- against: {each}" for each in claim["against"]),
        *(f"- missing for the next rung: {each}" for each in claim["missing"]),
        f"- models: {models}; the first unlearned one is the certified one",
        f"- margins: digest `{found['margins']['digest']}`, settled {found['margins']['settled']}",
        f"- time: {entry.time}",
        f"- entry {entry.number} of the ledger: `{entry.hash}`",
        f"- sums: {found['copy']['file']}, SHA-256 `{found['copy']['sha256']}`",
        f"- evidence.json, SHA-256 `{found['evidence']['sha256']}`",
        *("", "| score | value, n | null |", "|---|---|---|", *scored),
    ]


def _band(null: Json | None) -> str:
    """What an exact method scores."""
    if null is None or null["value"] is None:
        return "not known"
    ends = "" if null["low"] is None or null["high"] is None else f" ({null['low']:.4g} to {null['high']:.4g})"
    return f"{null['value']:.4g}{ends}"


def _number(score: Json) -> str:
    n = score["n"]
    sizes = ", ".join(f"{count} {what}" for what, count in n.items()) if isinstance(n, dict) else f"n {n}"
    if score["value"] is None:
        return f"undefined. {score['reason']}" if score.get("reason") else "undefined"
    ends = [f"{score[end]:.4g}" if score[end] is not None else "..." for end in ("low", "high")]
    interval = "" if ends == ["...", "..."] else f" ({' to '.join(ends)})"
    return f"{score['value']:.4g}{interval}, {sizes}"


def plain(value: float | None) -> str:
    """A number to four digits; JSON has none that is not finite."""
    return "not finite" if value is None else f"{value:.4g}"
