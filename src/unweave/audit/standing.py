"""The three states in which pages and certificates leave their reader, and the sentences that go with them.

The words are here and nowhere else: whoever reads a page, a certificate and a list of runs reads the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from unweave.audit.every_metric import METRICS
from unweave.contract.clauses import SHARES
from unweave.contract.reading import State, plainly, state_of
from unweave.evaluation.figures import change, difference, plain, unit, value
from unweave.evaluation.metric import Metric
from unweave.methods import PAPERS
from unweave.modalities import MODALITIES

Json = Mapping[str, Any]
Standing = Literal["shown", "not shown", "refuted"]


@dataclass(frozen=True)
class Words:
    """Of one state.

    Attributes:
        head: in a word.
        says: what it means; the points that it rests on follow.
        then: what whoever signs does next.
    """

    head: str
    says: str
    then: str


STANDINGS: Mapping[Standing, Words] = {
    "shown": Words(
        "Shown",
        "The influence of this data on the model is bounded, as far as was tested: every limit that was agreed is "
        "kept, and no test that was tried speaks against it.",
        "It can be signed for what stands below, and for no more.",
    ),
    "not shown": Words(
        "Not shown",
        "It is not known whether the influence of this data on the model is bounded as was asked: what was agreed and "
        "tested does not suffice to say.",
        "Do not sign yet. Ask for what is missing.",
    ),
    "refuted": Words(
        "Refuted",
        "The influence of this data on the model is not bounded: a limit that was agreed was not kept, or a test found "
        "more of the data than chance would.",
        "Do not sign. Ask for another method, tested anew, or for a model retrained without the data.",
    ),
}
SILENT = (
    "It does not say that nothing of the data is left in the model: no test can. It is about the weights of this model "
    "alone; source files, backups, copies and other models still hold what they hold. It is technical evidence, not "
    "legal advice."
)
"""What no page and no certificate says."""


def standing(level: str | None, against: Sequence[str], contract: State | None, *, done: bool = True) -> Standing:
    """The state, of a claim and of what became of a contract.

    Args:
        level: "E0" to "E4"; None without a claim.
        against: what speaks against the method.
        contract: the worst of its clauses; None without any.
        done: the run went to its end, and what was tested is the model in question.
    """
    if against or contract == "missed":
        return "refuted"
    return "shown" if done and level not in (None, "E0") and contract != "undecided" else "not shown"


def said(name: str) -> str:
    """The name of a score in plain words, as its metric has it; of one that nobody knows, its own without marks."""
    metric = _metric(name)
    return metric.plain if metric is not None and metric.plain else name.replace("_", " ")


def upper(text: str) -> str:
    """With a capital."""
    return text[:1].upper() + text[1:]


def asked(forget: int, retain: int | None, request: str, noun: str = "examples", people: int | None = None) -> str:
    """What was asked, in words.

    Args:
        forget: how many examples.
        retain: how many others; None where that is not known.
        request: which ones, in words.
        noun: what they are called.
        people: whose they are; None where that is not known.
    """
    of = "" if people is None else f" of {people:,} {'person' if people == 1 else 'people'}"
    what = noun.removesuffix("s") if forget == 1 else noun
    which = f" ({request})" if request not in ("", f"{forget} examples") else ""  # what a call from Python says
    kept = "" if retain is None else f", and keep it working on the other {retain:,}"
    return f"Bound the influence of {forget:,} {what}{of}{which} on the model{kept}."


def limits(clauses: Sequence[Json]) -> list[str]:
    """What was agreed, a clause each, and whether it was kept."""
    words: Mapping[State, str] = {"met": "kept", "missed": "NOT KEPT", "undecided": "not shown"}
    return [f"{plainly(row)}: {words[state_of(row)]}" for row in clauses]


def done(method: str, steps: int, *, changed: bool = True, most: bool = False) -> str:
    """What was done, by whose method: its paper, where the catalogue has it."""
    papers = [PAPERS[name].rsplit(", arXiv:", 1)[0] for name in method.split(" over ") if name in PAPERS]
    by = f"a published method ({'; '.join(dict.fromkeys(papers))})" if papers else "a method of one's own"
    taken = f"{'at most ' if most else ''}{steps:,} step{'' if steps == 1 else 's'}"
    if not changed:
        return f"After {taken} of {by} the model is what it was before: no weight changed."
    return f"The weights of the trained model were changed in {taken} by {by}."


def forgotten(sheets: Mapping[str, Json], names: Sequence[str]) -> list[str]:
    """What the models know of the data to forget: before, after, and retrained where there is such a model."""
    found = []
    before, after, retrained = (sheets.get(name, {}) for name in ("original", "unlearned", "retrained"))
    for name in (each for each in names if of_forgetting(each) and _known(before, after, name=each)):
        exact = f"; {value(retrained[name])} in a model retrained without it" if _known(retrained, name=name) else ""
        found.append(f"{said(name)}: {value(before[name])} before, {value(after[name])} after{exact}")
    return found


def costs(
    sheets: Mapping[str, Json], names: Sequence[str], clauses: Sequence[Json], confidence: float | None = None
) -> list[str]:
    """What the model lost: by its contract, on examples set aside, and by its scores.

    Args:
        sheets: scores by model, as in `scores.json`.
        names: of the scores that count, most important first.
        clauses: of the contract.
        confidence: of the contract; None where that is not known.
    """
    before, after = sheets.get("original", {}), sheets.get("unlearned", {})
    known = [each for each in names if not of_forgetting(each) and _known(before, after, name=each)]
    return [
        *filter(None, (_lost(row, confidence) for row in clauses if row["side"] == "keep")),
        *(f"{said(name)}: {change(before[name], after[name])}" for name in known),
    ]


def worse(sheets: Mapping[str, Json], names: Sequence[str]) -> list[str]:
    """What the model does worse than before, by more than its interval leaves open."""
    before, after = sheets.get("original", {}), sheets.get("unlearned", {})
    found = []
    for name in (each for each in names if not of_forgetting(each) and _known(before, after, name=each)):
        _, low, high = difference(before[name], after[name])
        end = low if (metric := _metric(name)) and metric.right == "lower" else None if high is None else -high
        if end is not None and end > 0:
            found.append(f"{said(name)}: {change(before[name], after[name])}")
    return found


def bounded(state: Standing, measured: str) -> str:
    """What a page or a certificate says, and no more.

    Args:
        state: of the claim.
        measured: how the influence was measured, and at most how much was found.
    """
    match state:
        case "shown":
            return f"Bounded influence, measured by {measured}."
        case "not shown":
            return f"No bound is shown yet. What there is so far was measured by {measured}."
        case _:
            return f"No bound can be relied on, for what stands above. What there is was measured by {measured}."


def by_scores(sheets: Mapping[str, Json], names: Sequence[str]) -> str:
    """How the influence was measured on one model, and at most how much was found at 95 %."""
    after, retrained = (sheets.get(name, {}) for name in ("unlearned", "retrained"))
    name = next((each for each in names if of_forgetting(each) and _known(after, name=each)), None)
    if name is None:
        return "the limits that were agreed alone"
    own, least, most = after[name], *(after[name][end] for end in ("low", "high"))
    if least is None or most is None:
        return f'"{said(name)}", {value(own)} on this model'
    if _known(retrained, name=name):
        _, low, high = difference(retrained[name], own)
        if low is not None and high is not None:
            away = max(abs(low), abs(high))
            size = f"{100 * away:.1f} points" if unit(own) == "share" else plain(away, unit(own))
            return f'"{said(name)}": at most {size} from a model retrained without the data, at 95 %, on one model each'
    ends = f"{plain(least, unit(own))} to {plain(most, unit(own))}"
    return f'"{said(name)}": {ends} at 95 %; what a model retrained without the data has is not known'


def by_gaps(gaps: Mapping[str, Json], runs: Mapping[str, int]) -> str:
    """How the influence was measured over several trainings, and at most how much was found at 95 %."""
    known = {name: gap for name, gap in gaps.items() if gap["low"] is not None and gap["margin"] is not None}
    over = f"{runs['unlearned']} models after unlearning and {runs['retrained']} retrained without the data"
    if not known:
        return f"{over}; these leave no interval"
    most = {name: max(abs(gap["low"]), abs(gap["high"])) for name, gap in known.items()}
    name = max(most, key=lambda each: most[each])
    return (
        f'{over}: results are at most {plain(most[name], "points")} points apart, at 95 % ("{said(name)}" is farthest)'
    )


def of_forgetting(name: str) -> bool:
    """Whether right is what a retrained model scores, not more or less."""
    metric = _metric(name)
    return metric is not None and metric.right == "as null"


def _metric(name: str) -> Metric | None:
    """What a score is; also of a modality that was entered later."""
    late = (kind.metrics[name] for kind in MODALITIES.values() if name in kind.metrics)
    return METRICS.get(name) or next(late, None)


def _known(*sheets: Json, name: str) -> bool:
    return all(name in sheet and sheet[name]["value"] is not None for sheet in sheets)


def _lost(row: Json, confidence: float | None) -> str:
    """What a keep clause measured, of the reading that decides: how much worse, and at most how much."""
    readings = [row[place] for place in ("final", "guard") if row.get(place)] if "final" in row else [row]
    read = next((each for each in readings if state_of(each) == state_of(row)), None)
    if read is None or read.get("measured") is None or read.get("bound") is None:
        return ""
    share = row.get("metric", row["clause"].split(" ")[0]) in SHARES

    def told(number: float) -> str:
        return f"{100 * number + 0.0:.1f} points" if share else f"{number + 0.0:.3g}"

    measured, bound = read["measured"], read["bound"]
    found = f"{told(measured)} worse" if measured > 0 else f"{told(-measured)} better" if measured < 0 else "no worse"
    most = f"at most {told(bound)} worse" if bound > 0 else "surely no worse"
    sure = "at the agreed confidence" if confidence is None else f"at {100 * confidence:.4g} %"
    of = plainly(row).split(" may ")[0]
    return f"{of}: measured {found}, {most} {sure}, on {read['n']:,} examples that were set aside"
