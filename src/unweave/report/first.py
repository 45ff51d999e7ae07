"""The first page of a run, of evidence and of a sequence: what whoever signs reads, and signs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

from unweave.audit import standing
from unweave.audit.claims import ITEMS, UNDECIDED
from unweave.audit.standing import SILENT, Standing, upper
from unweave.contract import State, overall, state_of
from unweave.contract.clauses import SHARES
from unweave.contract.reading import plainly, worst
from unweave.evaluation.figures import lasting, plain
from unweave.modalities import Modality, of_source
from unweave.report import contract
from unweave.report.page import First, Point, Verdict
from unweave.report.verdict import Shown, about, objections

Json = Mapping[str, Any]
UNFINISHED = {
    "interrupted": "The run is not finished.",
    "diverged": "The run failed: its model gives no finite answers any more.",
}
OTHER = "The tests are about other models of the same kind, not about this one."
UNTESTED = "Whether the data can still be found in the model was tested by nothing but what steered the run."
NO_LIMITS = "No limits were agreed."
SAME = "The model is what it was before: no weight changed."
TESTS = "tests over several trainings, also by attackers who try to bring the data back"
REFERENCE = "a model that was retrained without the data, to compare with"
AGREE = "limits that are agreed before: how much worse the model may get, and when enough is forgotten"
CLEAR = "another method, other limits, or retraining: what speaks against it has to be cleared first"
STRONGER, MODEL = "What would make it stronger", "Which model"


def of_run(
    summary: Json, scores: Json, shown: Shown, evidence: Json | None, kind: Modality, confidence: float | None
) -> First:
    """Of a run, with the evidence that was collected about it.

    Args:
        summary: of `summary.json`.
        scores: of `scores.json`.
        shown: the strongest claim.
        evidence: of `evidence.json`, if there is any.
        kind: of the data.
        confidence: of the contract; None where that is not known.
    """
    clauses, sheets, names = summary["contract"], scores["models"], kind.front.figures
    own, changed = evidence is None or about(summary, evidence), summary["model_before"] != summary["model_after"]
    agreed = overall(clauses) if clauses else None
    state = standing.standing(shown.level, shown.against, agreed, done=summary["status"] == "done" and own)
    open_ = [] if own else [OTHER]
    open_ += [UNFINISHED[summary["status"]]] if summary["status"] in UNFINISHED else []
    open_ += [f"So few examples do not show this: {plainly(row)}." for row in clauses if state_of(row) == "undecided"]
    open_ += [] if clauses else [NO_LIMITS]
    if not any(row["side"] == "keep" for row in clauses):
        worse = standing.worse(sheets, names)
        open_ += [f"The model got worse, and nobody had said by how much it may: {text}." for text in worse]
    open_ += [UNTESTED] if shown.level in (None, "E0") else []
    short = [row for row in clauses if state_of(row) == "missed"]
    missed = [Point(f"A limit was not kept: {_read(row)}.", contract.TITLE) for row in short]
    points = {
        "refuted": [
            *missed,
            *(each for each in objections(evidence, shown.against) if not (missed and _of_limits(each.text))),
        ],
        "not shown": [Point(text) for text in open_],
        "shown": _looked(shown),
    }[state]
    points = [Point(SAME) if not changed and each.text == ITEMS["ran"].denies else each for each in points]
    if warned := len(summary["warnings"]):
        points.append(Point(f"The run warns of {'something' if warned == 1 else f'{warned} things'}: see the details."))
    spent = f"it took {lasting(summary['seconds'])}"
    if (retraining := summary["retrain_seconds"]) is not None:
        spent += f"; retraining without the data took {lasting(retraining)}"
    asks = shown.asks if clauses else [AGREE, *(text for text in shown.asks if not _of_limits(text))]
    asks = [*asks, *([] if "retrained" in sheets else [REFERENCE])]
    asks += [] if evidence is not None or not kind.over_trainings else [TESTS]
    tested = "" if evidence is None else f" Tests used {_models(evidence['runs'])}."
    return First(
        state,
        points,
        [
            Verdict(
                "What was asked",
                standing.asked(
                    *(summary["forget"], summary["retain"], summary["request"], kind.examples, summary.get("people"))
                )
                + (" The limits that were agreed:" if clauses else f" {NO_LIMITS}"),
                points=standing.limits(clauses),
            ),
            Verdict("What was done", f"{standing.done(summary['method'], summary['steps'], changed=changed)}{tested}"),
            Verdict("What was found", "", points=standing.forgotten(sheets, names) or ["see the details"]),
            Verdict("What it cost", "", points=[*standing.costs(sheets, names, clauses, confidence), spent]),
            _stronger(state, asks),
            *_says(state, _measured(evidence) or standing.by_scores(sheets, names)),
            Verdict(
                MODEL,
                f"The one whose fingerprint (SHA-256) begins with {_mark(summary['model_after'])}; in full below.",
            ),
        ],
    )


def dated(created: str) -> str:
    """When a page's numbers were made, to the minute: two of one day are told apart."""
    return f"{created.replace('T', ', ')[:17]} UTC"


