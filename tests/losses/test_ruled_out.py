"""Classes that cannot come, logits of -inf: every loss is that of the model without them, and so is its gradient."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from unweave.contract.metrics import values
from unweave.diagnosis.examples import log_odds
from unweave.errors import ConfigurationError
from unweave.losses import CEU, NPO, Ascent, Divergence, DivergenceEverywhere, Flattening, RandomLabels, Undial, frozen
from unweave.losses._base import Loss
from unweave.tasks import Language, Vision

CLASSES = 5
X = torch.randn(9, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
Y = torch.arange(9) % CLASSES


class Some(nn.Module):
    """A linear model; `beside` are classes among and behind its own that it rules out."""

    def __init__(self, seed: int, beside: tuple[int, ...] = ()) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(3, CLASSES, generator=generator, dtype=torch.float64))
        self.own = [c for c in range(CLASSES + len(beside)) if c not in beside]
        self.count = CLASSES + len(beside)

    def forward(self, x: Tensor) -> Tensor:
        z = x @ self.weight
        return z.new_full((*z.shape[:-1], self.count), -torch.inf).index_copy(-1, torch.tensor(self.own), z)


class Texts(Some):
    """The same over tokens, whose vectors are rows of `X`."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return super().forward(X[input_ids])


BESIDE = {"none": (), "the last": (5,), "several": (0, 3, 7)}
VISION: dict[str, Callable[[nn.Module], Loss]] = {
    "kl": lambda before: Divergence(Vision(), before),
    "kl, warm": lambda before: Divergence(Vision(), before, 2.0),
    "scrub": lambda before: Ascent(Divergence(Vision(), before)),
    "npo": lambda before: NPO(Vision(), before),
    "undial": lambda before: Undial(Vision(), before),
    "random labels": lambda before: RandomLabels(Vision()),
    "random wrong labels": lambda before: RandomLabels(Vision(), exclude_true=True),
    "flattening": lambda before: Flattening(Vision()),
    "log odds": lambda before: log_odds(Vision()),
    "nll": lambda before: Vision().nll,
}
TEXTS: dict[str, Callable[[nn.Module], Loss]] = {
    "kl": lambda before: Divergence(Language(), before),
    "kl everywhere": lambda before: DivergenceEverywhere(Language(), before),
    "undial": lambda before: Undial(Language(), before),
    "undial, compat": lambda before: Undial(Language(), before, compat="open-unlearning"),
    "ce-u": lambda before: CEU(Language()),
    "npo": lambda before: NPO(Language(), before),
}


def asked(loss: Loss, model: Some, batch: object) -> tuple[Tensor, Tensor]:
    torch.manual_seed(3)
    found = loss(model, batch)
    return found.detach(), torch.autograd.grad(found.sum(), model.weight)[0]


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("name", VISION)
def test_a_classifier(name: str, beside: str) -> None:
    found = []
    for ruled in ((), BESIDE[beside]):
        model, before = Some(1, ruled), frozen(Some(2, ruled))
        found.append(asked(VISION[name](before), model, (X, torch.tensor(model.own)[Y])))
    for a, b in zip(*found, strict=True):
        assert b.isfinite().all()
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    assert found[0][1].any()


@pytest.mark.parametrize("beside", ["none", "the last"])
@pytest.mark.parametrize("name", TEXTS)
def test_a_language_model(name: str, beside: str) -> None:
    ids = torch.tensor([[0, 1, 2, 3], [4, 3, 2, 1]])
    labels = torch.tensor([[-100, 1, 2, 3], [-100, -100, 2, 1]])
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    if name == "undial, compat":  # lowers the logit of token V - 100 where nothing is to be predicted
        batch["labels"] = ids
    found = [asked(TEXTS[name](frozen(Texts(2, ruled))), Texts(1, ruled), batch) for ruled in ((), BESIDE[beside])]
    for a, b in zip(*found, strict=True):
        assert b.isfinite().all()
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_by_hand() -> None:
    """p = (3/4, 1/4, 0), q = (1/2, 1/2, 0): KL(p || q) = 3/4 log(3/2) - 1/4 log 2; KL(q || p) as usual."""
    p, q = (torch.tensor([[a, 1 - a, 0.0]]).log() for a in (0.75, 0.5))
    task, batch = Vision(), (torch.zeros(1), torch.tensor([0]))
    expected = 0.75 * torch.tensor(1.5).log() - 0.25 * torch.tensor(2.0).log()
    torch.testing.assert_close(task.divergence(Fixed(q), Fixed(p), batch), expected[None])
    certain = torch.tensor([[0.0, -torch.inf, -torch.inf]])
    assert task.divergence(Fixed(certain), Fixed(certain), batch).item() == 0.0
    torch.testing.assert_close(task.divergence(Fixed(q), Fixed(certain), batch), torch.tensor(2.0).log()[None])
    assert task.divergence(Fixed(certain), Fixed(q), batch).item() == torch.inf, (
        "what the reference allows, q rules out"
    )


class Fixed(nn.Module):
    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, x: Tensor) -> Tensor:
        return self.logits


def test_scores_of_a_certain_model() -> None:
    """One class alone can come: accuracy, loss and score are numbers or infinities of the right sign, never NaN."""
    model, task = Fixed(torch.tensor([[0.0, -torch.inf], [-torch.inf, 2.0]])), Vision()
    batch = torch.zeros(2), torch.tensor([0, 0])
    assert values("accuracy", task, model, batch).tolist() == [1.0, 0.0]
    assert values("loss", task, model, batch).tolist() == [0.0, torch.inf]
    assert values("score", task, model, batch).tolist() == [torch.inf, -torch.inf]


LABELS: dict[str, tuple[Tensor, str]] = {
    "measurements": (torch.tensor([0.3, 1.7]), "a regression has no classes. .*task='regression'"),
    "measurements in a column": (torch.tensor([[0.3], [1.7]]), "a regression has no classes"),
    "whole floats": (torch.tensor([0.0, 3.0]), r"labels\.long\(\) if they are class indices"),
    "whole floats in a column": (torch.tensor([[0.0], [3.0]]), r"labels\.flatten\(\)\.long\(\)"),
    "one-hot": (torch.eye(2), r"labels\.argmax\(1\) if they are one-hot"),
    "several classes": (torch.tensor([[1, 1, 0], [0, 0, 1]]), "several classes per example: .*task='multilabel'"),
    "shares": (torch.tensor([[0.3, 0.7], [0.5, 0.5]]), "They are probabilities: pass a Task of your own"),
    "several measurements": (torch.tensor([[0.3, 17.0], [0.5, 0.5]]), "several numbers per example"),
    "pixels": (torch.zeros(2, 4, 4, dtype=torch.long), "several numbers per example: pass task='dense'"),
    "complex": (torch.tensor([1j, 2.0]), "They are no whole numbers"),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_that_are_no_class_indices_are_told_apart(name: str) -> None:
    labels, says = LABELS[name]
    with pytest.raises(ConfigurationError, match=says):
        Vision().nll(Fixed(torch.zeros(2, 4)), (torch.zeros(2, 3), labels))
