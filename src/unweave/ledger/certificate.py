"""What a request ended in, as it is put on record and told: a certificate, or the reason why there is none."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from unweave.audit import standing
from unweave.audit.claims import Claim
from unweave.audit.standing import STANDINGS, Standing, upper
from unweave.contract.keeper import HARD, SPENT
from unweave.contract.reading import overall, state_of
from unweave.evaluation.figures import lasting
from unweave.ledger import files
from unweave.ledger.chain import Entry, Json
from unweave.ledger.files import read_json
from unweave.modalities import MODALITIES
from unweave.run import sequence
from unweave.run.environment import code_sha256
from unweave.run.steps_log import counted

_TITLES = {"certificate": "Certificate", "cover": "Covered", "rejection": "Rejection"}


def text(entry: Entry, attestations: Sequence[Entry] = ()) -> str:
    """What a request ended in, for people, in Markdown: a few rows in plain words, and the details below them."""
    found = entry.body
    lines = [f"# {_TITLES[entry.kind]}: request {found['request']}", ""]
    if "weights" in found:
        lines += [*_first(entry, attestations), "", "## Details", ""]
    lines += [f"**{found['reason'] if entry.kind == 'rejection' else found['verdict']}**", ""]
    lines += [f"- time: {entry.time}", f"- entry {entry.number} of the ledger: `{entry.hash}`"]
    if entry.kind == "cover":
        lines += [_records(found["records"]), "- what became of them stands in the certificates named above"]
    if "weights" in found:
        lines += _details(found)
    for each in attestations:
        lines += ["", *_evidence(each)]
    return "\n".join(lines) + "\n"


def state(entry: Entry, attestations: Sequence[Entry] = ()) -> Standing:
    """In which of the three states a certificate or a rejection leaves its reader."""
    found = entry.body
    claim = (attestations[-1] if attestations else entry).body["claim"]
    against = [each for said in (found, *(other.body for other in attestations)) for each in said["claim"]["against"]]
    if entry.kind == "rejection":
        failed = found.get("cause") in _FAILED
        return standing.standing(None, against, "missed" if failed else overall(found["contract"]), done=False)
    agreed = overall(found["contract"]) if found["contract"] else None
    return standing.standing(claim["level"], against, agreed, done=found.get("shown", True))


def _first(entry: Entry, attestations: Sequence[Entry]) -> Sequence[str]:
    """What whoever signs reads: the state in a sentence, and a few rows."""
    found, last = entry.body, (attestations[-1] if attestations else entry).body
    where, records, sheets = state(entry, attestations), found["records"], found["scores"]
    words, names = STANDINGS[where], next((n for n in _figures() if _any(sheets, n)), ())
    against = [each for said in (found, *(other.body for other in attestations)) for each in said["claim"]["against"]]
    missing = [re.sub(r"^that (.*) \((?:was|is) .*", r"evidence that \1", each) for each in last["claim"]["missing"]]
    if not attestations:
        missing.append("tests over several trainings, by attackers who try to bring the data back")
    limits = "; ".join(standing.limits(found["contract"])) or "no limits were agreed"
    by = f"named by {counted(records['ids'], 'id', 'ids')}" if "ids" in records else ""
    if "untrained" in records:
        by = f"of {records['named']} {by or 'named'}; on {records['untrained']} of them the model was never trained"
    asked = standing.asked(records["count"], None, by, "records", records.get("people"))
    changed = found["weights"]["before"] != found["weights"]["after"]
    did = standing.done(found["method"], found["steps"], changed=changed)
    rows = {
        "What was asked": f"{asked} {upper(limits)}.",
        "What was done": f"{did} It took {lasting(found['seconds'])}.",
        "What was found": "; ".join([*standing.forgotten(sheets, names), *against]) or "see the details",
        "What it cost": "; ".join(standing.costs(sheets, names, found["contract"])) or "see the details",
        "What would make it stronger": "; ".join(missing) or "nothing that these tests know of",
        "What this says": standing.bounded(where, standing.by_scores(sheets, names)),
        "What it does not say": standing.SILENT,
    }
    table = [f"| {name} | {said.replace('|', '/')} |" for name, said in rows.items()]
    return [f"**{words.head}.** {words.says} {words.then}", "", "| | |", "|---|---|", *table]


def _figures() -> Iterator[tuple[str, ...]]:
    return (kind.front.figures for kind in MODALITIES.values())


def _any(sheets: Json, names: Sequence[str]) -> bool:
    return any(name in sheet for sheet in sheets.values() for name in names)


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
    by += f"; on {found['untrained']} of them no model was trained" if "untrained" in found else ""
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


LIMITS = (
    "Approximate unlearning bounds the influence of these records on the weights, as far as the scores and the claim "
    "say. It does not prove that nothing of them is left. Technical evidence, not legal advice."
)
_FAILED = ("infeasible", "missed", "undone")
"""Causes that say that a limit was not kept; the others, that nothing came of it."""
_CAUSES = {"infeasible": "infeasible", "missed": "not reached"}
_SCORES = ("value", "low", "high", "n", "unit")


@dataclass(frozen=True)
class Carried:
    """One request after its batch, as its run directory and the sequence tell it.

    Args:
        request: its id.
        batch: in which it was carried out.
        entry: its part of `sequence.json`.
        retest: its forget clauses on the last model of the batch.
        first, last: run directories; the last is another one where the request was followed by a repair.
        short: how many of its records an earlier request of the batch had taken that was rejected.
        of: records and requests that one run was for; None: for this request alone.
    """

    request: str
    batch: str
    entry: Json
    retest: Json
    first: Path
    last: Path
    short: int = 0
    of: tuple[int, int] | None = None

    @property
    def status(self) -> str:
        """How the last run ended."""
        return str(read_json(self.last / "summary.json")["status"])

    @property
    def reason(self) -> tuple[str, str] | None:
        """Why there is no certificate: the cause in a word, and in words; None where there is one."""
        if self.status != "done":
            return self.status, f"the run ended as {self.status}: {self.entry['reason']}"
        if missed := [_missed(clause) for clause in self.clauses if state_of(clause) == "missed"]:
            cause = "infeasible" if self.entry["reason"] in (HARD, SPENT) else "missed"
            taken = counted(self.entry["steps"], "step", "steps")
            said = f"{_CAUSES[cause]} under this contract: {self.entry['reason']} after {taken}"
            return cause, f"{said}; {'; '.join(missed)}"
        if state_of(self.retest) == "missed":
            lost = "; ".join(_missed(clause) for clause in self.retest["clauses"] if state_of(clause) == "missed")
            if self.retest["regressed"]:
                return "undone", f"undone by a later request of the batch: {lost}"
            return "missed", f"not reached under this contract, once all of its examples were read: {lost}"
        if self.short:
            return "shared", f"{self.short} of its records are also those of an earlier request, which was rejected"
        return None

    @property
    def verdict(self) -> str:
        """What a certificate says first."""
        same = self.weights["before"] == self.weights["after"]
        told = "contract met, as it was before: no weight changed" if same else "contract met"
        if unshown := self.unshown:
            told = f"carried out, not shown: {'; '.join(unshown)}"
        return told if self.of is None else f"{told}, on {self.of[0]} records of {self.of[1]} requests together"

    @property
    def unshown(self) -> list[str]:
        """What so few examples do not decide, or that nothing was asked of what is forgotten; empty: all is shown."""
        clauses = list(map(_clause, self.clauses))
        found = [
            f"{c['clause']} is undecided on {c['n'] or 'no'} examples" for c in clauses if state_of(c) == "undecided"
        ]
        tested = [c for c in self.retest["clauses"] if state_of(c) == "undecided"] if not found else []
        found += [f"{c['clause']} is undecided on {c['n']} examples, once all were read" for c in tested]
        asked = any(clause["side"] == "forget" for clause in clauses)
        return found if asked else [*found, "no clause asks what was forgotten"]

    @property
    def clauses(self) -> list[Json]:
        """The contract, as the last run that touched it left it: keep clauses after a repair, if there was one."""
        sides = {"forget": self.first, "keep": self.last}
        return [
            c
            for side, place in sides.items()
            for c in read_json(place / "summary.json")["contract"]
            if c["side"] == side
        ]

    @property
    def files(self) -> list[Path]:
        """What it was made of, beside model and recipe: clauses and scores as the runs and the batch left them."""
        places = dict.fromkeys((self.first, self.last))
        found = [place / name for place in places for name in ("summary.json", "scores.json", "steps.jsonl")]
        whole = [self.first.parent / name for name in ("recipe.yaml", sequence.FILE)]
        return [path for path in (*found, *whole) if path.is_file()]

    @property
    def weights(self) -> Json:
        """SHA-256 over names, shapes, types and values of all tensors, before and after."""
        before, after = (read_json(place / "summary.json") for place in (self.first, self.last))
        return {"before": before["model_before"], "after": after["model_after"]}


def body(carried: Carried, folder: Path, records: Json, claim: Claim) -> tuple[str, Json]:
    """Kind and body of the entry that a request ends in.

    Args:
        carried: the request.
        folder: of the ledger, which all paths are relative to.
        records: how many the request named, how many were still there, and their digest under the key.
        claim: what the evidence supports.
    """
    reason, summary = carried.reason, read_json(carried.last / "summary.json")
    issued = {"verdict": carried.verdict, "shown": not carried.unshown}
    end = {"cause": reason[0], "reason": reason[1]} if reason else issued
    return "rejection" if reason else "certificate", {
        "request": carried.request,
        "batch": carried.batch,
        **end,
        "claim": {
            "level": claim.level,
            "text": claim.text,
            "against": list(claim.against),
            "missing": list(claim.missing),
        },
        "records": records,
        "weights": carried.weights,
        "model": files.model(carried.last / "model", folder),
        **_base(carried.last / "model", folder),
        "recipe": files.told(carried.last / "recipe.yaml", folder),
        "files": [files.told(path, folder) for path in carried.files],
        "code": {"unweave": summary["environment"]["unweave"], "sha256": code_sha256()},
        "environment": summary["environment"],
        "method": summary["method"],
        "steps": carried.entry["steps"],
        "seconds": carried.entry["seconds"],
        "contract": [_clause(clause) for clause in carried.clauses],
        "retest": carried.retest,
        "scores": _scores(carried.last / "scores.json"),
        "limits": LIMITS,
    }


def _base(model: Path, folder: Path) -> Json:
    """The model that adapters are for, if it lies in a folder; no digest tells of a name on the hub."""
    adapter = model / files.ADAPTER
    name = read_json(adapter).get("base_model_name_or_path") if adapter.is_file() else None
    return {"base": files.told(Path(name), folder)} if name and Path(name).is_dir() else {}


def _clause(clause: Json) -> Json:
    """A clause with the reading that decides: the one whose state is the clause's, else that of the final set."""
    readings = [clause[place] for place in ("final", "guard") if clause[place] is not None]
    state = state_of(clause)
    told = next((each for each in readings if state_of(each) == state), readings[0] if readings else {})
    kept = {key: clause[key] for key in ("side", "clause", "group", "limit", "met")} | {"state": state}
    return kept | {key: told.get(key) for key in ("measured", "bound", "n")}


def _missed(clause: Json) -> str:
    found = _clause(clause) if "side" in clause else clause
    return f"{found['clause']}: measured {plain(found['measured'])}, limit {plain(found['limit'])}"


def _scores(path: Path) -> Json:
    return {
        name: {score: _score(found) for score, found in sheet.items()}
        for name, sheet in read_json(path)["models"].items()
    }


def _score(found: Json) -> Json:
    """A score, and why it is undefined if it is."""
    why = {"reason": found["reason"]} if found["value"] is None and found.get("reason") else {}
    return {key: found[key] for key in _SCORES} | why