def of_evidence(found: Json, shown: Shown | None, titles: Set[str]) -> First:
    """Of evidence alone, without a run; links lead to sections that are there."""
    request, runs = found["request"], found["runs"]
    agreed = [clause for made in runs["models"] if made["kind"] == "unlearned" for clause in made.get("contract", ())]
    kind = of_source(request["data"])
    if shown is None:
        state: Standing = "not shown"
        points = [Point("The tests are not finished.")]
    else:
        state = standing.standing(shown.level, shown.against, overall(agreed) if agreed else None)
        against = [each if each.section in titles else Point(each.text) for each in objections(found, shown.against)]
        unshown = [Point(f"Missing: {text}.") for text in shown.asks]
        points = {"refuted": against, "not shown": unshown, "shown": _looked(shown)}[state]
    gaps = ((found.get("gaps") or {}).get("unlearned") or {}).get("metrics", {})
    cost = found.get("cost") or {}
    spent = {name: lasting(cost["seconds"][name]) for name in ("unlearned", "retrained") if _timed(cost, name)}
    time = [f"it took {spent['unlearned']}"] if "unlearned" in spent else []
    time += [f"retraining without the data took {spent['retrained']}"] if "retrained" in spent else []
    sides = {side: [_apart(name, gap) for name, gap in gaps.items() if _kept(name) == side] for side in (False, True)}
    did = standing.done(found["method"]["name"], found["method"]["steps"], most=True)
    own = found.get("own_run")
    which = "Models made for these tests. For the one that is to be signed off, ask for tests of that very model."
    return First(
        state,
        points,
        [
            Verdict(
                "What was asked",
                standing.asked(
                    request["forget"], request["retain"], request["text"], kind.examples if kind else "examples"
                )
                + (" The limits that were agreed:" if agreed else f" {NO_LIMITS}"),
                points=standing.limits(_each_once(agreed)),
            ),
            Verdict(
                "What was done",
                f"{did} Tests used {_models(runs)}.",
            ),
            Verdict("What was found", "", points=sides[False] or ["see the details"]),
            Verdict("What it cost", "", points=[*sides[True], *time] or ["see the details"]),
            _stronger(state, [] if shown is None else shown.asks),
            *_says(state, _measured(found) or "what the details say"),
            Verdict(
                MODEL,
                which
                if own is None
                else f"The tests are of the one whose fingerprint (SHA-256) begins with {_mark(own['after'])} and of "
                "others made alike; that one alone can be signed for.",
            ),
        ],
    )


