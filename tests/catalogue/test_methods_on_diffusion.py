"""Every row of the catalogue on a conditional denoiser: it runs, or says before a weight moves what it needs."""

from __future__ import annotations

import copy
from functools import cache
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from tests._denoising import linear
from tests._toys import DIFFUSION_ONLY, TORCHJD
from unweave.data.pairs import Pairs
from unweave.errors import UnsupportedError
from unweave.loop import unlearn
from unweave.losses import Ascent, RandomLabels, Relabel
from unweave.methods import METHODS, Method, made
from unweave.tasks import Classification, Diffusion
from unweave.testing import check_loss

CLASSES = 3
NEEDS = {  # what rows say that have nothing to do with a denoiser
    **dict.fromkeys(
        ("random_label", "pdu", "npo", "simnpo", "dpo", "altpo", "undial", "wga", "satimp"),
        "needs a task with predictions",
    ),
    **dict.fromkeys(("rmu", "ce_u"), r"is about texts and needs tasks\.Language"),
}
RELABEL = {
    "hamu_q",
    "hamu_u",
    "unilateral_surgery",
    "eupmu",
    "eupmu_compat",
    "ofmu",
    "salun",
    "relabel_condition",
    "concept_ablation",
}


class Images(Dataset[dict[str, Tensor]]):
    """Blobs on a 4x4 grid, one place for each class."""

    def __init__(self, labels: Tensor, seed: int) -> None:
        noise = torch.randn(len(labels), 1, 4, 4, generator=torch.Generator().manual_seed(seed))
        self.x0 = -1 + 0.1 * noise + 2 * nn.functional.one_hot(labels, 16).float().view(-1, 1, 4, 4)
        self.condition = labels

    def __len__(self) -> int:
        return len(self.condition)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        return {"x0": self.x0[row], "condition": self.condition[row]}


class Plain(nn.Module):
    """A module of no library, called as `call=` says."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.Embedding(CLASSES + 1, 8)
        self.net = nn.Sequential(nn.Linear(25, 32), nn.Tanh(), nn.Linear(32, 16))

    def forward(self, everything: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        x, t, c = everything
        return self.net(torch.cat((x.flatten(1), self.rows(c), t[:, None].to(x) / 10), 1)).view_as(x)


def unet() -> nn.Module:
    diffusers = pytest.importorskip("diffusers")
    return diffusers.UNet2DModel(
        sample_size=4, in_channels=1, out_channels=1, layers_per_block=1, block_out_channels=(8,), norm_num_groups=4,
        down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",), num_class_embeds=CLASSES + 1,
        add_attention=False,
    )  # fmt: skip


def called(model: nn.Module, x: Tensor, t: Tensor, c: Tensor) -> Tensor:
    return model((x, t, c))


@cache
def original(kind: str) -> tuple[nn.Module, Diffusion]:
    """Trained for a moment, so that there is something to forget."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = Plain() if kind == "plain" else unet()
        call = called if kind == "plain" else None
        task = Diffusion(linear(10), null=CLASSES, dropout=0.1, call=call)
        optimizer, data = torch.optim.Adam(model.parameters(), 0.01), sets()[2]
        for _ in range(40):
            optimizer.zero_grad()
            task.nll(model, {"x0": data.x0, "condition": data.condition}).mean().backward()
            optimizer.step()
    model.zero_grad()
    return model.eval(), task


@cache
def sets() -> tuple[Images, Images, Images]:
    return (
        Images(torch.zeros(12).long(), 0),
        Images(torch.arange(24) % 2 + 1, 1),
        Images(torch.arange(48) % CLASSES, 2),
    )


def build(name: str, kind: str, **arguments: Any) -> Method:
    if name in TORCHJD:
        pytest.importorskip("torchjd")
    model, task = original(kind)
    return made(name, task, model, sets()[0], arguments)


@pytest.mark.parametrize("kind", ["plain", "unet"])
@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_row_runs_or_says_what_it_needs(name: str, kind: str) -> None:
    if name in NEEDS:
        with pytest.raises(UnsupportedError, match=NEEDS[name]):
            build(name, kind)
        return
    method = build(name, kind)
    assert isinstance(method.forget, Relabel) == (name in RELABEL)
    model = copy.deepcopy(original(kind)[0])
    pairs = Pairs(sets()[0], sets()[1], forget_batch=6, retain_batch=12)
    result = unlearn(model, method, islice(pairs, 3), torch.optim.SGD(model.parameters(), 0.01))
    assert result.skipped == 0
    moved = [
        (a - b).abs().max().item() for a, b in zip(model.parameters(), original(kind)[0].parameters(), strict=True)
    ]
    assert 0 < max(moved) < 10


def test_the_table_is_complete() -> None:
    assert set(METHODS) > RELABEL | set(NEEDS)


@pytest.mark.parametrize("name", sorted(DIFFUSION_ONLY))
def test_rows_of_diffusion_say_so_elsewhere(name: str) -> None:
    with pytest.raises(UnsupportedError, match=r"needs tasks\.Diffusion"):
        METHODS[name](Classification(), original("plain")[0])


def test_other_tasks_keep_their_forget_sides() -> None:
    model = nn.Linear(2, 2)
    for name in sorted(RELABEL - DIFFUSION_ONLY):
        wanted = RandomLabels if name in ("salun", "eupmu_compat") else Ascent
        assert type(METHODS[name](Classification(), model).forget) is wanted


def test_rows_may_have_defaults_of_their_own_for_denoisers() -> None:
    elsewhere = nn.Linear(2, 2)
    assert build("hamu_q", "plain").rule.ratio == 0.5 != METHODS["hamu_q"](Classification(), elsewhere).rule.ratio  # type: ignore[attr-defined]
    assert build("hamu_q", "plain", ratio=0.2).rule.ratio == 0.2  # type: ignore[attr-defined]
    assert build("unilateral_surgery", "plain").rule.tolerance == -0.1  # type: ignore[attr-defined]
    assert METHODS["unilateral_surgery"](Classification(), elsewhere).rule.tolerance == 0  # type: ignore[attr-defined]
    assert build("hamu_u", "plain").rule.ratio == 0.8  # type: ignore[attr-defined]
    assert METHODS["hamu_u"](Classification(), elsewhere).rule.ratio == 0.1  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", sorted(set(METHODS) - set(NEEDS)))
def test_the_losses_of_a_row_pass_the_kit(name: str) -> None:
    """What is noised is noised by each example's own draw: neither a second look nor micro-batches change it."""
    method, (model, task), data = build(name, "unet"), original("unet"), sets()[2]
    batch = {"x0": data.x0[:6], "condition": data.condition[:6]}
    losses = [side for side in (method.forget, method.retain) if side is not None]
    for loss in losses:
        assert check_loss(loss, task, model=model, batch=batch)["uncoupled"] == 6
    assert losses
