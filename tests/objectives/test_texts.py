"""Language models under Objectives: exact over micro-batches, by examples or tokens, and twice differentiable."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests._texts import batch, llama
from unweave.data.batches import divided
from unweave.data.pairs import Pair, Pairs
from unweave.losses import Ascent, TokenWeighted
from unweave.modalities.texts.data import Text, TextRows
from unweave.objectives import FORGET, RETAIN, Objectives
from unweave.tasks import Language

NLL = Language().nll


def rows(count: int = 8) -> TextRows:
    """Answers of 1 to 7 tokens, prompts of 2."""
    lengths = 3 + torch.arange(count) * 5 % 7
    tokens = torch.randint(1, 40, (int(lengths.sum()),)).int()
    texts = tuple(Text(str(i), (("user", "?"),), "a") for i in range(count))
    return TextRows(texts, tokens, torch.tensor([0, *lengths]).cumsum(0), torch.full((count,), 2), torch.arange(count))


def close(found: list[Tensor], expected: list[Tensor]) -> None:
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("parts", [2, 3, 7])
def test_micro_batches_change_nothing(parts: int) -> None:
    whole = batch((3, 2, 5, 1, 2, 4, 3), (4, 1, 2, 6, 1, 1, 3))
    objectives = Objectives(llama().double(), (Ascent(NLL), NLL))
    losses, gradients = objectives.at(Pair([whole], [whole])).gradients()
    found, divided_gradients = objectives.at(Pair(divided(whole, parts), divided(whole, parts))).gradients()
    torch.testing.assert_close(found, losses, rtol=1e-12, atol=0)
    for side in (FORGET, RETAIN):
        close(divided_gradients[side], gradients[side])


@pytest.mark.parametrize(("micro", "world"), [(1, 1), (3, 1), (1, 2), (2, 2)])
def test_the_token_weighted_mean_is_transformers_loss_over_the_whole_step(micro: int, world: int) -> None:
    """`sum of all nll / number of all answer tokens`, whatever the step is divided into; ranks are added by hand."""
    data, model = rows(), llama().double()
    streams = [
        Pairs(data, data, forget_batch=8, retain_batch=8, micro=micro, rank=r, world=world) for r in range(world)
    ]
    objectives = Objectives(model, (None, TokenWeighted(NLL)))
    loss, gradient, examples = 0.0, [torch.zeros_like(p) for p in model.parameters()], 0
    for stream in streams:
        pair = next(iter(stream))
        own = sum(len(b["index"]) for b in pair.retain)
        assert len(pair.retain) == micro
        value, g = objectives.at(pair).gradient(RETAIN)
        loss, examples = loss + own * float(value), examples + own
        gradient = [total + own * x for total, x in zip(gradient, g, strict=True)]
    assert examples == 8
    whole = data.batch(range(8))
    model(**{k: v for k, v in whole.items() if k != "index"}).loss.backward()
    expected = model(**{k: v for k, v in whole.items() if k != "index"}).loss
    assert loss / 8 == pytest.approx(float(expected.detach()), rel=1e-6)  # theirs is in float32
    for total, p in zip(gradient, model.parameters(), strict=True):
        torch.testing.assert_close(total / 8, p.grad, rtol=1e-4, atol=1e-7)
    mean = float(NLL(model, whole).detach().mean())
    assert abs(mean - float(expected.detach())) > 1e-3, "the mean over examples is another objective"


@pytest.mark.parametrize("checkpointing", [False, True])
def test_second_derivatives_go_through_attention(checkpointing: bool) -> None:
    """Double backward through SDPA's plain formula agrees with differences of gradients."""
    model = llama().double()
    assert model.config._attn_implementation == "sdpa"
    if checkpointing:
        model.activation_checkpointing_enable()
    objectives = Objectives(model, (Ascent(NLL), NLL)).at(Pair([batch()], [batch(seed=1)]))
    vector = [torch.randn_like(p) for p in objectives.parameters]
    exact, differences = objectives.contract(FORGET, vector), objectives.hvp(FORGET, vector)
    size = sum(float(e.square().sum()) for e in exact) ** 0.5
    error = sum(float((e - d).square().sum()) for e, d in zip(exact, differences, strict=True)) ** 0.5
    assert size > 0.1 and error < 1e-2 * size  # RMSNorm rounds to float32


class Fused(nn.Module):
    """A model that fails if fused attention is forbidden while only a first derivative is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(1))
        self.seen: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(torch.backends.cuda.flash_sdp_enabled())
        return self.w * x


def test_first_order_passes_keep_fused_attention() -> None:
    model = Fused()
    objectives = Objectives(model, (lambda m, b: m(b).square(), None)).at(Pair([torch.ones(2)], []))
    objectives.gradient(FORGET)
    objectives.contract(FORGET, [torch.ones(1)])
    assert model.seen == [True, False]
