"""Whether a model still draws what it is asked for, example by example: what a contract promises of such models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor, nn

from unweave.data.batches import Batch
from unweave.errors import ConfigurationError
from unweave.modalities.diffusion.evaluation.generate import generate
from unweave.modalities.diffusion.evaluation.judge import Judge
from unweave.tasks import Diffusion, log_odds


@dataclass(frozen=True, eq=False)
class Recognised:
    """1 where the judge calls an image as it was asked for, 0 elsewhere: `(model, batch) -> [b]`.

    For each example of a batch one image is drawn: for its condition, from the noise of its number, so that models are
    compared on the same noise and the batch makes no difference.

    Attributes:
        judge: who says what an image shows; asked for when the first image is there.
        task: of the model.
        shape: of an image.
        steps, guidance, seed: as of `generate`.
        picture: of what the model draws, the images that the judge sees; the same, unless said otherwise.
    """

    judge: Callable[[], Judge]
    task: Diffusion
    shape: tuple[int, ...]
    steps: int
    guidance: float
    seed: int
    picture: Callable[[Tensor], Tensor] = field(default=lambda drawn: drawn)

    @property
    def passes(self) -> int:
        """Forward passes that one example takes."""
        return self.steps * (1 if self.guidance == 1 else 2)

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """See above; float32, on the CPU."""
        return (self._logits(model, batch).argmax(1) == batch["label"].cpu()).float()

    def odds(self, model: nn.Module, batch: Batch) -> Tensor:
        """Log-odds that it is called something else, `[b]`, nats, float64."""
        return log_odds(self._logits(model, batch).double(), batch["label"].cpu())

    def _logits(self, model: nn.Module, batch: Batch) -> Tensor:
        if missing := {"label", "number"} - batch.keys():
            raise ConfigurationError(
                "what is drawn for an example starts from the noise of its number, and shows its class or not: let "
                f"batches have {' and '.join(sorted(missing))} [b], int64"
            )
        conditions, places = batch["condition"].cpu(), batch["number"].cpu()
        drawn = generate(model, self.task, conditions, places, self.shape, self.steps, self.guidance, self.seed)
        return self.judge().logits(self.picture(drawn))
