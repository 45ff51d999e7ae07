"""What guards see of a denoiser: a net that is not trained, conditions that do not fit, another scale, a schedule."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tests.modalities.diffusion._tiny import CLASSES, MEANS, NULL, SCHEDULE, SHAPE, SPREAD, Denoiser
from unweave.guards import Guards, check, collapsed, probed
from unweave.modalities.diffusion.data import Conditioned
from unweave.tasks import Diffusion, Schedule

TASK = Diffusion(SCHEDULE, null=NULL)


def images(count: int = 240, shift: int = 0, scale: float = 1.0) -> Conditioned:
    draws = torch.Generator().manual_seed(0)
    classes = torch.arange(count) % CLASSES
    x = MEANS[classes].view(-1, *SHAPE) + SPREAD * torch.randn(count, *SHAPE, generator=draws)
    return Conditioned(scale * x, (classes + shift) % CLASSES)


def said(model: nn.Module, task: Diffusion = TASK, retain: Conditioned | None = None) -> list[str]:
    retain = images() if retain is None else retain
    return check(model, task, images(30), retain, guards=Guards())


def test_a_trained_model_on_its_own_data_raises_no_doubt() -> None:
    assert said(Denoiser()) == []


class Untrained(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.1))

    def forward(self, x: Tensor, timestep: Tensor, class_labels: Tensor) -> Tensor:
        return -self.scale * x.flip(-1)


@pytest.mark.parametrize(
    ("model", "task", "retain", "words"),
    [
        (Untrained(), TASK, images(), "a model that always answers 0"),
        (Denoiser(), TASK, images(shift=1), "the conditions do not fit the images"),
        (Denoiser(), TASK, images(scale=40.0), "a mean square of"),
        (
            Denoiser(),
            replace(TASK, schedule=Schedule.of({"num_train_timesteps": 100, "beta_start": 0.0005, "beta_end": 0.05})),
            images(),
            "its schedule is another one",
        ),
    ],
    ids=["untrained", "shifted conditions", "another scale", "another schedule"],
)
def test_each_blind_case_is_seen(model: nn.Module, task: Diffusion, retain: Conditioned, words: str) -> None:
    found = said(model, task, retain)
    assert any(words in each and each.startswith("retain: ") for each in found), found


@torch.no_grad()
def test_conditions_of_rows_that_are_sorted_by_class_are_seen_too() -> None:
    """As a folder of pictures gives them: a batch holds one class alone."""
    right, wrong = (
        [{"x0": data.x0[rows], "condition": data.labels[rows]} for rows in map(data.labels.eq, range(CLASSES))]
        for data in (images(), images(shift=1))
    )
    assert TASK.doubts(Denoiser(), right) == []
    assert any("the conditions do not fit the images" in each for each in TASK.doubts(Denoiser(), wrong))


def test_another_schedule_is_not_blamed_for_wrong_conditions() -> None:
    assert not any("schedule is another one" in each for each in said(Denoiser(), retain=images(shift=1)))


def test_few_examples_say_nothing_but_their_scale() -> None:
    assert said(Untrained(), retain=images(30)) == []
    assert len(said(Untrained(), retain=images(30, scale=40.0))) == 1


def test_one_class_alone_says_nothing_of_conditions() -> None:
    data = images()
    assert said(Denoiser(), retain=data.subset((data.labels == 1).nonzero().flatten())) == []


def test_looking_leaves_the_random_state_and_the_mode() -> None:
    model, state = Denoiser().train(), torch.random.get_rng_state()
    said(model)
    assert model.training and torch.equal(torch.random.get_rng_state(), state)


def test_a_model_worse_than_one_that_knows_nothing_has_collapsed() -> None:
    model = Denoiser()
    assert collapsed(probed(model, TASK, images(30), images())) == ""
    with torch.no_grad():
        model.means.weight.mul_(50)
    told = collapsed(probed(model, TASK, images(30), images()))
    assert told.startswith("THE MODEL COLLAPSED") and "knows nothing has 1" in told
