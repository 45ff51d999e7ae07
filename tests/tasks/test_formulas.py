"""The losses of regression, multi-label and dense tasks are those of torch, and what does not fit is refused."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

import unweave
from unweave.errors import ConfigurationError
from unweave.losses import Flattening, RandomLabels
from unweave.tasks import Classification, Dense, Known, Language, MultiLabel, Regression, guessed


class Says(nn.Module):
    """A model that returns what it is given."""

    def forward(self, x: Any) -> Any:
        return x


SAYS = Says()


class Knows(nn.Module):
    """A model that returns the same whatever it is given."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, *_: Any, **__: Any) -> Tensor:
        return self.answer


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(7,), (7, 1), (7, 3), (7, 2, 2)])
def test_regression_is_the_normal_likelihood_less_that_of_an_exact_prediction(shape: tuple[int, ...]) -> None:
    """-log N(y; f, s^2) + log N(y; y, s^2), and the KL divergence of two normals of one scale."""
    found, right, scale = draw(*shape).double(), draw(*shape, seed=1).double(), 0.3
    normal = torch.distributions.Normal(found, scale)
    exact = torch.distributions.Normal(right, scale)
    expected = (exact.log_prob(right) - normal.log_prob(right)).reshape(7, -1).sum(1)
    task = Regression(scale)
    torch.testing.assert_close(task.nll(SAYS, (found, right)), expected)
    apart = torch.distributions.kl_divergence(exact, normal).reshape(7, -1).sum(1)
    torch.testing.assert_close(task.divergence(Knows(found), Knows(right), (found, right)), apart)
    error = (found - right).reshape(7, -1)
    torch.testing.assert_close(task.absolute_error(SAYS, (found, right)), error.abs().mean(1))
    torch.testing.assert_close(task.squared_error(SAYS, (found, right)), error.square().mean(1))


def test_one_column_more_is_no_other_shape_and_whole_targets_are_numbers() -> None:
    z, y = draw(5), torch.tensor([1, 2, 3, 4, 5])
    wide = Regression(2.0).nll(SAYS, (z[:, None], y))
    assert wide.shape == (5,)
    torch.testing.assert_close(wide, (z - y).square() / 8)
    torch.testing.assert_close(Regression(2.0).nll(SAYS, (z, y[:, None])), wide)


def test_a_loss_of_a_regression_does_not_know_the_unit_of_its_targets() -> None:
    z, y = draw(40), draw(40, seed=1)
    small, large = (Regression.fitted(SAYS, [(k * z, k * y)]) for k in (1.0, 1000.0))
    torch.testing.assert_close(large.scale, 1000 * small.scale, rtol=1e-5, atol=0)
    torch.testing.assert_close(small.nll(SAYS, (z, y)), large.nll(SAYS, (1000 * z, 1000 * y)))
    assert math.isclose(float(small.nll(SAYS, (z, y)).mean()), 0.5, rel_tol=1e-5), "the mean of z^2 / 2 is 1 / 2"


