from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.modalities.diffusion._tiny import MEANS, SCHEDULE, SHAPE, SPREAD, Denoiser, guess, task
from unweave.data.draws import gaussian, numbers
from unweave.errors import ConfigurationError
from unweave.modalities.diffusion.evaluation.generate import generate
from unweave.tasks import Diffusion, Schedule

CLASSES = torch.arange(3).repeat_interleave(40)
PLACES = torch.arange(40).repeat(3)


def test_it_draws_the_classes_with_their_spread() -> None:
    drawn = generate(Denoiser(), task(), CLASSES, PLACES, SHAPE, steps=100).flatten(1)
    for each in range(3):
        own = drawn[each == CLASSES]
        assert (own.mean(0) - MEANS[each]).abs().max() < 0.1
        assert float(own.std(0).mean()) == pytest.approx(SPREAD, rel=0.3)


def test_an_image_is_the_same_in_any_batch_and_alone() -> None:
    whole = generate(Denoiser(), task(), CLASSES, PLACES, SHAPE)
    for batch in (1, 7):
        assert torch.allclose(generate(Denoiser(), task(), CLASSES, PLACES, SHAPE, batch=batch), whole, atol=1e-5)
    alone = generate(Denoiser(), task(), CLASSES[41:42], PLACES[41:42], SHAPE)
    assert torch.allclose(alone[0], whole[41], atol=1e-5)
    assert not torch.allclose(whole, generate(Denoiser(), task(), CLASSES, PLACES, SHAPE, seed=1), atol=0.01)


class Wave(nn.Module):
    """Some prediction that depends on everything, whatever it means."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Embedding(5, 4)

    def forward(self, x: Tensor, timestep: Tensor, class_labels: Tensor) -> Tensor:
        return (x + self.rows(class_labels).view(-1, *SHAPE) + timestep.view(-1, 1, 1, 1) / 1000).sin()


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_it_is_the_sampler_of_diffusers(kind: Any, guidance: float) -> None:
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDIMScheduler(prediction_type=kind, clip_sample=False)
    scheduler.set_timesteps(10)
    torch.manual_seed(0)
    model, classes = Wave(), torch.tensor([0, 1, 2])
    own = Diffusion(Schedule.of(scheduler.config), null=4)
    found = generate(model, own, classes, torch.arange(3), SHAPE, steps=10, guidance=guidance, seed=5)
    x = gaussian(numbers(5, torch.arange(3)), SHAPE)
    with torch.no_grad():
        for t in scheduler.timesteps:
            given, without = (model(x, t.expand(3), c) for c in (classes, torch.full((3,), 4)))
            x = scheduler.step(without + guidance * (given - without), t, x).prev_sample
    assert torch.allclose(found, x, rtol=1e-4, atol=1e-4 * float(x.abs().max()))


def test_embeddings_are_conditions_too() -> None:
    def call(model: Denoiser, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return guess(x, t, condition[:, 0])

    drawn = generate(Denoiser(), Diffusion(SCHEDULE, call=call), MEANS[2].expand(5, 1, 4), torch.arange(5), SHAPE)
    assert (drawn.flatten(1).mean(0) - MEANS[2]).abs().max() < 0.2


def test_the_model_stays_as_it_is() -> None:
    model = Denoiser().train()
    drawn = generate(model, task(), CLASSES[:2], PLACES[:2], SHAPE)
    assert model.training
    assert not drawn.requires_grad
    assert generate(model, task(), CLASSES[:0], PLACES[:0], SHAPE).shape == (0, *SHAPE)


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="at most the 100 timesteps"):
        generate(Denoiser(), task(), CLASSES, PLACES, SHAPE, steps=101)
    with pytest.raises(ConfigurationError, match="places must be one number for each of 120"):
        generate(Denoiser(), task(), CLASSES, PLACES[:3], SHAPE)
    with pytest.raises(ConfigurationError, match=r"steps.*0"):
        generate(Denoiser(), task(), CLASSES, PLACES, SHAPE, steps=0)
    with pytest.raises(ConfigurationError, match="guidance needs the condition that means none"):
        generate(Denoiser(), Diffusion(SCHEDULE), CLASSES, PLACES, SHAPE, guidance=2.0)
