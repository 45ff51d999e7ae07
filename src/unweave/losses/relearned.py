"""A forget loss that is read where a relearner takes the model: what is forgotten there is harder to bring back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from unweave.arguments import check_fields
from unweave.data.batches import count, divided
from unweave.errors import ConfigurationError, UnsupportedError
from unweave.execution import bare, world
from unweave.gramian import local, norm
from unweave.losses._base import Batch, Loss
from unweave.modules import At, still
from unweave.tasks import Task


@dataclass(frozen=True)
class Relearned:
    """Any forget loss, at the weights that a few steps of relearning on other forget examples lead to.

    The batch is halved, and each half's loss is read where the other half leads:

        delta_0 = 0,  delta_{i+1} = delta_i - (reach |theta| / steps) s_i / |s_i|,
        s_i = sign grad mean nll(theta + delta_i)
        L_A = loss(theta + delta_j(B), A),  L_B = loss(theta + delta_j(A), B),  j uniform in 1 ... steps

    `delta` is held constant, so the gradient is the loss's own at the other weights (first-order MAML), and theta is
    what may move. Signs are what AdamW's first steps are. j comes from torch's random state: in a run it is the same at
    every look at a pair.

    It costs (steps + 3) / 2 passes over the forget batch in the place of one. Beside the weights it holds a copy of
    what may move for each half; while it looks for the second delta, four: of the first half, delta, the sum, its
    gradient.

    Args:
        loss: the forget side's loss, `(model, batch) -> [b]`. One with an end (`Until`) goes on until what was
            relearned is unknown too; one without goes on beyond.
        task: whose nll the relearner descends.
        steps: of the relearner, at most.
        reach: how far all of them lead, as a share of the norm of the weights that may move.

    Raises:
        ConfigurationError: steps below 1, or a reach that is not positive; of a call: a batch of one example, or no
            weight that may move.
        UnsupportedError: of a call: on several ranks, where the weights are not these.

    After Tamirisa et al., ICLR 2025 (arXiv:2408.00761), whose adversary fine-tunes with its own optimizer and data, and
    whose loss is another; the halves, the signs and the random length are ours.
    """

    loss: Loss
    task: Task
    steps: int = 4
    reach: float = 0.055

    def __post_init__(self) -> None:
        check_fields(self, steps="[1, inf)", reach="(0, inf)")

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Of each example, `[b]`, in the order of the batch."""
        if count(batch) < 2:
            raise ConfigurationError(
                "Relearned reads the loss of one half of a batch where the other half leads, and found one example: "
                "raise forget_batch, or lower micro."
            )
        if world() > 1 or any(local(p) is not p for p in model.parameters()):
            raise UnsupportedError("Relearned runs in one process, not on several ranks. Leave it out.")
        moving = {n: p for n, p in bare(model).named_parameters() if p.requires_grad}
        if not moving:
            raise ConfigurationError("Relearned: no weight may move, all are frozen: set requires_grad.")
        steps = int(torch.randint(1, self.steps + 1, ()))
        one, other = divided(batch, 2)
        # Both paths come first: what a path puts back of the buffers, a loss before it may hold for its gradient.
        after = [self._moved(model, moving, learned, steps) for learned in (other, one)]
        return torch.cat([self.loss(At(model, there), read) for there, read in zip(after, (one, other), strict=True)])

    def _moved(self, model: nn.Module, moving: Mapping[str, Tensor], batch: Batch, steps: int) -> dict[str, Tensor]:
        """`theta + delta_steps` by name, of which theta may move."""
        delta = self._path(model, moving, batch, steps)
        return {n: p + delta[n] for n, p in moving.items()}

    def _path(self, model: nn.Module, moving: Mapping[str, Tensor], batch: Batch, steps: int) -> dict[str, Tensor]:
        """`delta_steps` by name."""
        length = self.reach * float(norm([p.detach() for p in moving.values()])) / self.steps
        delta = {n: torch.zeros_like(p) for n, p in moving.items()}
        with torch.enable_grad(), still(model):
            for _ in range(steps):
                there = {n: (p.detach() + delta[n]).requires_grad_() for n, p in moving.items()}
                nll = self.task.nll(At(model, there), batch).mean()
                signs = [g.sign_() for g in torch.autograd.grad(nll, list(there.values()), materialize_grads=True)]
                if size := float(norm(signs)):
                    torch._foreach_add_(list(delta.values()), signs, alpha=-length / size)
        return delta
