"""Every loss on texts, by hand: tokens with p = 1/4, 1/2 in the first answer, p = 1/4 in the second, 1/3 originally."""

from __future__ import annotations

from math import log

import pytest
import torch

from tests._texts import batch, llama
from tests.losses._bigram import ONE, TWO, Bigram, texts, uniform
from unweave.data.pairs import Pair
from unweave.errors import ConfigurationError, UnsupportedError
from unweave.losses import (
    CEU,
    DPO,
    NPO,
    WGA,
    Anchor,
    Ascent,
    Divergence,
    DivergenceEverywhere,
    Flattening,
    Misdirection,
    RandomLabels,
    SatImp,
    SimNPO,
    TokenWeighted,
    Undial,
    frozen,
)
from unweave.objectives import Objectives
from unweave.tasks import Language, Owners, Vision

TASK = Language()
LOG2 = log(2)


def close(found: torch.Tensor, *expected: float) -> None:
    torch.testing.assert_close(found.detach(), torch.tensor(expected, dtype=found.dtype), rtol=1e-12, atol=1e-12)


def test_likelihood_and_divergence() -> None:
    """KL(uniform || p) of both tokens: sum 1/3 log((1/3) / p) = 5/3 log 2 - log 3."""
    close(TASK.nll(Bigram(), TWO), 1.5 * LOG2, 2 * LOG2)
    close(Ascent(Language("sum").nll)(Bigram(), TWO), -3 * LOG2, -2 * LOG2)
    each = 5 / 3 * LOG2 - log(3)
    close(Divergence(TASK, uniform())(Bigram(), TWO), each, each)
    close(Divergence(Language("sum"), uniform())(Bigram(), TWO), 2 * each, each)


def test_kl_as_open_unlearning_has_it() -> None:
    """Over all three positions: after 0, 1, 2 (where p is uniform), and after 0, 1 and the padding's 0."""
    each = 5 / 3 * LOG2 - log(3)
    close(DivergenceEverywhere(TASK, uniform())(Bigram(), TWO), 2 / 3 * each, each)


def test_npo() -> None:
    """p / p_0 = 9/8 and 3/4: -2 log sigmoid(-log r) = 2 log(1 + r)."""
    close(NPO(TASK, uniform(), 1.0)(Bigram(), TWO), 2 * log(17 / 8), 2 * log(7 / 4))
    close(NPO(TASK, uniform(), 1.0)(Bigram(), ONE), 2 * log(17 / 8))


def test_npo_becomes_ascent_as_beta_goes_to_zero() -> None:
    """(2/beta) log 2 + log r + O(beta)."""
    found = NPO(TASK, uniform(), 1e-6)(Bigram(), TWO) - 2e6 * LOG2
    torch.testing.assert_close(found.detach(), torch.tensor([log(9 / 8), log(3 / 4)]).double(), rtol=0, atol=1e-5)


def test_simnpo() -> None:
    """nll / T = 1.5 log 2 and 2 log 2, so 2 log(1 + e^-x); with beta 2 and delta log 2: x = 2 (0.5, 1) log 2."""
    close(SimNPO(TASK, 1.0)(Bigram(), TWO), 2 * log(1 + 2**-1.5), 2 * log(1 + 2**-2))
    close(SimNPO(Language("sum"), 2.0, LOG2)(Bigram(), TWO), log(1 + 1 / 2), log(1 + 1 / 4))


def test_dpo() -> None:
    """Other answers "2" with p / p_0 = 3/4: -2 log sigmoid(log 3/4 - log r) = 2 log(1 + r / (3/4))."""
    both = TWO | {"alternate": texts([[2], [2]])}
    close(DPO(TASK, uniform(), 1.0)(Bigram(), both), 2 * log(5 / 2), 2 * log(2))
    with pytest.raises(ConfigurationError, match="alternates="):
        DPO(TASK, uniform())(Bigram(), TWO)


def test_undial() -> None:
    """beta = log 2 on uniform logits: 1/5 on the right token, 2/5 on the others."""
    close(Undial(TASK, uniform(), LOG2)(Bigram(), TWO), 17 / 10 * LOG2, 8 / 5 * LOG2)


def test_undial_as_open_unlearning_has_it() -> None:
    """101 tokens, token 1 with p = 1/2 and the others 1/200. Where a label is -100 token 101 - 100 = 1 is lowered.

    Of two positions one predicts token 7, so that token 1 keeps 1 / 100.5; at the other it has half of that.
    """
    p = torch.full((101, 101), 1 / 200, dtype=torch.float64)
    p[:, 1] = 1 / 2
    one, lowered = 1 / 100.5, 0.5 / 100.5
    answer = [q * LOG2 + (1 - q) * log(200) for q in (one, lowered)]
    padded = texts([[7], [7, 7]])
    found = Undial(TASK, uniform(101), LOG2, compat="open-unlearning")(Bigram(p), padded)
    close(found, sum(answer) / 2, answer[0])
    close(Undial(TASK, uniform(101), LOG2)(Bigram(p), padded), answer[0], answer[0])


def test_wga() -> None:
    """-(1/4 log 4 + 1/2 log 2) / 2 and -1/4 log 4; the power 0 is ascent."""
    close(WGA(TASK)(Bigram(), TWO), -LOG2 / 2, -LOG2 / 2)
    close(WGA(Language("sum"), 2.0)(Bigram(), TWO), -(1 / 8 + 1 / 4) * LOG2, -LOG2 / 8)
    close(WGA(TASK, 0.0)(Bigram(), TWO), -1.5 * LOG2, -2 * LOG2)


