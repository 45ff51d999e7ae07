"""The adapter, against closed forms for two objectives that are written here and nowhere else."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor

from unweave.errors import ConfigurationError, UnsupportedError
from unweave.rules import PCGrad, TorchJD
from unweave.rules import torchjd as adapter
from unweave.testing import check_rule
from unweave.testing.gradients import BLOCKS, COUNT, PAIRS, at_angle, gram

pytest.importorskip("torchjd")
ORDINARY = [g for name, g in zip(PAIRS, BLOCKS, strict=True) if "random" in name or "unit" in name]


@pytest.mark.parametrize("name", adapter.AGGREGATORS)
def test_properties(name: str) -> None:
    assert check_rule(TorchJD(name), degree=1, rtol=1e-5)["scale"] == 4 * COUNT


def test_mgda_never_raises_either_objective() -> None:
    assert check_rule(TorchJD("MGDA"), never_raises=("forget", "retain"))["never raises"] == 2 * COUNT


def test_upgrad_never_raises_either_objective_of_comparable_size() -> None:
    but = ("tiny forget", "tiny retain", "both ends")
    found = check_rule(TorchJD("UPGrad"), never_raises=("forget", "retain"), but=but)
    assert found["never raises"] == 2 * (COUNT - 12)


@pytest.mark.parametrize("name", ["CAGrad", "UPGrad"])
def test_a_nearly_vanished_retain_gradient_still_counts(name: str) -> None:
    """That is where unlearning starts, at a memorised optimum: 10^4 times shorter is not 0."""
    even, uneven = (TorchJD(name).weights(gram(*at_angle(130.0, 1.0, s)))[0] for s in (1e-3, 1e-4))
    torch.testing.assert_close(uneven * torch.tensor([1.0, 0.1]), even, rtol=0.02, atol=1e-6)


def test_mgda_is_the_shortest_convex_combination() -> None:
    """w_f = clamp((|r|^2 - <f,r>) / |f - r|^2, 0, 1)."""
    for g in ORDINARY:
        share = ((g[1, 1] - g[0, 1]) / (g[0, 0] + g[1, 1] - 2 * g[0, 1])).clamp(0, 1)
        close(TorchJD("MGDA"), g, torch.stack([share, 1 - share]))


def test_upgrad_of_two_is_the_mean_form_of_pcgrad() -> None:
    for g in ORDINARY:
        close(TorchJD("UPGrad"), g, PCGrad().weights(g[None])[0] / 2, rtol=1e-6)


def test_imtl_g_projects_equally_on_both() -> None:
    for g in ORDINARY:
        w = TorchJD("IMTLG").weights(g[None])[0]
        gain = (g @ w) / g.diagonal().sqrt()
        torch.testing.assert_close(gain[0], gain[1], rtol=1e-8, atol=1e-12)
        torch.testing.assert_close(w.sum(), torch.ones((), dtype=torch.float64))


def test_aligned_mtl_is_the_mean_of_the_orthogonalised_gradients() -> None:
    """w = sqrt(l_min) G^(-1/2) (1/2, 1/2); with sqrt G = (G + sqrt(det) I) / sqrt(tr + 2 sqrt(det))."""
    for g in ORDINARY:
        root_det = torch.linalg.det(g).sqrt()
        root = (g + root_det * torch.eye(2, dtype=g.dtype)) / (g.trace() + 2 * root_det).sqrt()
        smallest = (g.trace() - (g.trace().square() - 4 * root_det.square()).sqrt()) / 2
        half = torch.full((2,), 0.5, dtype=g.dtype)
        close(TorchJD("AlignedMTL"), g, smallest.sqrt() * torch.linalg.solve(root, half), rtol=1e-6)


def test_cagrad_is_the_best_worst_case_near_the_mean() -> None:
    """max_d min_i <g_i, d> subject to |d - g_0| <= c |g_0|: none on a fine grid of the ball does better."""
    angles = torch.linspace(0, 2 * torch.pi, 4001, dtype=torch.float64)
    for g in ORDINARY:
        j = torch.linalg.cholesky(g)  # two vectors with this Gramian
        mean = j.mean(0)
        ball = mean + 0.5 * mean.norm() * torch.stack([angles.cos(), angles.sin()], -1)
        worst = (ball @ j.T).amin(-1).max()
        d = TorchJD("CAGrad").weights(g[None])[0] @ j
        assert float((d - mean).norm()) <= 0.5 * float(mean.norm()) * (1 + 1e-4)
        assert float((j @ d).min()) >= float(worst) - 1e-4 * float(worst.abs() + mean.norm().square())


def test_an_unknown_aggregator_is_named_with_a_suggestion() -> None:
    with pytest.raises(ConfigurationError, match=r"aggregator must be .*found 'CAgrad'.*Did you mean 'CAGrad'"):
        TorchJD("CAgrad")


def test_without_torchjd_it_says_which_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter._weighting.cache_clear()
    monkeypatch.setitem(sys.modules, "torchjd.aggregation", None)
    with pytest.raises(UnsupportedError, match=r'pip install "unweave\[moo\]"'):
        TorchJD("MGDA")


def close(rule: TorchJD, g: Tensor, expected: Tensor, rtol: float = 1e-8) -> None:
    atol = rtol * float(expected.abs().max())
    torch.testing.assert_close(rule.weights(g[None])[0], expected, rtol=rtol, atol=atol)
