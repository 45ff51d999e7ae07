"""What the whole card says of an exact method, counted over trainings; and that planted leaks are found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from unweave.audit import findings
from unweave.audit.attacks import on_triple
from unweave.audit.claims import Finding, claim
from unweave.audit.evidence_parts.attacks import attacks_part
from unweave.audit.evidence_parts.over_runs import examples_part, gaps_part, over_runs_part, sheets_of, table_part
from unweave.audit.experiment import KINDS
from unweave.audit.runs import Margins, recovered_share, retrain_gap
from unweave.audit.seen import ImageSeen, Pools
from unweave.contract.keeper import NOTHING
from unweave.evaluation.outputs import Outputs

N, CLASSES = 60, 3
DIFFICULTY = np.random.default_rng(99).normal(2, 1, 4 * N)  # of every example, the same for all models


def outputs(rng: np.random.Generator, which: slice, known: float, shared: float, labels: Tensor) -> Outputs:
    """Logits whose margin is difficulty, plus what the model knows, plus noise; examples of a model are correlated."""
    margin = DIFFICULTY[which] + known + shared + 0.7 * rng.normal(size=N)
    logits = np.zeros((N, CLASSES))
    logits[np.arange(N), labels.numpy()] = margin + np.log(CLASSES - 1)
    return Outputs(torch.tensor(logits, dtype=torch.float32), labels)


def model(rng: np.random.Generator, knows: float) -> ImageSeen:
    """A model of a training of its own, that knows the forget set by so much more than unseen examples."""
    shared = 0.3 * rng.normal()
    labels = torch.arange(N) % CLASSES
    sides = [(0, knows), (1, 1.5), (2, 0.0), (3, 0.0)]
    forget, retain, test, holdout = (
        outputs(rng, slice(N * i, N * (i + 1)), known, shared, labels) for i, known in sides
    )
    return ImageSeen(forget, retain, test, holdout)


def pools(seed: int, left: float, runs: int = 5) -> Pools:
    rng = np.random.default_rng(seed)
    return Pools(*([model(rng, knows) for _ in range(runs)] for knows in (1.5, 0.0, left)))


def found(pool: Pools, seed: int) -> dict[str, Finding]:
    rng = np.random.default_rng(seed + 10_000)
    features = rng.normal(size=(N, 4)), rng.normal(size=(N, 4))
    attacks, over = attacks_part(pool, features, seed), over_runs_part(pool, lambda seen: seen.retain, None, seed)
    levels = {kind: [float(s.forget.confidence.mean()) for s in pool.of(kind)] for kind in ("original", "retrained")}
    own = [float(s.forget.confidence.mean()) for s in pool.unlearned]
    return {
        "gaps": findings.of_gaps(gaps_part(sheets_of(pool), Margins())["unlearned"]["metrics"]),
        "per_example": findings.of_examples(examples_part(pool, lambda seen: seen.forget, range(N), seed)),
        "retain_exposure": findings.of_examples(examples_part(pool, lambda seen: seen.retain, range(N), seed)),
        "epsilon": findings.of_bound(over["epsilon"]),
        "holdout_attack": findings.of_attacks(attacks, ("loss", "joined")),
        "per_example_attack": findings.of_attacks(attacks, ("rmia",)),
        "robustness": findings.of_recovered([recovered_share(levels["original"], levels["retrained"], own).as_dict()]),
    }


@pytest.mark.slow
def test_an_exact_method_is_refuted_by_anything_at_all_in_at_most_one_case_in_twenty() -> None:
    """The unlearned models are further retrained ones. Forget and holdout set are exchangeable but for their draws."""
    cases, any_of, each = 20, 0, dict.fromkeys(range(findings.FAMILY), 0)
    global DIFFICULTY
    for seed in range(cases):
        DIFFICULTY = np.random.default_rng(seed).normal(2, 1, 4 * N)
        states = list(found(pools(seed, 0.0), seed).values())
        assert len(states) == findings.FAMILY
        any_of += "refutes" in states
        each = {i: each[i] + (state == "refutes") for i, state in enumerate(states)}
    assert any_of <= 3, each  # P(more than 3 of 20 at 5 %) = 0.016


def apart(rng: np.random.Generator, knows: float) -> ImageSeen:
    """A training whose forget and holdout examples are of two kinds, each of which it knows more or less well."""
    own, other = 0.5 * rng.normal(size=2)
    labels = torch.arange(N) % CLASSES
    sides = [(0, knows + own), (1, 1.5), (2, 0.0), (3, other)]
    return ImageSeen(*(outputs(rng, slice(N * i, N * (i + 1)), known, 0.0, labels) for i, known in sides))


@pytest.mark.slow
def test_an_exact_method_passes_where_forget_and_holdout_set_differ() -> None:
    """Two retrained models are further apart there than their examples say: the test is one over runs."""
    cases, of_two, refuted = 10, 0, 0
    for seed in range(cases):
        rng = np.random.default_rng(seed)
        pool = Pools(*([apart(rng, knows) for _ in range(4)] for knows in (1.5, 0.0, 0.0)))
        features = rng.normal(size=(N, 2)), 3 + rng.normal(size=(N, 2))
        found = attacks_part(pool, features, seed)
        assert found["blind"]["exchangeable"] is False
        first = {kind: pool.of(kind)[0] for kind in KINDS}
        of_two_models = on_triple({kind: (seen.forget.margin, seen.holdout.margin) for kind, seen in first.items()})
        assert of_two_models.above_retrained.p is not None
        of_two += of_two_models.above_retrained.p <= findings.LEVEL
        refuted += findings.of_attacks(found, ("loss",)) == "refutes"
        above = found["triple"]["loss"]["above_retrained"]
        assert above["metric"]["replicate"] == "run" and above["null"] is not None
    assert of_two > 2, "the interval over examples would have called most of them different"
    assert refuted <= 1, refuted  # at .05 / 7, P(more than 1 of 10) = .002
    rng = np.random.default_rng(0)
    leaking = Pools(*([apart(rng, knows) for _ in range(4)] for knows in (3.0, 0.0, 3.0)))
    features = rng.normal(size=(N, 2)), 3 + rng.normal(size=(N, 2))
    assert findings.of_attacks(attacks_part(leaking, features, 0), ("loss",)) == "refutes"


def whole_class(rng: np.random.Generator, knows: float) -> ImageSeen:
    """Class 0 is forgotten whole: a model that never saw it knows nothing of it, and all of the others."""
    others, gone = torch.arange(N) % (CLASSES - 1) + 1, torch.zeros(N, dtype=torch.int64)
    forget, retain, test = (
        outputs(rng, slice(N * i, N * (i + 1)), known, 0.0, labels)
        for i, (known, labels) in enumerate(((knows - 4, gone), (3.0, others), (2.0, others)))
    )
    holdout = outputs(rng, slice(3 * N, 4 * N), min(knows, 2.0) - 4, 0.0, gone)
    both = Outputs(torch.cat([test.logits, holdout.logits]), torch.cat([test.labels, holdout.labels]))
    return ImageSeen(forget, retain, both, holdout)


def test_rmia_reads_a_class_that_was_removed_whole() -> None:
    """Its population knows the class as little as the compared examples do; beside other classes nothing differs."""
    rng = np.random.default_rng(2)
    pool = Pools(*([whole_class(rng, knows) for _ in range(4)] for knows in (6.0, 0.0, 0.0)))
    found = attacks_part(pool, (rng.normal(size=(N, 2)), rng.normal(size=(N, 2))))
    aucs = {kind: found["triple"]["rmia"]["models"][kind]["auc"] for kind in ("original", "retrained")}
    assert aucs["original"]["sizes"] == {"forget examples": N, "holdout examples": N // 2}
    assert aucs["original"]["value"] > 0.9
    assert aucs["retrained"]["p"] > 0.01


def test_a_large_gap_without_a_margin_is_no_equivalence() -> None:
    """All accuracies are those of retraining, a membership attack is not."""
    sheets = sheets_of(pools(6, 0.0, runs=12))
    far = {"MIA_AUC": replace(sheets["unlearned"][0]["MIA_AUC"], value=0.95)}
    leaking = [{**sheet, **far} for sheet in sheets["unlearned"]]
    wide = {"UA": 50.0, "RA": 50.0, "TA": 50.0}
    for margins, expected in ((wide, "undecided"), ({**wide, "MIA_AUC": 2.0}, "refutes")):
        table = retrain_gap(leaking, sheets["retrained"], margins=Margins(margins))
        assert (
            table.gaps["MIA_AUC"].verdict == "different" and findings.of_gaps(table_part(table)["metrics"]) == expected
        )
    table = retrain_gap(sheets["unlearned"], sheets["retrained"], margins=Margins({**wide, "MIA_AUC": 50.0}))
    assert findings.of_gaps(table_part(table)["metrics"]) == "supports"
    assert set(Margins().points) == {"UA", "RA", "TA", "MIA_AUC"}


def test_a_method_that_does_nothing_is_refuted_by_all_that_have_the_power() -> None:
    """The unlearned models are further originals."""
    states = found(pools(1, 1.5, runs=8), 1)
    refuting = {name for name, state in states.items() if state == "refutes"}
    assert {"per_example", "holdout_attack", "robustness"} <= refuting
    assert states["retain_exposure"] != "refutes", "nothing happened to the retain set"


def test_the_level_of_an_item_is_its_share_of_the_family() -> None:
    level = findings.LEVEL / findings.FAMILY
    cases = [
        ([level], "refutes"),
        ([level, 1.0], "undecided"),  # two tests: each has half
        ([level / 2, 1.0], "refutes"),
        ([0.05], "undecided"),
        ([0.051], "supports"),
        ([0.4, None], "undecided"),
        ([], "undecided"),
    ]
    for p, expected in cases:
        assert findings.tested(p) == expected
    assert len(cases) == 7


def test_where_nothing_could_be_found_nothing_is_supported() -> None:
    four = pools(3, 9.0, runs=4)
    found_all = examples_part(four, lambda seen: seen.forget, range(N))
    assert found_all["smallest_p"] < findings.LEVEL
    assert findings.of_examples(found_all) == "undecided", "three statistics at 2 in 70 each cannot reach 5 %"
    few = pools(3, 0.0, runs=2)
    assert findings.of_examples(examples_part(few, lambda seen: seen.forget, range(N))) == "undecided", (
        "two runs cannot reach 5 %"
    )
    assert findings.of_examples({"reason": "why"}) == "undecided"
    assert findings.of_bound(over_runs_part(few, lambda seen: seen.retain, None)["epsilon"]) == "undecided"
    same = recovered_share([0.5, 0.6, 0.7], [0.5, 0.6, 0.7], [0.5, 0.6, 0.7])
    assert same.value is None and findings.of_recovered([same.as_dict()]) == "undecided", "there was nothing to recover"
    wide = recovered_share([0.9, 0.8, 0.85], [0.1, 0.2, 0.15], [0.1, 0.9, 0.2])
    assert wide.high is not None and wide.high > 0.5 and findings.of_recovered([wide.as_dict()]) == "undecided"


def test_contracts_of_all_runs_count() -> None:
    met, missed = {"side": "keep", "met": True}, {"side": "forget", "met": False}
    assert findings.kept([met, met]) == "supports" and findings.kept([met, missed]) == "refutes"
    assert findings.kept([met, missed], "keep") == "supports" and findings.kept([]) == "undecided"


def test_the_null_row_is_retraining_against_itself() -> None:
    sheets = sheets_of(pools(4, 0.0, runs=6))
    part = gaps_part(sheets, Margins())
    halves = [[sheet["TA"].value for sheet in sheets["retrained"][i : i + 3]] for i in (0, 3)]
    expected = 100 * (np.mean(halves[0]) - np.mean(halves[1]))  # type: ignore[arg-type]
    assert part["null"]["metrics"]["TA"]["value"] == pytest.approx(expected)
    assert part["null"]["metrics"]["TA"]["sizes"] == {"unlearned runs": 3, "retrained runs": 3}
    assert part["values"]["UA"]["unlearned"] == [100 * s["UA"].value for s in sheets["unlearned"]]  # type: ignore[operator]


def test_every_number_has_its_null_or_its_reason() -> None:
    """Nothing is printed without what an exact method would score."""
    pool = pools(5, 0.5)
    content = {
        "gaps": gaps_part(sheets_of(pool), Margins()),
        "over": over_runs_part(pool, lambda seen: seen.retain, None),
        "attacks": attacks_part(pool, (np.random.default_rng(0).normal(size=(N, 2)),) * 2),
    }
    numbers = list(_evidence(content))
    assert numbers and all(each["null"] is not None or each["reason"] for each in numbers)
    assert all(each["metric"]["definition"] and each["metric"]["needs"] and each["sizes"] for each in numbers)


MOVED, IDLE, STUCK = (
    {"changed": changed, "ended": ended} for changed, ended in ((True, "reached"), (False, NOTHING), (False, "used up"))
)


@pytest.mark.parametrize(
    ("made", "finite", "found"),
    [
        ([MOVED, MOVED], True, "supports"),
        ([MOVED, MOVED], False, "refutes"),
        ([MOVED, IDLE], True, "undecided"),  # its original met the contract already: nothing was asked of the method
        ([IDLE, STUCK], True, "refutes"),
        ([IDLE], False, "refutes"),
    ],
)
def test_a_model_that_had_nothing_to_forget_is_no_evidence_against_the_method(
    made: list[dict[str, object]], finite: bool, found: str
) -> None:
    told = findings.of_ends(made, finite)
    assert told == found
    assert bool(claim({"ran": told}).against) == (found == "refutes")


def _evidence(value: object) -> list[dict]:  # type: ignore[type-arg]
    if isinstance(value, dict):
        if {"metric", "value", "null", "reason"} <= value.keys():
            return [value]
        return [each for part in value.values() for each in _evidence(part)]
    return [each for part in value for each in _evidence(part)] if isinstance(value, list) else []
