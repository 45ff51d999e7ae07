"""A forget loss with an end: the mean of masked losses, one pass, and nothing at all once every example has ended."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests._texts import batch as tokens
from tests._texts import llama, lora
from tests.objectives._problems import RAGGED, WHOLE_FORGET, Counting, assert_close, batch, descend, network, nll, pair
from unweave.errors import ConfigurationError
from unweave.losses import (
    CEU,
    DPO,
    NPO,
    WGA,
    AdaptersOff,
    Ascent,
    Divergence,
    Flattening,
    Misdirection,
    RandomLabels,
    SatImp,
    SimNPO,
    Swapped,
    Undial,
    Until,
    frozen,
    unseen_level,
)
from unweave.objectives import FORGET, RETAIN, Loss, Objectives
from unweave.rules import HAMU, Fixed
from unweave.tasks import Language, Vision

TASK, TEXT = Vision(), Language()
MIDDLE = 1.1  # between the nll of the examples of `WHOLE_FORGET`
FORGETS: dict[str, Callable[[nn.Module], Loss]] = {
    "ascent": lambda model: Ascent(TASK.nll),
    "random labels": lambda model: RandomLabels(TASK),
    "flattening": lambda model: Flattening(TASK),
    "divergence": lambda model: Ascent(Divergence(TASK, frozen(network()))),
    "npo": lambda model: NPO(TASK, frozen(network())),
    "npo, weights swapped": lambda model: NPO(
        TASK, Swapped({n: p.detach() + 0.3 for n, p in model.named_parameters()})
    ),
}
TEXTS: dict[str, Callable[[Any], Loss]] = {
    "ascent": lambda model: Ascent(TEXT.nll),
    "wga": lambda model: WGA(TEXT),
    "satimp": lambda model: SatImp(TEXT),
    "simnpo": lambda model: SimNPO(TEXT),
    "npo": lambda model: NPO(TEXT, frozen(llama(1))),
    "undial": lambda model: Undial(TEXT, frozen(llama(1))),
    "dpo": lambda model: DPO(TEXT, frozen(llama(1))),
}


def moved() -> nn.Module:
    """Away from the original, so that no loss is at its least."""
    model = network()
    with torch.no_grad():
        for p in model.parameters():
            p += 0.2 * torch.randn(p.shape, dtype=p.dtype, generator=torch.Generator().manual_seed(4))
    return model


def passes(model: nn.Module) -> list[bool]:
    """Whether each pass of a model, from now on, builds a graph."""
    seen: list[bool] = []
    model.register_forward_hook(lambda *_: seen.append(torch.is_grad_enabled()))
    return seen


@pytest.mark.parametrize("name", FORGETS)
def test_it_is_the_loss_of_what_has_not_ended_and_costs_no_pass(name: str) -> None:
    model = Counting(moved())
    loss, own = FORGETS[name](model), nll(model, WHOLE_FORGET).detach()
    assert 0 < int((own < MIDDLE).sum()) < len(own)
    torch.manual_seed(0)
    model.forwards = 0
    plain = loss(model, WHOLE_FORGET)
    alone = model.forwards
    expected = torch.stack([value if n < MIDDLE else 0 * value for value, n in zip(plain, own.tolist(), strict=True)])
    torch.manual_seed(0)
    model.forwards = 0
    found = Until(loss, TASK, MIDDLE)(model, WHOLE_FORGET)
    assert model.forwards == alone
    assert_close([found], [expected])
    assert found[own >= MIDDLE].eq(0).all()
    gradients = [torch.autograd.grad(values.mean(), list(model.parameters())) for values in (found, expected)]
    assert_close(*gradients)
    assert not model._forward_hooks


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("left", [False, True])
def test_texts(name: str, left: bool) -> None:
    """A model that is told which logits to keep, and rows that are turned to the front, are new tensors each time."""
    model, rows = llama(), tokens()
    if left:
        size = rows["attention_mask"].sum(1).tolist()
        rows = {
            k: torch.stack([r.roll(-n) for r, n in zip(v, size, strict=True)]) if v.ndim == 2 else v
            for k, v in rows.items()
        }
    rows |= {"alternate": tokens(seed=5)}
    own = TEXT.nll(model, rows).detach()
    level, loss = float(own.median()), TEXTS[name](model)
    seen = passes(model)
    plain = loss(model, rows)
    alone = len(seen)
    found = Until(loss, TEXT, level)(model, rows)
    assert len(seen) == 2 * alone
    assert_close([found], [torch.where(own < level, plain, 0.0)], 1e-6)
    assert int((found == 0).sum()) == 2


@pytest.mark.parametrize("loss", [CEU(TEXT), Misdirection(TEXT)])
def test_another_look_has_no_graph_and_leaves_no_trace(loss: Loss) -> None:
    """CE-U leaves a token out, and RMU never comes to the last block: neither says the nll."""
    model, rows = llama(), tokens(prompts=(3, 3, 3), answers=(4, 2, 2))
    own, seen = TEXT.nll(model, rows).detach(), passes(model)
    level = float(own.median())
    found = Until(loss, TEXT, level)(model, rows)
    assert seen.count(False) == 1
    assert_close([found], [torch.where(own < level, loss(model, rows), 0.0)], 1e-6)


def test_the_original_in_the_place_of_the_model_is_not_the_model() -> None:
    """Adapters that were switched off gave another answer to the same tensors."""
    model, rows = lora(llama(), started=True).eval(), tokens()
    own = TEXT.nll(model, rows).detach()
    before = TEXT.nll(AdaptersOff().of(model), rows)
    loss, level = NPO(TEXT, AdaptersOff()), float(own.median())
    assert not (own < level).equal(before < level)
    for grad in (True, False):
        with torch.set_grad_enabled(grad):
            assert (Until(loss, TEXT, level)(model, rows) != 0).equal(own < level)


def test_the_ends_are_those_of_the_masks_that_the_loss_saw() -> None:
    """Dropout: whether an example has ended is read from the same pass, and looks agree."""
    model = network(nn.Dropout(0.5)).train()
    objectives = Objectives(model, (Until(Ascent(nll), TASK, MIDDLE), nll)).at(pair())
    looks = torch.stack([objectives.loss(FORGET) for _ in range(3)])
    assert looks.unique().numel() == 1 and looks[0] == objectives.gradients()[0][FORGET]
    ended = set()
    for seed in range(20):
        torch.manual_seed(seed)
        values = Until(Ascent(nll), TASK, MIDDLE)(model, WHOLE_FORGET)
        torch.manual_seed(seed)
        own = nll(model, WHOLE_FORGET)
        assert values.equal(torch.where(own < MIDDLE, -own, 0.0))
        ended.add(int((own >= MIDDLE).sum()))
    assert len(ended) > 1


def test_another_look_moves_no_buffers() -> None:
    count = 0
    for loss, looks in ((Ascent(nll), 1), (lambda m, b: -nll(m, (2 * b[0], b[1])), 1)):
        model = network(nn.BatchNorm1d(6).double()).train()
        Until(loss, TASK, MIDDLE)(model, WHOLE_FORGET)
        assert model[1].num_batches_tracked == looks
        count += 1
    assert count == 2


@pytest.mark.parametrize("micro", [2, 3])
@pytest.mark.parametrize("rule", [lambda: HAMU("forget", ratio=0.5, need=True), lambda: Fixed(1.0, 1.0)])
def test_micro_batches_are_one_batch(micro: int, rule: Callable[[], Any]) -> None:
    sides = Until(Ascent(nll), TASK, MIDDLE), nll
    one, several = (descend(network(), rule(), RAGGED[n], sides=sides) for n in (1, micro))
    assert_close(several, one)


@pytest.mark.parametrize("micro", [1, 3])
def test_the_share_of_what_has_not_ended(micro: int) -> None:
    model = network()
    own = nll(model, WHOLE_FORGET)
    share = float((own < MIDDLE).double().mean())
    assert 0 < share < 1
    objectives = Objectives(model, (Until(Ascent(nll), TASK, MIDDLE), nll))
    assert objectives.active.tolist() == [1, 1]
    for look in (objectives.gradients, objectives.losses, lambda: objectives.backward(torch.ones(2))):
        objectives.at(RAGGED[micro]).active.fill_(-1)
        look()
        assert objectives.active.tolist() == [share, 1]


def test_a_level_beyond_every_loss_is_no_end() -> None:
    for seed in range(3):
        rows = batch(9, seed)
        found = Until(Ascent(nll), TASK, 1e9)(network(), rows)
        assert found.equal(Ascent(nll)(network(), rows))


@pytest.mark.parametrize("micro", [1, 3])
def test_once_all_have_ended_nothing_is_left(micro: int) -> None:
    model = network()
    objectives = Objectives(model, (Until(Ascent(nll), TASK, 1e-6), nll)).at(RAGGED[micro])
    losses, (forget, retain) = objectives.gradients()
    assert losses[FORGET] == 0 < losses[RETAIN] and objectives.active.tolist() == [0, 1]
    assert all(g.eq(0).all() for g in forget) and any(g.any() for g in retain)
    step = HAMU("forget", ratio=0.5, need=True, patience=1).backward(objectives)
    assert step.stop is None and set(step.branches or ()) == {"direct"}
    assert_close(objectives.direction(), retain, 0.0)


def test_an_infinite_loss_has_ended() -> None:
    """A label that cannot come: ascent on it is -inf, and its gradient would be NaN."""
    model = nn.Linear(2, 3).double()
    with torch.no_grad():
        model.bias[2] = -inf
    rows = torch.ones(2, 2).double(), torch.tensor([0, 2])
    values = Until(Ascent(nll), TASK, 50.0)(model, rows)
    values.sum().backward()
    assert values[1] == 0 and values[0] < 0
    assert model.weight.grad is not None and model.weight.grad.isfinite().all()


def test_the_level_is_the_median_of_what_was_never_seen() -> None:
    model = network(nn.Dropout(0.5)).train()
    batches = [batch(3, 1), batch(4, 2)]
    expected = torch.cat([nll(model.eval(), rows) for rows in batches]).detach().median()
    assert unseen_level(model.train(), TASK, batches) == pytest.approx(float(expected), rel=1e-12)
    assert model.training
    even = nll(model.eval(), batches[1]).detach().sort().values
    assert unseen_level(model, TASK, batches[1:]) == pytest.approx(float(even[1:3].mean()), rel=1e-12)


def test_what_has_no_level_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="needs some"):
        unseen_level(network(), TASK, [])

    class Never(Vision):
        def nll(self, model: nn.Module, batch: Any) -> Tensor:
            return torch.zeros(len(batch[1]))

    with pytest.raises(ConfigurationError, match=r"above 0; found 0\.0"):
        unseen_level(network(), Never(), [batch(3, 0)])
    for level in (0.0, -1.0, inf, "much"):
        with pytest.raises(ConfigurationError, match="level must be a number in"):
            Until(Ascent(nll), TASK, level)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"one value for each nll, \[7\]; it returned \[\]"):
        Until(lambda m, b: nll(m, b).mean(), TASK, 1.0)(network(), WHOLE_FORGET)


@pytest.mark.parametrize("broken", [float("nan"), inf, -inf])
def test_what_is_not_finite_is_not_taken_for_what_has_ended(broken: float) -> None:
    """A NaN in the logits must reach the guards as one; an infinite nll has ended, and its loss is 0, not 0 x inf."""
    logits = torch.zeros(3, 4, requires_grad=True)
    with torch.no_grad():
        logits[1, 2] = broken
    values = Until(Ascent(TASK.nll), TASK, MIDDLE)(Given(logits), (torch.zeros(3, 1), torch.tensor([2, 2, 2])))
    if broken == -inf:  # p = 0, nll = inf: gone
        assert values[1] == 0.0
    else:
        assert values[1].isnan(), "log(inf / inf), or a NaN"
    assert values[0] == values[2] == 0.0, "log 4 is beyond the level: both have ended"


class Given(nn.Module):
    """Says the same to everything."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits.detach())

    def forward(self, inputs: Tensor) -> Tensor:
        return self.logits
