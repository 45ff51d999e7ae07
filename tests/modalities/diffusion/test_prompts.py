"""Words in front of a text: what the search finds where the answer is known, and what an encoder makes of it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.modalities.diffusion._pipeline import pipeline
from unweave.modalities.diffusion.evaluation.prompts import searched_tokens
from unweave.modalities.diffusion.frozen import Frozen


class Toy:
    """Three tokens, whose embeddings are the condition."""

    free = 3

    def __init__(self, table: Tensor) -> None:
        self.table = table

    def embedded(self, free: Tensor) -> Tensor:
        return free

    def text(self, tokens: Tensor) -> str:
        return str(tokens.tolist())


@pytest.mark.parametrize("seed", range(5))
def test_tokens_apart_from_each_other_are_found_one_a_step(seed: int) -> None:
    words, wanted = Toy(torch.eye(12)), torch.randperm(12, generator=torch.Generator().manual_seed(seed))[:3]
    found = searched_tokens(words, lambda _, c: (c - words.table[wanted]).square().sum(), steps=3, seed=seed)
    assert found.tolist() == wanted.tolist()


def test_no_exchange_is_made_that_raises_the_loss_on_the_same_noise() -> None:
    noise = torch.randn(20, 3, 4, generator=torch.Generator().manual_seed(1))
    words = Toy(torch.randn(30, 4, generator=torch.Generator().manual_seed(0)))

    def loss(step: int, condition: Tensor) -> Tensor:
        return (condition.tanh() - 1 + noise[step]).square().sum()

    tokens = [searched_tokens(words, loss, steps, seed=0) for steps in range(1, 6)]
    assert len({tuple(each.tolist()) for each in tokens}) > 1, "something was exchanged"
    for step, (before, after) in enumerate(pairwise(tokens), 1):
        assert loss(step, words.table[after]) <= loss(step, words.table[before])


def test_what_is_found_can_be_typed(tmp_path: Path) -> None:
    frozen = Frozen(pipeline(tmp_path / "sd"), vae=True, texts=True, device=torch.device("cpu"))
    words = frozen.words("a top", 3)
    tokens = torch.tensor([40, 5, 50])
    asked = words.table[tokens].requires_grad_()
    condition = words.embedded(asked)
    typed = words.text(tokens)
    assert typed.endswith("a top") and typed != "a top"
    assert torch.allclose(condition, frozen.embedded([typed])[0], atol=1e-6)
    (slope,) = torch.autograd.grad(condition.square().sum(), asked)
    assert slope.abs().sum(1).all(), "every free token counts"
    assert words.embedded(asked).equal(condition), "the encoder is as it was"
    plain = frozen.embedded(["a top"])
    assert plain.equal(frozen.embedded(["a top"]))


def test_a_long_text_makes_room_for_one_token(tmp_path: Path) -> None:
    frozen = Frozen(pipeline(tmp_path / "sd"), vae=True, texts=True, device=torch.device("cpu"))
    words = frozen.words("a very long text of many many letters that nobody reads to its end", 5)
    assert words.free == 1
    found = words.embedded(words.table[:1])
    assert found.shape == frozen.nothing.shape