def test_a_fitted_scale_is_the_root_mean_square_of_each_target() -> None:
    z, y = draw(50, 2), draw(50, 2, seed=1) * torch.tensor([1.0, 30.0])
    data = TensorDataset(z, y)
    model = Says().train()
    found = Regression.fitted(model, data, batch_size=7)
    assert model.training and isinstance(found.scale, tuple)
    expected = (z - y).square().mean(0).sqrt().tolist()
    assert found.scale == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Regression(0.0), "scale must be a positive number.*found 0.0"),
        (lambda: Regression((1.0, -1.0)), "or a tuple of one for each target"),
        (lambda: Regression("1"), "scale must be a positive number"),  # type: ignore[arg-type]
        (lambda: Regression((1.0, 2.0)).nll(SAYS, (draw(4, 3), draw(4, 3))), "one for each of the 3 targets; found 2"),
        (lambda: Regression(1.0).nll(SAYS, (draw(4, 3), draw(4))), r"one number for each target, \[4\]; .*\[4, 3\]"),
        (lambda: Regression(1.0).nll(SAYS, (draw(4), ["a"] * 4)), "real numbers .* found list"),
        (lambda: Regression.fitted(SAYS, []), "needs examples; found none. State it"),
        (lambda: Regression.fitted(SAYS, [(draw(2), torch.tensor([1.0, torch.nan]))]), "not finite on 1 of 2 examples"),
        (lambda: Regression.fitted(SAYS, [(draw(9), draw(9))]), "fits them exactly.*holdout=.*Regression\\(scale\\)"),
        (lambda: MultiLabel().nll(SAYS, (draw(4, 3), torch.tensor([0, 1, 1, 0]))), "expects labels .*'classification'"),
        (lambda: MultiLabel().nll(SAYS, (draw(2, 2), torch.tensor([[0, 1], [2, 0]]))), "found 2. For amounts"),
        (lambda: MultiLabel().nll(SAYS, (draw(2, 3), torch.tensor([[0, 1], [1, 0]]))), "one logit for each label"),
        (lambda: MultiLabel().nll(SAYS, (draw(1, 2), torch.tensor([[-100, -100]]))), "label that is known; found none"),
        (lambda: Dense().nll(SAYS, (draw(2, 3, 4, 4), torch.ones(2, 2, 2).long())), r"\[2, 'classes', 2, 2\].*resize"),
        (lambda: Dense().nll(SAYS, (draw(2, 3, 5), torch.ones(2, 5).long())), r"classes='first'"),
        (lambda: Dense().nll(SAYS, (draw(2, 4, 4, 3), torch.ones(2, 4, 4).long())), r"classes='last'"),
        (lambda: Dense().nll(SAYS, (draw(2, 5, 3), torch.full((2, 5), 3))), "at least 0 and below 3"),
        (lambda: Dense().nll(SAYS, (draw(2, 5, 3), torch.full((2, 5), 255))), r"Dense\(ignore=255\)"),
        (lambda: Dense().nll(SAYS, (draw(2, 5, 3), torch.full((2, 5), -100))), "place that counts; found none in 2"),
        (lambda: Dense().nll(SAYS, (draw(2, 5, 3), draw(2, 5))), "class indices .*'regression'"),
        (lambda: Dense().nll(SAYS, (draw(4, 3), torch.ones(4).long())), "class for each place.*'classification'"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_way_out(make: Any, says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        make()


@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.int64, torch.float32])
def test_multilabel_is_binary_cross_entropy_and_the_jaccard_index(kind: torch.dtype) -> None:
    z, y = draw(6, 4), (draw(6, 4, seed=1) > 0)
    task, batch = MultiLabel(), (z, y.to(kind))
    expected = F.binary_cross_entropy_with_logits(z, y.float(), reduction="none").sum(1)
    torch.testing.assert_close(task.nll(SAYS, batch), expected)
    both, either = (z > 0) & y, (z > 0) | y
    torch.testing.assert_close(
        task.accuracy(SAYS, batch), torch.where(either.any(1), both.sum(1).double() / either.sum(1), 1.0)
    )
    torch.testing.assert_close(task.labels_right(SAYS, batch), ((z > 0) == y).double().mean(1))
    assert task.exact_match(SAYS, batch).tolist() == ((z > 0) == y).all(1).double().tolist()
    torch.testing.assert_close(task.guess(SAYS, batch), torch.full((6,), 4 * math.log(2)))


def test_no_label_rightly_predicted_is_right_and_an_unknown_one_does_not_count() -> None:
    z, y = torch.tensor([[-1.0, -2.0, 9.0], [-1.0, 3.0, -9.0]]), torch.tensor([[0, 0, -100], [0, 1, -100]])
    assert MultiLabel().accuracy(SAYS, (z, y)).tolist() == [1.0, 1.0]
    expected = F.binary_cross_entropy_with_logits(z[:, :2], y[:, :2].float(), reduction="none").sum(1)
    torch.testing.assert_close(MultiLabel().nll(SAYS, (z, y)), expected)


@pytest.mark.parametrize("places", [(4, 4), (3, 2, 2)])
def test_dense_is_the_mean_cross_entropy_of_the_places_that_count(places: tuple[int, ...]) -> None:
    z, y = draw(5, 3, *places), torch.randint(0, 3, (5, *places), generator=torch.Generator().manual_seed(2))
    y[0, 0] = 255
    task, counts = Dense(ignore=255), (y != 255).flatten(1)
    each = F.cross_entropy(z, y, reduction="none", ignore_index=255).flatten(1)
    torch.testing.assert_close(task.nll(SAYS, (z, y)), each.sum(1) / counts.sum(1))
    right = ((z.argmax(1) == y).flatten(1) & counts).sum(1).double() / counts.sum(1)
    torch.testing.assert_close(task.accuracy(SAYS, (z, y)), right)
    last = Dense(ignore=255, classes="last").nll(SAYS, (z.movedim(1, -1), y))
    torch.testing.assert_close(last, task.nll(SAYS, (z, y)))
    torch.testing.assert_close(task.nll(SAYS, (z, y[:, None])), task.nll(SAYS, (z, y)))