def test_satimp() -> None:
    """-(1/4 3/4 2 log 2 + 1/2 1/2 log 2) / 2 and -1/4 3/4 2 log 2."""
    close(SatImp(TASK, 1.0, 1.0)(Bigram(), TWO), -5 / 16 * LOG2, -3 / 8 * LOG2)
    close(SatImp(TASK, 0.0, 0.0)(Bigram(), TWO), -1.5 * LOG2, -2 * LOG2)


@pytest.mark.parametrize("loss", [WGA(TASK), SatImp(TASK, 1.0, 1.0)])
def test_the_weights_are_constants(loss: WGA | SatImp) -> None:
    """The gradient on the first answer's logits after 0 is weight / 2 times -(p - 1[y]), with l_t's gradient alone."""
    model = Bigram()
    loss(model, ONE).sum().backward()
    weight = 1 / 4 * (3 / 4 if isinstance(loss, SatImp) else 1)
    expected = -weight / 2 * (torch.tensor([1 / 2, 1 / 4, 1 / 4]) - torch.tensor([0.0, 1.0, 0.0]))
    torch.testing.assert_close(model.table.grad[0], expected.double())


def test_ce_u() -> None:
    """After 1, without the right 2: q = (1/2, 1/2, 0), H = log 4. After 0, without 1: (2/3, 0, 1/3), H = 4/3 log 2."""
    close(CEU(TASK)(Bigram(), ONE), 2 * LOG2)
    close(CEU(TASK, skip=0)(Bigram(), TWO), 5 / 3 * LOG2, 4 / 3 * LOG2)
    model = Bigram()
    CEU(TASK)(model, ONE).sum().backward()
    torch.testing.assert_close(model.table.grad[1], torch.tensor([1 / 4 - 1 / 2, 1 / 4 - 1 / 2, 1 / 2]).double())
    with pytest.raises(ConfigurationError, match="leaves 1 tokens of each answer alone"):
        CEU(TASK)(model, TWO)


def test_flattening_and_random_labels_are_per_token() -> None:
    """log p = -(1, 2, 2) log 2 and -(2, 2, 1) log 2: (max - mean)^2 = (2/3 log 2)^2 on both."""
    close(Flattening(TASK)(Bigram(), TWO), (2 / 3 * LOG2) ** 2, (2 / 3 * LOG2) ** 2)
    found = RandomLabels(TASK)(Bigram(), TWO)
    options = {round(LOG2 * k, 6) for k in (1, 1.5, 2)}
    assert {round(v, 6) for v in found.tolist()} <= options


def test_random_labels_of_tokens_do_not_depend_on_the_batch() -> None:
    """Two answers of one draw have the same shifts, each token its own, also where one is looked at alone."""
    three, draws = texts([[1, 2, 2, 1], [1, 2], [2, 0, 1]]), torch.tensor([7, 7, 8])
    objectives = Objectives(Bigram(), (None, RandomLabels(TASK)))

    def loss(rows: slice, seed: int) -> float:
        part = {key: value[rows] for key, value in three.items()}
        return float(objectives.at(Pair([], [part], seed, ([], [draws[rows]]))).losses()[1])

    alone = [loss(slice(i, i + 1), seed=i) for i in range(3)]
    assert loss(slice(0, 3), seed=9) == pytest.approx(sum(alone) / 3)
    assert Owners(2, torch.tensor([0, 0, 0, 1, 1])).place().tolist() == [0, 1, 2, 0, 1]
    assert Owners(3).place().tolist() == [0, 0, 0]


def test_rmu() -> None:
    """Toward c u with |u| = 1 and u >= 0; the anchor is 0 with gradient 0 where the model has not moved."""
    model, b = llama(layers=3), batch()
    states, _ = TASK.states(model, b, 1)
    u = torch.rand(16, generator=torch.Generator().manual_seed(5))
    each = (states - 3 * u / u.norm()).square().sum(-1) / 16
    expected = torch.stack([each[:4].mean(), each[4], each[5:].mean()])
    torch.testing.assert_close(Misdirection(TASK, 1, 3.0, seed=5)(model, b), expected)
    torch.testing.assert_close(Misdirection(Language("sum"), 1, 3.0, seed=5)(model, b), expected)
    anchor = Anchor(TASK, frozen(model), 1)
    anchor(model, b).sum().backward()
    assert anchor(model, b).tolist() == [0.0, 0.0, 0.0]
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())
    assert (anchor(llama(1, layers=3), b) > 0).all()


def test_token_weighted() -> None:
    """T = 2, 1: weights 4/3, 2/3; the mean is log 32 / 3, all tokens alike."""
    weighted = TWO | {"weight": torch.tensor([4 / 3, 2 / 3], dtype=torch.float64)}
    found = TokenWeighted(TASK.nll)(Bigram(), weighted)
    assert found.mean().item() == pytest.approx(5 * LOG2 / 3, rel=1e-12)
    with pytest.raises(ConfigurationError, match=r"draw texts .* with Pairs"):
        TokenWeighted(TASK.nll)(Bigram(), TWO)


def test_what_is_refused() -> None:
    for loss in (lambda t: CEU(t), lambda t: Misdirection(t), lambda t: Anchor(t, uniform())):
        with pytest.raises(UnsupportedError, match=r"about texts and needs tasks\.Language; found Classification"):
            loss(Vision())
    for wrong in (lambda: NPO(TASK, uniform(), 0.0), lambda: SimNPO(TASK, -1.0), lambda: DPO(TASK, uniform(), 0.0)):
        with pytest.raises(ConfigurationError, match="beta must be a number in"):
            wrong()
