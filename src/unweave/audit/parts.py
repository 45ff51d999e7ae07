"""The parts of `evidence.json`, each from the outputs of all models, and what each means for the claim."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import numpy as np

from unweave.audit import settings
from unweave.audit.attacks.ulira import ULira
from unweave.audit.claims import Finding, claim
from unweave.audit.evidence_parts import findings
from unweave.audit.evidence_parts.attacks import attacked
from unweave.audit.evidence_parts.examples import examples_part, tested
from unweave.audit.evidence_parts.gaps import gap_table, gaps_part, sheets_of
from unweave.audit.evidence_parts.over_runs import bounded, over_runs_part
from unweave.audit.evidence_parts.pools import KINDS, Pools, Seen
from unweave.audit.evidence_parts.robustness import Relearned, Rounded
from unweave.audit.models import World
from unweave.audit.one_model import features
from unweave.audit.references import check_references
from unweave.audit.robustness import Curve
from unweave.audit.seen import BITS, sources
from unweave.audit.sizes import few
from unweave.audit.work import Training
from unweave.contract.keeper import NOTHING
from unweave.evaluation.outputs import Outputs

Json = dict[str, Any]


@dataclass(eq=False)
class Card:
    """Everything about all models, and what was found so far."""

    world: World
    pools: Pools
    made: Mapping[Training, Json]
    notes: list[str] = field(default_factory=list)
    found: dict[str, Finding] = field(default_factory=dict)

    def conclude(self) -> Json:
        """The claim."""
        counts = {"originals": "original", "unlearned": "unlearned", "retrained": "retrained"}
        strongest = claim(self.found, **{name: self.world.count(kind) for name, kind in counts.items()})
        return {"claim": findings.claim_part(strongest, self.found), "notes": self.notes}


def numbers(card: Card, shadows: ULira | None) -> Iterator[Json]:
    """All parts that come from outputs alone, one after another."""
    world, pools, found = card.world, card.pools, card.found
    seed, margins = world.recipe.evaluation.seed, settings.margins(world.recipe.evidence)
    unlearned = [made for (_, kind, _), made in card.made.items() if kind == "unlearned"]
    verdicts = [clause for made in unlearned for clause in made["contract"]]
    card.notes += list(_notes(world, unlearned))
    finite = all(bool(part.logits.isfinite().all()) for seen in pools.unlearned for part in seen.whole)
    found["ran"] = went_to_its_end(unlearned, finite)
    found["disjoint"] = "supports"  # checked when the request was made; neither set shares an image with the test set
    found["utility"] = findings.kept(verdicts, "keep")
    found["budget"] = findings.kept(verdicts)
    sheets = sheets_of(pools, seed)
    found["gaps"] = findings.of_gaps(gap_table(sheets, margins, seed))
    yield {"gaps": gaps_part(sheets, margins, seed)}

    def retain(seen: Seen) -> Outputs:
        return seen.retain.where(world.retain_rows)

    split = world.request.split
    sides = {
        "forget": (lambda seen: seen.forget, split.forget),
        "retain": (retain, np.asarray(split.retain)[world.retain_rows.numpy()]),
    }
    part = {}
    for (name, (read, rows)), item in zip(sides.items(), ("per_example", "retain_exposure"), strict=True):
        each = tested(pools, read, seed)
        found[item] = findings.of_examples(each)
        part[name] = examples_part(each, pools, read, rows)
    yield {"per_example": part}

    attacks = attacked(pools, features(world.request, seed), seed)
    if world.references:
        check_references(pools.retrained, world.references, attacks.blind)
    found["blind_baseline"] = findings.of_blind(attacks.blind)
    found["holdout_attack"] = findings.of_attacks(attacks, ("loss", "joined"))
    found["per_example_attack"] = findings.of_attacks(attacks, ("rmia",))
    if attacks.blind.exchangeable is False:
        card.notes.append(attacks.blind.text)
    yield {"attacks": attacks.part()}

    bound = bounded(pools, seed)
    found["epsilon"] = findings.of_bound(bound)
    if shadows is not None:
        found["per_example_attack"] = findings.of_ulira(shadows)
    yield {"over_runs": over_runs_part(pools, bound, retain, shadows, seed)}


def robustness(card: Card, attacks: Mapping[Training, Json]) -> Json:
    """Relearning and low precision, from what `seen.attack` found of every model."""
    by_kind = {kind: [found for (_, of, _), found in attacks.items() if of == kind] for kind in KINDS}
    seed = card.world.recipe.evaluation.seed
    how = settings.relearning(card.world.recipe.evidence, seed)
    relearned = []
    for source, (title, learned, scored) in sources(card.world.request, how).items():
        if all(source in found["relearning"] for kind in KINDS for found in by_kind[kind]):
            curves = {
                kind: [Curve(how.steps, **{k: tuple(v) for k, v in f["relearning"][source].items()}) for f in found]
                for kind, found in by_kind.items()
            }
            relearned.append(Relearned(source, title, len(learned), len(scored), curves))
    rounded = [_rounded(name, by_kind) for name in ("fp32", *BITS)]
    tried = [each.recovered for each in relearned] + [each.recovered for each in rounded[1:]]
    card.found["robustness"] = findings.of_recovered(tried)
    return {
        "robustness": {
            "relearning": [each.part() for each in relearned],
            "precision": [each.part() for each in rounded],
        }
    }


def went_to_its_end(unlearned: Sequence[Json], finite: bool) -> Finding:
    """That a model stayed as it was speaks against the method, unless nothing was asked of it."""
    still = [made["ended"] for made in unlearned if not made["changed"]]
    if not finite or any(ended != NOTHING for ended in still):
        return "refutes"
    return "undecided" if still else "supports"


def _notes(world: World, unlearned: Sequence[Json]) -> Iterator[str]:
    """What these models and sets do not allow."""
    for made in unlearned:
        if not made["changed"]:
            yield f"Seed {made['seed']}: the unlearned model is the original ({made['ended']})."
    if world.own is not None and world.own.weights is not None and world.originals > 1:
        yield (
            "The first unlearned model is that of the run, which started from the weights of a file. The other "
            "originals were trained from seeds of their own on forget and retain set, and keep clauses compare with "
            "them."
        )
    if world.originals == 1:
        yield "All unlearned models come from one original: what is found is about that one, not about the method."
    contract = world.recipe.contract
    if contract is not None:
        whole = not set(world.request.forget.labels.tolist()) & set(world.request.retain.labels.tolist())
        if "unseen" in {clause.metric for clause in contract.contract().forgets(whole)}:
            yield (
                "The contract steered every run by a membership attack that compares with examples of this holdout: "
                "the loss attack's AUC is better than it would be on others. The comparison over runs is not concerned."
            )
    yield from few(world)


def _rounded(name: str, by_kind: Mapping[str, list[Json]]) -> Rounded:
    scores = {kind: [found["precision"][name] for found in each] for kind, each in by_kind.items()}
    same = [each["unchanged"] for each in scores["unlearned"] if "unchanged" in each]
    confidence = {kind: [each["confidence"] for each in found] for kind, found in scores.items()}
    return Rounded(name, fmean(same) if same else None, scores, confidence)
