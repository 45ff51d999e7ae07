"""The one call: what it takes, what it returns, and that everything else is left as it was."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import unweave
from tests._toys import (
    CLASSES,
    DIFFUSION_ONLY,
    TEXT_ONLY,
    accuracy,
    each_step,
    loss,
    memorised,
    network,
    same,
    unseen,
    weights,
)
from tests.api._problems import FEW, rng, sgd
from unweave import METHODS, Method, Result, TrustRegion, Vision
from unweave.losses import Ascent
from unweave.rules import EUPMU, Fixed, PCGrad

GONE = unweave.Forget("accuracy", at_most=0.0)


def test_ten_lines_as_in_the_readme() -> None:
    model, wrong, right = memorised()
    before = accuracy(model, wrong)

    contract = unweave.Contract(keep=[unweave.Keep("accuracy", absolute=0.15)], forget=[GONE])
    result = unweave.unlearn(model, forget=wrong, retain=right, contract=contract, guard=unseen(), steps=200)

    assert before == 1.0 == accuracy(model, wrong) and accuracy(result.model, wrong) == 0.0
    assert accuracy(result.model, right) > 0.95
    assert result.reason == "contract met" and result.steps < 150
    assert repr(result).startswith("Result(reason='contract met'") and len(repr(result)) < 300
    assert result.contract is not None and result.contract.kept and 0 < result.contract.share < 1


@pytest.mark.filterwarnings("ignore::unweave.GuardWarning")  # the model is an untrained one
@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("name", ["hamu_q", "ofmu", "salun", "bad_teacher"])
@pytest.mark.parametrize("step", ["trust", sgd], ids=["trust", "optimizer"])
def test_everything_is_left_as_it_was(name: str, step: Any, inplace: bool) -> None:
    _, forget, retain = memorised()
    model = network(nn.BatchNorm1d(64), nn.Dropout(0.2)).train()
    model[1].eval()
    model[0].bias.requires_grad_(False)
    calls: list[int] = []
    hook = model[0].register_forward_hook(lambda *_: calls.append(1))
    state, modes, hooks = copy.deepcopy(model.state_dict()), modes_of(model), dict(model[0]._forward_hooks)
    random = rng()
    result = unweave.unlearn(
        model,
        forget=forget,
        retain=retain,
        method=name,
        step=step,
        inplace=inplace,
        train_mode=True,
        contract=unweave.Contract(keep=[unweave.Keep("loss", absolute=9.0)], forget=[GONE], every=2),
        **{**FEW, "steps": 6},
    )
    assert result.steps == 6
    assert rng().equal(random), "the global random state is the caller's"
    assert modes_of(model) == modes == modes_of(result.model)
    for m in (model, result.model):
        assert [p.requires_grad for p in m.parameters()] == [n != "0.bias" for n, _ in m.named_parameters()]
        assert all(p.grad is None for p in m.parameters())
    assert dict(model[0]._forward_hooks) == hooks and calls
    assert (result.model is model) == inplace
    moved = {key for key, value in result.model.state_dict().items() if not value.equal(state[key])}
    assert moved >= {"0.weight", "6.bias", "1.running_mean"} and "0.bias" not in moved
    if not inplace:
        assert all(value.equal(state[key]) for key, value in model.state_dict().items())
    hook.remove()


def modes_of(model: nn.Module) -> list[bool]:
    return [m.training for m in model.modules()]


@pytest.mark.filterwarnings("ignore::unweave.GuardWarning")  # the model is an untrained one
def test_the_model_runs_as_it_is_evaluated_unless_told() -> None:
    _, forget, retain = memorised()
    model = network(nn.BatchNorm1d(64)).train()
    still = unweave.unlearn(model, forget=forget, retain=retain, **FEW).model
    assert all(a.equal(b) for a, b in zip(model.buffers(), still.buffers(), strict=True))


@pytest.mark.parametrize("inplace", [False, True])
def test_an_error_leaves_everything_as_it_was_too(inplace: bool) -> None:
    model, forget, retain = memorised()
    model.train()
    before, random, modes = weights(model), rng(), modes_of(model)

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        unweave.unlearn(
            model, forget=forget, retain=retain, parameters="0.*", callbacks=[each_step(fail)], inplace=inplace, **FEW
        )
    assert same(weights(model), before) != inplace
    assert rng().equal(random) and modes_of(model) == modes and all(p.requires_grad for p in model.parameters())


def test_the_same_seed_gives_the_same_model() -> None:
    model, forget, retain = memorised()
    model.insert(1, nn.Dropout(0.3))
    a, b, c = (
        unweave.unlearn(model, forget=forget, retain=retain, seed=seed, train_mode=True, **FEW).model
        for seed in (1, 1, 2)
    )
    assert same(weights(a), weights(b)) and not same(weights(a), weights(c))


def test_a_method_and_a_region_start_afresh_in_every_call() -> None:
    """Their state is theirs, not the next run's."""
    model, forget, retain = memorised()
    method = Method(Ascent(Vision().nll), Vision().nll, EUPMU(dual_lr=5.0), "ours")
    region = TrustRegion(budget=0.1)
    results = [
        unweave.unlearn(model, forget=forget, retain=retain, method=method, step=region, **FEW) for _ in range(2)
    ]
    assert same(*(weights(r.model) for r in results))
    assert region == TrustRegion(budget=0.1) and method.rule == EUPMU(dual_lr=5.0)
    region.load_state_dict({"radius": 1e-4, "origin": 0.02, "level": 0.02, "seen": 5, "restorations": 0})
    resumed = unweave.unlearn(model, forget=forget, retain=retain, method=method, step=region, **FEW)
    assert resumed.history[0].radius == 1e-4, "what the caller put in is kept"


