"""What stands for the original model says what a frozen copy of it says, after the model has moved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests._texts import batch, llama, lora
from unweave.errors import ConfigurationError
from unweave.execution import seeded
from unweave.losses import (
    DPO,
    NPO,
    AdaptersOff,
    Anchor,
    Divergence,
    Remembered,
    Swapped,
    Undial,
    frozen,
    reference,
    remember,
)
from unweave.modalities.texts.data import Text, TextRows
from unweave.tasks import Diffusion, Language, Schedule

TASK, BATCH = Language(), batch()


def moved(model: nn.Module) -> nn.Module:
    """Every weight that may move has moved, and dropout is on."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in model.parameters():
            if p.requires_grad:
                p.add_(0.3 * torch.randn(p.shape, generator=generator))
    return model.train()


def rows(count: int = 6, alternate: bool = False) -> TextRows:
    """Made-up tokens: text i has i + 2 of them, the last i + 1 being its answer."""
    lengths = torch.arange(2, count + 2)
    tokens = torch.randint(1, 40, (int(lengths.sum()),), generator=torch.Generator().manual_seed(int(alternate)))
    texts = tuple(Text(str(i), (("user", "?"),), "a") for i in range(count))
    bounds = torch.tensor([0, *lengths]).cumsum(0)
    other = None if alternate else rows(count, True)
    return TextRows(texts, tokens.int(), bounds, torch.ones(count, dtype=torch.int64), torch.arange(count), 0, other)


@pytest.mark.parametrize("started", [False, True])
def test_adapters_off_or_swapped_is_the_frozen_copy(started: bool) -> None:
    model = lora(llama(layers=3), started=started)
    copy, least = frozen(model), reference(model)
    assert isinstance(least, Swapped if started else AdaptersOff)
    assert reference(least) is least
    moved(model)
    flags = [(p.requires_grad, m.training) for m in model.modules() for p in m.parameters(recurse=False)]
    losses = [
        lambda r: NPO(TASK, r),
        lambda r: Divergence(TASK, r),
        lambda r: Divergence(TASK, r, 2.0),
        lambda r: Anchor(TASK, r, 1),
        lambda r: Undial(TASK, r),
    ]
    for loss in losses:
        torch.manual_seed(0)
        found = loss(least)(model, BATCH)
        torch.manual_seed(0)
        expected = loss(copy)(model, BATCH)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
        assert (found - loss(copy)(copy, BATCH)).abs().max() > 1e-3, "it has moved"
    assert len(losses) == 5
    assert flags == [(p.requires_grad, m.training) for m in model.modules() for p in m.parameters(recurse=False)]


class Wrapped(nn.Module):
    """A model inside another, which says nothing of adapters."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.inside(*args, **kwargs)


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("kind", ["peft", "diffusers"])
def test_adapters_are_found_wherever_they_are(kind: str, wrapped: bool) -> None:
    diffusers, peft = pytest.importorskip("diffusers"), pytest.importorskip("peft")
    torch.manual_seed(0)
    model = diffusers.UNet2DConditionModel(
        sample_size=4, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(8,), norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D",), up_block_types=("CrossAttnUpBlock2D",), cross_attention_dim=8,
        attention_head_dim=4,
    )  # fmt: skip
    config = peft.LoraConfig(r=2, target_modules=["to_q", "to_v"])
    if kind == "peft":
        model = peft.get_peft_model(model, config)
    else:
        model.requires_grad_(False)
        model.add_adapter(config)
    model = Wrapped(model) if wrapped else model
    copy, least = frozen(model), reference(model)
    assert isinstance(least, AdaptersOff)
    moved(model).eval()
    flags = [p.requires_grad for p in model.parameters()]
    task = Diffusion(Schedule.of({}), call=lambda m, x, t, c: m(x, t, encoder_hidden_states=c))
    data = {"x0": torch.randn(3, 1, 4, 4), "condition": torch.randn(3, 2, 8)}
    with seeded(1):
        found = Divergence(task, least)(model, data)
    with seeded(1):
        expected = Divergence(task, copy)(model, data)
    assert float(expected.detach().min()) > 0
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-9)
    found.sum().backward()
    touched = [n for n, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())]
    assert touched and all("lora_" in n for n in touched)
    assert flags == [p.requires_grad for p in model.parameters()]


def test_gradients_reach_the_adapters_alone() -> None:
    model = lora(llama())
    moved(model)
    NPO(TASK, AdaptersOff())(model, BATCH).sum().backward()
    touched = [n for n, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())]
    assert touched and all("lora_" in n for n in touched)


def test_a_plain_model_is_copied() -> None:
    model = llama()
    assert isinstance(reference(model), nn.Module) and reference(model) is not model
    with pytest.raises(ConfigurationError, match="AdaptersOff needs a PEFT model; found LlamaForCausalLM"):
        AdaptersOff().of(model)


def test_other_weights_that_move_are_refused() -> None:
    model = lora(llama())
    least = reference(model), Swapped({})
    model.get_parameter("base_model.model.lm_head.weight").requires_grad_(True)
    with pytest.raises(ConfigurationError, match="1 weights beside the adapters may move"):
        NPO(TASK, least[0])(model, BATCH)
    with pytest.raises(ConfigurationError, match="may move that were not kept"):
        NPO(TASK, least[1])(model, BATCH)


def test_remembered_says_what_the_model_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = llama().train(), rows()
    original = frozen(model)
    memory = remember(model, TASK, data, batch=4, folder=tmp_path)
    assert model.training and len(list(tmp_path.iterdir())) == 1
    moved(model).eval()
    for loss in (NPO, DPO):
        torch.testing.assert_close(
            loss(TASK, memory)(model, data.batch([4, 1])), loss(TASK, original)(model, data.batch([4, 1]))
        )
    part = remember(original, Language("sum"), data.subset([5, 2]), folder=tmp_path)
    torch.testing.assert_close(part(data.batch([2, 5])), memory(data.batch([2, 5])))

    def forbidden(*_: Any) -> None:
        raise AssertionError("it is on disk")

    monkeypatch.setattr("unweave.losses.original._asked", forbidden)
    assert remember(original, TASK, data, folder=tmp_path).values.equal(memory.values)
    with pytest.raises(AssertionError, match="on disk"):
        remember(model, TASK, data, folder=tmp_path)  # other weights
    with pytest.raises(AssertionError, match="on disk"):
        remember(original, TASK, data.subset([0]), folder=tmp_path)  # other rows


def test_what_was_not_remembered_is_said() -> None:
    memory = Remembered(torch.tensor([1.0, float("nan"), 3.0]))
    assert memory({"index": torch.tensor([2, 0])}).tolist() == [3.0, 1.0]
    with pytest.raises(ConfigurationError, match=r"rows \[1, 7\] were not remembered"):
        memory({"index": torch.tensor([0, 1, 7])})
    with pytest.raises(ConfigurationError, match=r"batch\['index'\]"):
        memory(torch.zeros(2))
    with pytest.raises(ConfigurationError, match="alternative answers were not remembered"):
        DPO(TASK, memory)(llama(), rows().batch([0]))
    with pytest.raises(ConfigurationError, match="needs the original's whole prediction"):
        Divergence(TASK, memory)(llama(), BATCH)
