"""A denoiser of four pixels whose best guess is known, and a judge of its pictures."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unweave.data.batches import Batch
from unweave.data.protocol import Indices
from unweave.evaluation.intervals import share
from unweave.modalities.diffusion.evaluation.exam import Exam
from unweave.modalities.diffusion.evaluation.judge import Judge
from unweave.tasks import Diffusion, Schedule

CLASSES, NULL, SHAPE = 3, 3, (1, 2, 2)
SCHEDULE = Schedule.of({"num_train_timesteps": 100, "beta_start": 0.001, "beta_end": 0.2})
MEANS = torch.tensor([[0.8, 0.8, -0.8, -0.8], [-0.8, 0.8, 0.8, -0.8], [-0.8, -0.8, 0.8, 0.8], [0.0, 0.0, 0.0, 0.0]])
SPREAD = 0.1


class Denoiser(nn.Module):
    """The mean of the noise given x_t, where pixels of a class are normal around its row of `means`."""

    def __init__(self, means: Tensor = MEANS) -> None:
        super().__init__()
        self.means = nn.Embedding.from_pretrained(means.clone(), freeze=False)

    def forward(self, x: Tensor, timestep: Tensor, class_labels: Tensor) -> Tensor:
        return guess(x, timestep, self.means(class_labels))


def guess(x: Tensor, timestep: Tensor, means: Tensor) -> Tensor:
    """The mean of the noise."""
    a = SCHEDULE.alphas_cumprod[timestep].float().view(-1, 1, 1, 1)
    return (1 - a).sqrt() * (x - a.sqrt() * means.view(-1, *SHAPE)) / (a * SPREAD**2 + 1 - a)


class Nearest(nn.Module):
    """Logits by the distance to each class; the last linear layer sees the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, CLASSES)
        means = (MEANS[:CLASSES] + 1) / 2
        with torch.no_grad():
            self.head.weight.copy_(20 * means)
            self.head.bias.copy_(-10 * means.square().sum(1))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images.flatten(1))


@dataclass(frozen=True, eq=False)
class Held:
    """Images of some classes, 40 each."""

    x0: Tensor
    labels: Tensor

    @classmethod
    def of(cls, *classes: int, seed: int = 0, each: int = 40) -> Held:
        labels = torch.tensor(classes).repeat_interleave(each)
        noise = torch.randn(len(labels), 4, generator=torch.Generator().manual_seed(seed))
        return cls((MEANS[labels] + SPREAD * noise).view(-1, *SHAPE), labels)

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Indices) -> Batch:
        rows = torch.as_tensor(indices, dtype=torch.int64)
        return {"x0": self.x0[rows], "condition": self.labels[rows]}


def task(**more: object) -> Diffusion:
    """Of the denoiser."""
    return Diffusion(SCHEDULE, null=NULL, **more)  # type: ignore[arg-type]


def exam(**more: object) -> Exam:
    """Class 2 is to be forgotten."""
    sets = {"forget": Held.of(2), "retain": Held.of(0, 1), "test": Held.of(0, 1, seed=1), "unseen": Held.of(2, seed=1)}
    judge = Judge(Nearest(), share(100, 100), "")
    about = {"images": 50, "kept_images": 30, "steps": 10, **more}
    return Exam(task(), judge, Held.of(0, 1, seed=2).x0, sets, kept=(0, 1), forgotten=(2,), **about)  # type: ignore[arg-type]