@pytest.mark.parametrize(
    ("patterns", "moved"), [("4.*", {"4.weight", "4.bias"}), (["*.bias"], {"0.bias", "2.bias", "4.bias"})]
)
def test_only_the_chosen_parameters_move(patterns: Any, moved: set[str]) -> None:
    model, forget, retain = memorised()
    found = unweave.unlearn(model, forget=forget, retain=retain, parameters=patterns, **FEW).model
    before = dict(model.named_parameters())
    assert {n for n, p in found.named_parameters() if not p.equal(before[n])} == moved
    assert all(p.requires_grad for p in found.parameters())


def test_a_method_of_ones_own_and_a_name_are_the_same() -> None:
    model, forget, retain = memorised()
    own = Method(Ascent(Vision().nll), Vision().nll, PCGrad(), "ours")
    a, b = (unweave.unlearn(model, forget=forget, retain=retain, method=m, **FEW).model for m in (own, "pcgrad"))
    assert same(weights(a), weights(b))


@pytest.mark.parametrize("step", ["trust", sgd, TrustRegion(start=1e-2)], ids=["trust", "optimizer", "region"])
def test_salun_moves_salient_weights_only_whatever_the_step(step: Any) -> None:
    model, forget, retain = memorised()
    found = unweave.unlearn(model, forget=forget, retain=retain, method="salun", step=step, **FEW).model
    moved = sum(int((a != b).sum()) for a, b in zip(weights(found), weights(model), strict=True))
    assert 0 < moved <= 0.5 * sum(p.numel() for p in model.parameters()) + 1


def test_until_the_forget_set_looks_unseen() -> None:
    model, forget, retain = memorised()
    inputs, labels = unseen().tensors
    holdout = TensorDataset(inputs, (labels + 1) % CLASSES)
    contract = unweave.Contract(forget=[unweave.Forget("unseen", margin=0.15)])
    asked = {"forget": forget, "retain": retain, "holdout": holdout, "guard": unseen(), "contract": contract}
    result = unweave.unlearn(model, **asked, steps=100)
    assert result.reason == "contract met" and 0 < result.steps < 100
    assert loss(result.model, forget) > 2 * loss(model, forget)
    with pytest.warns(unweave.GuardWarning):
        already = unweave.unlearn(result.model, **asked, steps=100)
    assert "there is nothing to forget" in already.warnings[0] and "CHANGED NOTHING" in already.warnings[1]
    assert already.reason.startswith("nothing to forget") and not already.history
    assert same(weights(already.model), weights(result.model))


def test_sets_of_ones_own_leave_the_retain_set_whole() -> None:
    model, forget, retain = memorised()
    contract = unweave.Contract(keep=[unweave.Keep("accuracy", absolute=0.1)], forget=[GONE], every=2)
    result = unweave.unlearn(
        model, forget=forget, retain=retain, contract=contract, guard=unseen(), final=unseen(), **FEW
    )
    assert result.contract is not None
    verdict = result.contract.verdicts[0]
    assert verdict.guard is not None and verdict.guard.n == 120 and verdict.final is not None and verdict.final.n == 120
    plain = unweave.unlearn(model, forget=forget, retain=retain, **FEW)
    wide = unweave.Contract(keep=[unweave.Keep("loss", absolute=99.0)], forget=(), every=3)
    kept = unweave.unlearn(model, forget=forget, retain=retain, contract=wide, guard=unseen(), **FEW)
    assert same(weights(plain.model), weights(kept.model)), "a look changes nothing"
    assert plain.contract is None and "No final set" in kept.contract.notes[0]


def test_stop_and_callbacks() -> None:
    model, forget, retain = memorised()
    seen: list[int] = []
    result = unweave.unlearn(
        model,
        forget=forget,
        retain=retain,
        stop=[lambda record: "enough" if record.number == 2 else None],
        callbacks=[each_step(lambda record, objectives: seen.append(record.number))],
    )
    assert isinstance(result, Result) and result.reason == "enough" and seen == [1, 2]


@pytest.mark.parametrize("name", ["hamu_q", "random_label", "salun", "eupmu_compat"])
def test_micro_batches_change_nothing(name: str) -> None:
    model, forget, retain = memorised()
    sides = {"forget": forget, "retain": retain, "method": name}
    one, three = (unweave.unlearn(model, micro=m, **sides, **FEW).model for m in (1, 3))
    for a, b in zip(weights(one), weights(three), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.filterwarnings("ignore:scales")  # a loss to flatten predictions is far from a memorised one
@pytest.mark.parametrize("name", sorted(set(METHODS) - TEXT_ONLY - DIFFUSION_ONLY))
def test_every_row_by_its_name(name: str) -> None:
    model, forget, retain = memorised()
    if name in {"mgda", "cagrad", "upgrad", "imtl_g", "aligned_mtl"}:
        pytest.importorskip("torchjd")
    result = unweave.unlearn(model, forget=forget, retain=retain, method=name, **FEW)
    assert result.steps == 3 and not same(weights(result.model), weights(model))
    assert all(p.isfinite().all() for p in result.model.parameters())


@pytest.mark.filterwarnings("ignore::unweave.GuardWarning")  # the model is an untrained one
def test_tied_weights_stay_tied_in_the_copy() -> None:
    _, forget, retain = memorised()

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.out = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, CLASSES)
            self.b.weight = self.a.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.b(self.a(x).relu()))

    found = unweave.unlearn(Tied(), forget=forget, retain=retain, method=Method(None, Vision().nll, Fixed(), ""), **FEW)
    assert found.model.b.weight is found.model.a.weight
