"""One side at a time: SCRUB's min and max steps."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from unweave.arguments import check_fields
from unweave.rules._base import Asked, LossRule


@dataclass
class Alternating(LossRule):
    """The sides take turns: `retain_steps` on the retain loss, then `forget_steps` on the forget objective.

    `d = g_r` or `d = g_u`. After `rounds` such cycles only the retain side acts, which repairs what the last
    forget steps cost.

    Args:
        forget_steps: consecutive steps on the forget objective in one cycle.
        retain_steps: consecutive steps on the retain loss in one cycle.
        rounds: cycles in which the forget side acts at all; None is every cycle.

    Raises:
        ConfigurationError: a cycle without a step on either side.

    SCRUB, Kurmanji et al., NeurIPS 2023 (arXiv:2302.09880), algorithm 1: "max steps" and "min steps", then
    min steps. Differs from the authors' code: the sides alternate in steps, not in epochs, because a stream
    of pairs has no epochs; and the retain side goes first, because the gradient of SCRUB's forget objective,
    the divergence from the original model, is exactly 0 at the original model.
    """

    needs_losses = False  # the turn is known before any forward pass
    forget_steps: int = 1
    retain_steps: int = 1
    rounds: int | None = None
    position: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        check_fields(self, forget_steps="[1, inf)", retain_steps="[1, inf)", rounds="[0, inf)")

    def weights(self, losses: Tensor) -> Tensor:
        """`(0, 1)` in the retain side's turn, `(1, 0)` in the forget side's."""
        cycle, turn = divmod(self.position, self.retain_steps + self.forget_steps)
        over = self.rounds is not None and cycle >= self.rounds
        forgets = turn >= self.retain_steps and not over
        return torch.tensor([float(forgets), float(not forgets)], dtype=torch.float64)

    def observe(self, objectives: Asked) -> None:
        """Passes the turn on."""
        self.position += 1
