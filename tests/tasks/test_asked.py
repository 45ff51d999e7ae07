"""Where two tasks fit, the one that is named "auto" asks, and names both; what a model returns is taken or refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from unweave.data.batches import Batch
from unweave.errors import ConfigurationError
from unweave.tasks import Classification, Dense, Language, MultiLabel, Regression, guessed

X = torch.randn(30, 6, generator=torch.Generator().manual_seed(0))
SIGNS = torch.where(X[:, 0] > 0, 1.0, -1.0)
LINE = nn.Linear(6, 1)


class Tokens(nn.Module):
    """Logits `[b, t, 9]`."""

    def forward(self, input_ids: Tensor) -> Tensor:
        return nn.functional.one_hot(input_ids, 9).float()


@pytest.mark.parametrize("answer", [SIGNS, SIGNS[:, None], 0.5 + 0.45 * SIGNS], ids=["signs", "column", "smoothed"])
def test_two_values_of_one_number_may_be_classes(answer: Tensor) -> None:
    with pytest.raises(ConfigurationError, match=r"are -?[\d.]+ or [\d.]+\. .*'classification'.*'regression'"):
        guessed(LINE, [(X, answer)])


def test_two_values_of_several_numbers_may_be_labels() -> None:
    smoothed = 0.05 + 0.9 * (X[:, :4] > 0).float()
    with pytest.raises(ConfigurationError, match=r"'multilabel'.*'regression'"):
        guessed(nn.Linear(6, 4), [(X, smoothed)])
    assert type(guessed(nn.Linear(6, 4), [(X, (X[:, :4] > 0).float())])) is MultiLabel


def test_two_values_of_three_answers_and_three_values_are_amounts() -> None:
    assert type(guessed(LINE, [(X[:3], torch.tensor([1.5, 2.5, 2.5]))])) is Regression
    assert type(guessed(LINE, [(X, SIGNS), (X[:1], torch.tensor([0.25]))])) is Regression


def test_answers_that_are_the_inputs_may_be_of_a_causal_model() -> None:
    ids = torch.randint(0, 9, (5, 7))
    batches: list[Batch] = [(ids, ids), ({"input_ids": ids}, ids)]
    for batch in batches:
        with pytest.raises(ConfigurationError, match=r"language.*input_ids, attention_mask.*task='dense'"):
            guessed(Tokens(), [batch])
    assert type(guessed(Tokens(), [(ids, ids % 3)])) is Dense
    assert type(guessed(Tokens(), [{"input_ids": ids, "labels": ids}])) is Language


@pytest.mark.parametrize("task", [Regression(1.0), Classification(), Dense(), MultiLabel()], ids=repr)
def test_one_number_for_many_examples_is_refused(task: Regression) -> None:
    answers = {Regression: SIGNS, Classification: (SIGNS > 0).long(), MultiLabel: X > 0, Dense: (X > 0).long()}
    model = nn.Sequential(LINE, nn.Flatten(0), _Mean())
    with pytest.raises(ConfigurationError, match="each example; it returned a single number for 30"):
        task.nll(model, (X, answers[type(task)]))
    with pytest.raises(ConfigurationError, match="each example; it returned a single number for 30"):
        guessed(model, [(X, SIGNS)]).nll(model, (X, SIGNS))


class _Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean()


class _Only(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.squeeze()


def test_a_number_squeezed_out_of_one_example_is_its_own() -> None:
    model = nn.Sequential(LINE, _Only())
    for task, answer in ((Regression(1.0), SIGNS), (Classification(), (SIGNS > 0).long())):
        alone = torch.cat([task.nll(model, (X[row : row + 1], answer[row : row + 1])) for row in range(30)])
        torch.testing.assert_close(alone, task.nll(model, (X, answer)))


@pytest.mark.parametrize("kind", [torch.uint8, torch.int64])
def test_masks_as_files_have_them_are_no_places_that_do_not_count(kind: torch.dtype) -> None:
    x = torch.randn(5, 3, 4, 4)
    mask = (x[:, 0] > 0).to(kind) * 255
    for model, labels in ((nn.Conv2d(3, 2, 1), mask), (nn.Conv2d(3, 1, 1), mask[:, None])):
        task = guessed(model, [(x, labels)])
        with pytest.raises(ConfigurationError, match=r"0 and 255.*\(labels > 0\).long\(\).*ignore=255"):
            task.nll(model, (x, labels))
    labels = mask.clone()
    labels[:, 0] = 1
    with pytest.raises(ConfigurationError, match=r"a label is 255.*ignore=255"):
        Dense().nll(nn.Conv2d(3, 2, 1), (x, labels))


def test_pictures_as_answers_may_be_amounts() -> None:
    x = torch.randn(5, 3, 4, 4)
    with pytest.raises(ConfigurationError, match=r"torch.uint8.*'regression'.*a logit for each class"):
        guessed(nn.Conv2d(3, 3, 1), [(x, torch.randint(0, 256, (5, 3, 4, 4), dtype=torch.uint8))])


def test_signs_as_classes_are_numbered_from_0() -> None:
    with pytest.raises(ConfigurationError, match=r"\(labels > 0\).long\(\)"):
        Classification().nll(nn.Linear(6, 2), (X, SIGNS))


def test_predictions_that_no_gradient_reaches_are_told() -> None:
    for task, answer in ((Classification(), (SIGNS > 0).long()), (Regression(1.0), SIGNS), (Dense(), (X > 0).long())):
        with pytest.raises(ConfigurationError, match=r"returned torch.int64. If its forward ends in argmax"):
            task.nll(_Chosen(), (X, answer))
    with pytest.raises(ConfigurationError, match=r"complex64. They are no whole numbers"):
        Classification().nll(LINE, (X, torch.complex(SIGNS, SIGNS)))


class _Chosen(nn.Linear):
    def __init__(self) -> None:
        super().__init__(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).argmax(1)
