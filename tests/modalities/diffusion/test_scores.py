from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from tests.modalities.diffusion._tiny import MEANS, SPREAD, Denoiser, Held, exam
from unweave.errors import ConfigurationError
from unweave.modalities.diffusion.evaluation.exam import Exam
from unweave.modalities.diffusion.evaluation.scores import METRICS, ROWS, SHIFTS, gaps, score
from unweave.modalities.diffusion.evaluation.search import ATTACKS, KINDS, Attack


def without() -> Denoiser:
    """A model that draws class 0 where it is asked for class 2."""
    means = MEANS.clone()
    means[2] = means[0]
    return Denoiser(means)


class Broken(nn.Module):
    """Draws what is no number."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x: torch.Tensor, timestep: torch.Tensor, class_labels: torch.Tensor) -> torch.Tensor:
        return x * float("nan") + self.weight


def test_a_model_that_draws_everything_scores_like_one() -> None:
    sheet = score(Denoiser(), exam()).scores
    assert list(sheet) == [row.name for row in ROWS if row.name not in ATTACKS]
    assert sheet["UA_drawn"].value == 0
    assert sheet["RA_drawn"].value == 1
    assert sheet["leak"].value == 0
    assert sheet["p_class"].value > 0.9  # type: ignore[operator]
    assert sheet["entropy"].value < 0.3  # type: ignore[operator]
    assert (sheet["UA_drawn"].n, sheet["RA_drawn"].n) == (50, 60)
    assert sheet["MIA_denoising"].low < 0.5 < sheet["MIA_denoising"].high  # type: ignore[operator]
    for each in sheet.values():
        assert each.value is not None
        assert each.metric.limits[0] <= each.value <= each.metric.limits[1]


def test_one_that_draws_another_class_is_told_apart_and_its_loss_rises_on_that_class_alone() -> None:
    asked = exam()
    before, after = score(Denoiser(), asked), score(without(), asked)
    assert after.scores["UA_drawn"].value == 1
    assert after.scores["entropy"].value < 0.3  # type: ignore[operator]
    assert after.scores["RA_drawn"].value == 1
    for name in ("retain_denoising", "test_denoising"):
        assert after.scores[name].value == before.scores[name].value
    for name in ("forget_denoising", "unseen_denoising"):
        assert after.scores[name].value > 1.5 * before.scores[name].value  # type: ignore[operator]


def test_leaks_are_images_of_other_classes_that_are_called_the_forgotten_one() -> None:
    means = MEANS.clone()
    means[0] = means[2]
    sheet = score(Denoiser(means), exam()).scores
    assert sheet["leak"].value == pytest.approx(0.5)
    assert sheet["RA_drawn"].value == pytest.approx(0.5)
    original = score(Denoiser(), exam()).scores
    for name in ("frechet", "KID"):
        assert sheet[name].value > 3 * abs(original[name].value)  # type: ignore[arg-type]


def test_the_loss_is_that_of_the_best_guess_and_every_model_sees_the_same_noise() -> None:
    asked = exam(looks=20, most=2000)
    many = replace(asked, sets={**asked.sets, "retain": Held.of(0, 1, each=1000)}).losses(Denoiser(), "retain")
    a = asked.task.schedule.alphas_cumprod
    error = many.std() / np.sqrt(len(many))
    assert abs(many.mean() - float((a * SPREAD**2 / (a * SPREAD**2 + 1 - a)).mean())) < 4 * error
    values = asked.losses(Denoiser(), "retain")
    assert np.array_equal(values, asked.losses(Denoiser(), "retain"))
    assert score(Denoiser(), asked).scores["retain_denoising"].value == pytest.approx(values.mean())
    half = replace(asked, sets={**asked.sets, "retain": Held.of(0)})
    assert np.allclose(half.losses(Denoiser(), "retain"), values[:40], rtol=1e-4), "a row's noise is its own"
    twice = replace(asked, sets={**asked.sets, "test": asked.sets["retain"]})
    assert not np.allclose(twice.losses(Denoiser(), "test"), values, rtol=0.01), "and its set's"
    dropping = replace(asked, task=replace(asked.task, dropout=0.9))
    assert np.array_equal(dropping.losses(Denoiser(), "retain"), values), "conditions are dropped in training alone"


def test_members_whose_loss_is_lower_are_found() -> None:
    asked = exam()
    own = asked.sets["forget"]
    assert isinstance(own, Held)
    sharp = Held(own.x0 * 0.5 + 0.5 * MEANS[2].view(1, 1, 2, 2), own.labels)
    found = score(Denoiser(), replace(asked, sets={**asked.sets, "forget": sharp})).scores["MIA_denoising"]
    assert found.low > 0.55  # type: ignore[operator]
    assert found.p < 0.01  # type: ignore[operator]


def test_a_model_that_draws_nearly_one_class_alone_is_told() -> None:
    means = MEANS.clone()
    means[1] = means[0]
    (told,) = score(Denoiser(means), exam()).warnings
    assert "COLLAPSED: the judge calls class 0 in 100.0 % of 60 images that it drew of classes to keep" in told
    assert "no class has more than 50.0 %" in told
    (broken,) = score(Broken(), exam()).warnings
    assert "60 of 60 images that it drew of classes to keep are not finite" in broken
    assert score(Denoiser(), exam()).warnings == score(without(), exam()).warnings == ()


def test_beside_the_retrained_model_the_differences_are_paired() -> None:
    asked = exam()
    quick = Attack(tuple(each for each in KINDS if each != "prompt"), images=5, search=2, drawn=5)
    own, retrained = score(Denoiser(), asked, quick), score(without(), asked, quick)
    both = own.beside(retrained)
    assert list(both) == [row.name for row in (*ROWS, *SHIFTS) if not row.name.startswith("prompt_search")]
    assert both["UA_shift"].value == -1
    assert both["RA_shift"].value == 0
    assert both["retain_denoising_shift"].value == 0
    assert both["forget_denoising_shift"].high < 0  # type: ignore[operator]
    same = own.beside(own)
    assert all(same[row.name].value == 0 for row in SHIFTS if row.name in both)
    points = gaps(own.scores, retrained.scores)
    assert points["UA_drawn"].value == -100
    assert points["RA_drawn"].value == 0


def test_a_request_without_a_class_has_no_scores_of_one() -> None:
    asked = replace(exam(), forgotten=())
    sheet = score(Denoiser(), asked).scores
    assert not {"UA_drawn", "p_class", "entropy", "leak"} & set(sheet)
    assert set(gaps(sheet, sheet)) == {"RA_drawn", "MIA_denoising", "average_gap"}


def test_a_model_that_draws_no_numbers_has_reasons_instead() -> None:
    sheet = score(Broken(), exam()).scores
    for name in ("UA_drawn", "RA_drawn", "frechet", "KID", "forget_denoising", "MIA_denoising"):
        assert sheet[name].value is None
        assert "not finite" in sheet[name].reason


def test_what_cannot_be_asked_is_refused() -> None:
    asked = exam()
    with pytest.raises(ConfigurationError, match=r"either kept or forgotten; found \[2\] in both"):
        replace(asked, kept=(0, 2))
    with pytest.raises(ConfigurationError, match=r"sets must have test; found forget, retain"):
        replace(asked, sets={"forget": Held.of(2), "retain": Held.of(0)})
    with pytest.raises(ConfigurationError, match="sets may have forget, retain, test, unseen; found others"):
        replace(asked, sets={**asked.sets, "others": Held.of(2)})
    with pytest.raises(ConfigurationError, match="kept must name a class"):
        Exam(asked.task, asked.judge, asked.real, asked.sets, kept=())
    with pytest.raises(ConfigurationError, match="images"):
        exam(images=0)


def test_every_score_says_what_it_is() -> None:
    assert len(METRICS) == len(ROWS) + len(SHIFTS)
    for metric in METRICS.values():
        assert "FID" not in metric.definition
        assert "erased" not in metric.definition