def of_sequence(sequence: Json) -> First:
    """Of several requests in a row, each from the model that the one before left."""
    requests = sequence["requests"]
    lost = {test["id"] for test in requests[-1]["retests"] if test["regressed"]} if requests else set()
    states: dict[str, State] = {each["id"]: state_of(each) for each in requests}
    ran = sequence["status"] == "done"
    lost_: list[State] = ["missed"] if lost else []
    agreed = worst([*states.values(), *lost_]) if states else None
    state = standing.standing(None, [], agreed, done=ran)  # no test but what steered it
    points = [Point(f"Request {name}: a limit was not kept.") for name, each in states.items() if each == "missed"]
    points += [Point(f"Request {name}: what it had reached was undone by a later one.") for name in sorted(lost)]
    if state == "not shown":
        points = [] if ran else [Point("The requests are not all carried out.")]
        few = [name for name, each in states.items() if each == "undecided"]
        points += [Point(f"Request {name}: so few examples do not show that every limit is kept.") for name in few]
        points.append(Point(UNTESTED))
    count, examples = len(requests), sum(each["forget"] for each in requests)
    met = sum(each == "met" for each in states.values())
    spent = lasting(sum(each["seconds"] for each in requests))
    left = plain(requests[-1]["left"], "share") if requests else "all"
    return First(
        state,
        points,
        [
            Verdict(
                "What was asked",
                f"Bound the influence of {examples:,} examples on the model, in {count} requests, and keep it working "
                "on all others.",
            ),
            Verdict(
                "What was done",
                f"{count} requests were carried out one after the other, each on the model that the one before left; "
                f"after each, all earlier ones were tested again. {sum(each['steps'] for each in requests):,} steps.",
            ),
            Verdict("What was found", f"Requests that kept every limit: {met} of {count}; undone later: {len(lost)}."),
            Verdict("What it cost", "", points=[f"{left} of the agreed room for loss is left", f"it took {spent}"]),
            _stronger(state, [TESTS, "the page of each request: each lies in a folder that the details name"]),
            *_says(state, "the limits that were agreed, against the first model"),
        ],
    )


def _each_once(clauses: Sequence[Json]) -> list[Json]:
    """Clauses of several runs of one contract, each with the worst that became of it."""
    found: dict[str, list[Json]] = {}
    for each in clauses:
        found.setdefault(plainly(each), []).append(each)
    return [{**same[0], "state": worst(map(state_of, same))} for same in found.values()]


def _looked(shown: Shown) -> list[Point]:
    """What supports a claim, and how much of what was looked at does not say."""
    found = [f"{upper(text)}." for text in shown.looked]
    if undecided := sum(text.endswith(f"({UNDECIDED})") for text in shown.asks):
        what = "question was looked at and is" if undecided == 1 else "questions were looked at and are"
        found.insert(0, f"Open: {undecided} {what} undecided: see below, what would make it stronger.")
    return [Point(text) for text in found]


def _stronger(state: Standing, asks: Sequence[str]) -> Verdict:
    found = [*([CLEAR] if state == "refuted" else []), *dict.fromkeys(asks)]
    return Verdict(STRONGER, "Ask for:" if found else "Nothing that these tests know of.", points=found)


def _says(state: Standing, measured: str) -> list[Verdict]:
    return [
        Verdict("What this page says", standing.bounded(state, measured)),
        Verdict("What it does not say", SILENT),
    ]


def _read(row: Json) -> str:
    """A clause that was missed, and what was measured."""
    readings = [row[place] for place in ("final", "guard") if row.get(place)]
    read = next((each for each in readings if state_of(each) == "missed"), None)
    if read is None:
        return plainly(row)
    share = row.get("metric") in (*SHARES, "generated", "retrained")
    return f"{plainly(row)}; measured: {plain(read['measured'], 'share' if share else '')}"


def _of_limits(text: str) -> bool:
    """Whether it is about the limits that were agreed, each of which is said by itself."""
    return any(part in text for name in ("budget", "utility") for part in (ITEMS[name].denies, ITEMS[name].says))


def _models(runs: Json) -> str:
    return (
        f"{runs['original']} original models, {runs['unlearned']} after unlearning, and {runs['retrained']} retrained "
        "without the data"
    )


def _measured(evidence: Json | None) -> str:
    gaps = ((evidence or {}).get("gaps") or {}).get("unlearned")
    return "" if evidence is None or not gaps else standing.by_gaps(gaps["metrics"], evidence["runs"])


def _apart(name: str, gap: Json) -> str:
    """How far a score is from that of retrained models."""
    if gap["value"] is None:
        return f"{standing.said(name)}: not known"
    ends = "" if gap["low"] is None else f" (95 %: {gap['low']:+.1f} to {gap['high']:+.1f})"
    return f"{standing.said(name)}: {gap['value'] + 0.0:+.1f} points against retrained models{ends}"


def _kept(name: str) -> bool:
    """Whether a score is about what is to be kept."""
    return name in ("RA", "RA_drawn") or not standing.of_forgetting(name)


def _timed(cost: Json, name: str) -> bool:
    return bool(cost.get("seconds")) and cost["seconds"].get(name) is not None


def _mark(sha256: object) -> str:
    return str(sha256)[:16]