def test_overlap_by_hand() -> None:
    """Right 0 0 1 1, said 0 1 1 1: of class 0 one of two, of class 1 two of three; one that none has is left out."""
    z = F.one_hot(torch.tensor([[0, 1, 1, 1]]), 3).float()
    found = Dense(classes="last").overlap(SAYS, (z, torch.tensor([[0, 0, 1, 1]])))
    assert found.tolist() == pytest.approx([(1 / 2 + 2 / 3) / 2])


def test_one_logit_of_each_place_is_the_second_of_two() -> None:
    z, y = draw(3, 4, 4), (draw(3, 4, 4, seed=1) > 0)
    expected = F.binary_cross_entropy_with_logits(z, y.float(), reduction="none").flatten(1).mean(1)
    batches = ((z, y), (z[:, None], y[:, None].float()), (z[:, None], y.long()))
    for batch in batches:
        torch.testing.assert_close(Dense().nll(SAYS, batch), expected)
        assert type(guessed(SAYS, [batch])) is Dense


def test_a_hugging_face_token_classifier() -> None:
    """The loss is the mean over places of each example; labels beside input_ids are classes, no tokens."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = transformers.BertForTokenClassification(transformers.BertConfig(vocab_size=50, num_labels=3, **size)).eval()
    ids = torch.randint(1, 50, (8, 6))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids % 3}
    torch.testing.assert_close(Dense().nll(model, batch).mean(), model(**batch).loss)
    assert type(guessed(model, [batch])) is Dense and not Known(Dense()).tokens


def test_a_sequence_to_sequence_model_is_dense_over_its_answer() -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    size = {"d_model": 16, "d_ff": 16, "num_layers": 1, "num_heads": 2, "d_kv": 8, "decoder_start_token_id": 0}
    model = transformers.T5ForConditionalGeneration(transformers.T5Config(vocab_size=40, **size)).eval()
    ids, labels = torch.randint(1, 40, (4, 7)), torch.randint(1, 40, (4, 5))
    labels[0, 3:] = -100
    given = {"input_ids": ids, "decoder_input_ids": model._shift_right(labels), "labels": labels}
    assert type(guessed(model, [given])) is Dense
    seen = Dense().predictions(model, given)
    torch.testing.assert_close(seen.nll().mean(), model(input_ids=ids, labels=labels).loss)
    assert seen.owners.sum(torch.ones(len(seen.targets))).tolist() == [3.0, 5.0, 5.0, 5.0]


@pytest.mark.parametrize(("task", "classes"), [(MultiLabel(), 2), (Dense(), 3)])
def test_losses_on_predictions_know_whose_each_is(task: Any, classes: int) -> None:
    z, y = (draw(4, 5), draw(4, 5) > 0) if classes == 2 else (draw(4, 3, 2, 2), torch.ones(4, 2, 2).long())
    for loss in (RandomLabels(task), Flattening(task)):
        whole = loss(SAYS, (z, y))
        assert whole.shape == (4,) and bool((whole > 0).all())


@pytest.mark.parametrize(
    ("found", "answer", "kind"),
    [
        (draw(6, 4), torch.arange(6) % 4, Classification),
        (draw(6, 4), (torch.arange(6) % 2).bool()[:, None], Classification),
        (draw(6), (torch.arange(6) % 2).float(), Classification),
        (draw(6, 1), torch.arange(6) % 2, Classification),
        (draw(6, 1), torch.arange(6) % 5, Classification),  # and its checks ask whether these are amounts
        (draw(6, 4), torch.eye(4)[torch.arange(6) % 4], Classification),  # and its checks ask whether they are one-hot
        (draw(6), draw(6, seed=1), Regression),
        (draw(6, 1), draw(6, seed=1), Regression),
        (draw(6, 2), draw(6, 2, seed=1), Regression),
        (draw(6, 3), draw(6, 3) > 0, MultiLabel),
        (draw(6, 3), (draw(6, 3) > 0).float(), MultiLabel),
        (draw(2, 3, 4, 4), torch.ones(2, 4, 4).long(), Dense),
        (draw(2, 5, 3), torch.ones(2, 5).long(), Dense),
    ],
)
def test_auto(found: Tensor, answer: Tensor, kind: type) -> None:
    assert type(guessed(SAYS, [(found, answer)])) is kind


def test_auto_takes_tokens_for_a_language_model_where_answers_are_the_tokens() -> None:
    ids = torch.arange(12).view(3, 4)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids.clone()}
    batch["labels"][:, 0] = -100
    model = Knows(draw(3, 4, 12))
    assert type(guessed(model, [batch])) is Language
    assert type(guessed(model, [{**batch, "labels": ids % 3}])) is Dense


def test_auto_refuses_what_several_tasks_fit_or_none() -> None:
    with pytest.raises(ConfigurationError, match=r"sums to 1.*task='regression'.*your-own-task\.md"):
        guessed(SAYS, [(draw(6, 3), draw(6, 3).softmax(1))])
    with pytest.raises(ConfigurationError, match=r"nothing fits answers \[6, 3, 3\].*task='classification'"):
        guessed(SAYS, [(draw(6, 3, 3), draw(6, 3, 3, seed=1))])


def test_a_wrong_scale_and_probabilities_are_told() -> None:
    z, y = draw(60), draw(60)
    assert Regression(1.0).doubts(SAYS, [(z, y + 0.5 * draw(60, seed=2))]) == []
    (told,) = Regression(1e-3).doubts(SAYS, [(z, y + 0.5 * draw(60, seed=2))])
    assert "times the scale of 0.001" in told
    (told,) = MultiLabel().doubts(SAYS, [(draw(60, 3).sigmoid(), draw(60, 3) > 0)])
    assert "are probabilities" in told and "sigmoid" in told
    (told,) = Dense().doubts(SAYS, [(draw(9, 3, 4, 4).softmax(1), torch.ones(9, 4, 4).long())])
    assert "are probabilities" in told and "softmax" in told


@pytest.mark.filterwarnings("ignore::unweave.GuardWarning")
def test_the_scale_is_that_of_the_holdout_and_whole_targets_are_no_classes() -> None:
    """Targets of a forget set that no retain example has are no class that is removed whole."""
    torch.manual_seed(0)
    model, x = nn.Linear(3, 1), draw(90, 3)
    y = torch.arange(90).float() % 7
    sides = {"forget": TensorDataset(x[:9], y[:9] + 100), "retain": TensorDataset(x[9:60], y[9:60])}
    holdout = TensorDataset(x[60:], y[60:])
    task = unweave.unlearn(model, **sides, holdout=holdout, task="regression", steps=1).task  # type: ignore[arg-type]
    assert isinstance(task, Regression)
    error = (model(x[60:])[:, 0] - y[60:]).square().mean().sqrt()
    assert task.scale == pytest.approx(error.item(), rel=1e-5)
    result = unweave.unlearn(
        model, **sides, holdout=holdout, task="regression", steps=1, contract=unweave.Contract(keep=())
    )  # type: ignore[arg-type]
    assert result.contract is not None and [v.metric for v in result.contract.verdicts] == ["unseen"]


def test_a_scale_is_a_number_whoever_made_it() -> None:
    for one in (0.5, np.float32(0.5), np.float64(0.5), torch.tensor(0.5), Fraction(1, 2)):
        assert Regression(one) == Regression(0.5) and type(Regression(one).scale) is float  # type: ignore[arg-type]
    for many in ((0.5, 2), [0.5, 2.0], np.array([0.5, 2.0]), torch.tensor([0.5, 2.0])):
        assert Regression(many).scale == (0.5, 2.0)  # type: ignore[arg-type]
    for other in (True, torch.tensor(-1.0), torch.tensor([]), [], "0.5", [[0.5]], np.array([True]), float("nan")):
        with pytest.raises(ConfigurationError, match="scale must be a positive number"):
            Regression(other)  # type: ignore[arg-type]


def test_a_scale_of_many_targets_is_told_in_a_few_words() -> None:
    assert repr(Regression((0.5, 2.0))) == "Regression(scale=(0.5, 2.0))"
    assert repr(Regression(tuple(range(1, 1001)))) == "Regression(scale=(1, 2, ..., 1000; 1000 numbers))"
