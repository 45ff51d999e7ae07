"""Whether a model still draws what it is asked for, example by example: what a contract promises of such models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from unweave.data.batches import Batch
from unweave.errors import ConfigurationError
from unweave.modalities.diffusion.evaluation.generate import generate
from unweave.modalities.diffusion.evaluation.judge import Judge
from unweave.tasks import Diffusion, log_odds

APART = 1 << 32  # first noise of an example's first image: below it are those from which the end is judged


@dataclass(frozen=True, eq=False)
class Recognised:
    """1 where the judge calls an image as it was asked for, 0 elsewhere: `(model, batch) -> [b, images]`.

    For each example of a batch images are drawn: for its condition, from noise that its number decides, so that models
    are compared on the same noise and the batch makes no difference.

    Attributes:
        judge: who says what an image shows; asked for when the first image is there.
        task: of the model.
        shape: of an image.
        steps, guidance, seed: as of `generate`.
        images: of each example.
        skip: images of each that are left out before them.
        picture: of what the model draws, the images that the judge sees; the same, unless said otherwise.
    """

    judge: Callable[[], Judge]
    task: Diffusion
    shape: tuple[int, ...]
    steps: int
    guidance: float
    seed: int
    images: int = 1
    skip: int = 0
    picture: Callable[[Tensor], Tensor] = field(default=lambda drawn: drawn)

    def several(self, images: int, skip: int = 0) -> Recognised:
        """The same, of so many images for each example, after so many that are left out."""
        return replace(self, images=images, skip=skip)

    @property
    def passes(self) -> int:
        """Forward passes that one example takes."""
        return self.images * self.steps * (1 if self.guidance == 1 else 2)

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """See above; float32, on the CPU."""
        first = APART * (1 + self.skip + torch.arange(self.images))
        logits = self._logits(model, batch, first).unflatten(0, (-1, self.images))
        return (logits.argmax(2) == batch["label"].cpu()[:, None]).float()

    def odds(self, model: nn.Module, batch: Batch) -> Tensor:
        """Log-odds that the image of an example's own number is called something else, `[b]`, nats, float64."""
        own = torch.zeros(1, dtype=torch.int64)
        return log_odds(self._logits(model, batch, own).double(), batch["label"].cpu())

    def _logits(self, model: nn.Module, batch: Batch, first: Tensor) -> Tensor:
        """Of an image for each of these numbers, which those of the examples are added to; example by example."""
        if missing := {"label", "number"} - batch.keys():
            raise ConfigurationError(
                "what is drawn for an example starts from the noise of its number, and shows its class or not: let "
                f"batches have {' and '.join(sorted(missing))} [b], int64"
            )
        conditions = batch["condition"].cpu().repeat_interleave(len(first), 0)
        places = (batch["number"].cpu()[:, None] + first).flatten()
        drawn = generate(model, self.task, conditions, places, self.shape, self.steps, self.guidance, self.seed)
        return self.judge().logits(self.picture(drawn))
