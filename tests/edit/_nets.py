"""Small conditional denoisers, and sets of their conditions."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from tests._denoising import linear
from unweave.tasks import Diffusion

LENGTH, WIDTH, CLASSES = 3, 6, 4


class Rows(Dataset[dict[str, Tensor]]):
    """An image of noise for each condition."""

    def __init__(self, conditions: Tensor, repeat: int = 1) -> None:
        self.condition = conditions.repeat_interleave(repeat, 0)
        self.x0 = torch.randn(len(self.condition), 1, 8, 8, generator=torch.Generator().manual_seed(9)).tanh()

    def __len__(self) -> int:
        return len(self.condition)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        return {"x0": self.x0[row], "condition": self.condition[row]}


def texts(count: int = 4, seed: int = 0) -> Tensor:
    """Embeddings `[n, L, D]`, at most 8; the first token of all texts is the same."""
    drawn = torch.randn(8, LENGTH, WIDTH, generator=torch.Generator().manual_seed(seed))
    return torch.cat((drawn[:1, :1].expand(8, -1, -1), drawn[:, 1:]), 1)[:count]


def text_unet(**changes: Any) -> nn.Module:
    diffusers = pytest.importorskip("diffusers")
    given = {
        "sample_size": 8, "in_channels": 1, "out_channels": 1, "layers_per_block": 1, "block_out_channels": (8, 8),
        "norm_num_groups": 4, "attention_head_dim": 4, "cross_attention_dim": WIDTH,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    }  # fmt: skip
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return diffusers.UNet2DConditionModel(**(given | changes)).eval()


def class_unet(**changes: Any) -> nn.Module:
    diffusers = pytest.importorskip("diffusers")
    given = {
        "sample_size": 8, "in_channels": 1, "out_channels": 1, "layers_per_block": 1, "block_out_channels": (8,),
        "norm_num_groups": 4, "down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",),
        "num_class_embeds": CLASSES + 1, "add_attention": False,
    }  # fmt: skip
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return diffusers.UNet2DModel(**(given | changes)).eval()


def dit() -> nn.Module:
    diffusers = pytest.importorskip("diffusers")
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return diffusers.DiTTransformer2DModel(
            num_attention_heads=2, attention_head_dim=4, in_channels=1, out_channels=2, num_layers=2, sample_size=8,
            patch_size=4, num_embeds_ada_norm=CLASSES, norm_num_groups=1,
        ).eval()  # fmt: skip


class Attending(nn.Module):
    """One cross-attention layer of no library."""

    def __init__(self, width: int = WIDTH, *, bias: bool = False) -> None:
        super().__init__()
        self.attn2 = nn.ModuleDict({name: nn.Linear(width, 4, bias=bias) for name in ("to_k", "to_v")})
        self.query, self.out = nn.Linear(65, 4), nn.Linear(4, 64)

    def forward(self, x: Tensor, t: Tensor, embedded: Tensor) -> Tensor:
        query = self.query(torch.cat((x.flatten(1), t[:, None].to(x) / 10), 1))
        keys, values = self.attn2["to_k"](embedded), self.attn2["to_v"](embedded)
        looked = ((keys @ query[:, :, None]).softmax(1) * values).sum(1)
        return self.out(looked).view_as(x)


def called(model: nn.Module, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
    return model(x, t, condition)


def attending(*, bias: bool = False) -> Attending:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return Attending(bias=bias).eval()


def text_task(**changes: Any) -> Diffusion:
    """Null is another text with the same first token."""
    return Diffusion(linear(10), **({"null": texts(5)[4]} | changes))


def class_task(**changes: Any) -> Diffusion:
    return Diffusion(linear(10), **({"null": CLASSES} | changes))


@torch.no_grad()
def drawn(model: nn.Module, task: Diffusion, condition: Tensor) -> Tensor:
    """What the model predicts for one image at one time, by condition."""
    x = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(3)).expand(len(condition), -1, -1, -1)
    return task.seen(model, x, torch.full((len(condition),), 4), condition)
