"""What every rule is: two objectives in, one descent direction out.

A rule's constructor fields are its hyperparameters; its `init=False` fields are state, saved and restored.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from unweave.arguments import check_value
from unweave.gramian import Blocks, Gradient, Memory, Packs, squared

FORGET, RETAIN = 0, 1
# sin^2 of the angle at which two gradients count as one line: a Gramian in float64 gives it to +-9e-16 (measured), so
# here to a tenth. Gradients of less precision are on one line earlier: `gramian` sees to that.
COLLINEAR = 1.4e-14


class Asked(Protocol):
    """What a rule may ask of `unweave.objectives.Objectives`."""

    lr: float | None
    radius: float | None
    active: Tensor
    memory: Memory
    packs: Packs
    parameters: list[Tensor]

    def losses(self) -> Tensor: ...
    def loss(self, side: int) -> Tensor: ...
    def backward(self, weights: Any, needs_forget: bool = True) -> tuple[Tensor, Tensor]: ...
    def products(self, blocks: Blocks) -> tuple[Tensor, Tensor]: ...
    def combine(self, weights: Tensor) -> None: ...
    def streamed(self, side: int, take: Callable[[int, Tensor | None], None]) -> Tensor: ...
    def leave(self, direction: Any) -> None: ...
    def gradient(self, side: int) -> tuple[Tensor, Gradient]: ...
    def gradients(self) -> tuple[Tensor, tuple[Gradient, Gradient]]: ...
    def hvp(self, side: int, vector: Gradient, gradient: Gradient | None = None) -> Gradient: ...
    def curved(
        self, side: int, terms: Sequence[tuple[float, Gradient]], gradient: Gradient, into: Gradient | None
    ) -> Gradient: ...
    def contract(self, side: int, *vectors: Gradient) -> Gradient: ...
    def snapshot(self) -> list[Tensor]: ...
    def restore(self, values: Sequence[Tensor]) -> None: ...
    def write(self, direction: Gradient) -> None: ...
    def move(self, direction: Gradient, scale: float) -> None: ...
    def probe_loss(self) -> float: ...
    def block_index(self, blocks: Blocks) -> list[int]: ...


@dataclass(frozen=True)
class Step:
    """What one step saw and did; callbacks, stopping criteria and the trust region read nothing else.

    Attributes:
        losses: forget and retain objective before the step, `[2]`.
        weights: `w` of the direction `w_f g_u + w_r g_r` in each block, `[B, 2]`.
        gramian: inner products of the two gradients, `[B, 2, 2]`, for rules that look at gradients.
        branches: the case of a piecewise rule in each block.
        stop: the reason why the rule refuses this step, if it does; the step is then not taken. Of a step that was
            taken: why there is no further one.
        lr: the step length the rule asks for, if it has one of its own.
        side: whose improvement its hardness is about: the guaranteed one's, where the rule guarantees one.
    """

    losses: Tensor
    weights: Tensor
    gramian: Tensor | None = None
    branches: tuple[str, ...] | None = None
    stop: str | None = None
    lr: float | None = None
    side: int = FORGET

    @property
    def predicted(self) -> Tensor | None:
        """First-order change of both objectives per unit of step length, `-sum_b G_b w_b`, `[2]`."""
        return None if self.gramian is None else -torch.einsum("bij,bj->i", self.gramian, self.weights)

    @property
    def length(self) -> float | None:
        """Norm of the direction, `sqrt(sum_b w_b G_b w_b)`, where the Gramian gives it without another pass."""
        if self.gramian is None:
            return None
        return float(squared(self.weights, self.gramian).sum().sqrt())


@dataclass(frozen=True)
class Left:
    """What a contract leaves after a step; rules whose hyperparameter is "auto" follow it.

    Attributes:
        share: of the utility budget, in [0, 1].
        rise: of the retain loss, that is still tolerated, in its unit.
        steps: the run's steps that are left, at least 1.
        lr: length of the last step per unit of direction.
        predicted, realised: change of both objectives by the last step, `[2]`, where they are known.
    """

    share: float
    rise: float
    steps: int
    lr: float
    predicted: Tensor | None = None
    realised: Tensor | None = None


@dataclass
class Rule(ABC):
    """How two objectives become one descent direction."""

    @property
    def needs_contract(self) -> bool:
        """Whether a hyperparameter is "auto": derived from a contract, which then must be there."""
        return False

    @property
    def leanest(self) -> Memory:
        """The least memory that its gradients can do with; "fast" of a rule that asks for them itself."""
        return "fast"

    @property
    def needs_probe(self) -> bool:
        """Whether it asks for the retain loss on examples that no step trains on (`Objectives.probe_loss`)."""
        return False

    @abstractmethod
    def backward(self, objectives: Asked) -> Step:
        """Leaves a descent direction in `.grad`."""

    def observe(self, objectives: Asked) -> None:  # noqa: B027 - most rules do not look back
        """Called after the weights moved, on the same pair."""

    def steer(self, left: Left) -> None:  # noqa: B027 - most rules have nothing to derive
        """Called after every step under a contract."""

    def state_dict(self) -> dict[str, Any]:
        """The state, as plain values."""
        return {f.name: getattr(self, f.name) for f in fields(self) if not f.init}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        for name, value in state.items():
            setattr(self, name, value)


@dataclass
class LossRule(Rule):
    """Rules that look at the two losses only: one weighted backward."""

    needs_losses: ClassVar[bool] = True
    """Whether `weights` reads its argument; if not, it is called before any forward pass."""

    @property
    def leanest(self) -> Memory:
        """No gradient is kept."""
        return "least" if type(self).backward is LossRule.backward else "fast"

    @property
    def needs_forget_loss(self) -> bool:
        """Whether `weights` reads the forget loss too; if not, it may be NaN and is never looked at beforehand."""
        return True

    @abstractmethod
    def weights(self, losses: Tensor) -> Tensor:
        """`[2] -> [2]`: the weights of both gradients."""

    def backward(self, objectives: Asked) -> Step:
        """One backward of `w_f L_f + w_r L_r`."""
        weights = self.weights if self.needs_losses else self.weights(torch.zeros(2, dtype=torch.float64))
        losses, used = objectives.backward(weights, self.needs_forget_loss)
        return Step(losses, used[None])


@dataclass
class GradientRule(Rule):
    """Rules that look at the Gramian of the two gradients: two backwards, one linear combination."""

    blocks: Blocks = field(default="model", kw_only=True)

    def __post_init__(self) -> None:
        check_value("blocks", self.blocks, Blocks)

    @property
    def leanest(self) -> Memory:
        """Of one block no gradient is kept, of several one."""
        if type(self).backward is not GradientRule.backward:
            return "fast"
        return "least" if self.blocks == "model" else "lean"

    @property
    def side(self) -> int:
        """Whose improvement is guaranteed: retain for HAMU-U, forget for all others."""
        return FORGET

    @abstractmethod
    def weights(self, gramian: Tensor) -> Tensor:
        """`[B, 2, 2] -> [B, 2]`: the weights of both gradients in every block."""

    def hear(self, active: Tensor) -> None:
        """Called before `weights`, with the share of each side's examples whose loss is not 0, `[2]`."""

    def judge(self, gramian: Tensor, weights: Tensor) -> tuple[tuple[str, ...] | None, str | None]:
        """The branch of each block, and the reason to refuse the step; neither by default."""
        return None, None

    def decide(self, gramian: Tensor) -> tuple[Tensor, tuple[str, ...] | None, str | None]:
        """`weights`, and what `judge` says of them."""
        weights = self.weights(gramian)
        return weights, *self.judge(gramian, weights)

    def backward(self, objectives: Asked) -> Step:
        """Writes `sum_i w_i g_i`, block by block."""
        losses, gram = objectives.products(self.blocks)
        self.hear(objectives.active)
        weights, branches, stop = self.decide(gram)
        objectives.combine(weights)
        return Step(losses, weights, gram, branches, stop, side=self.side)


def entries(gramian: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`|g_u|^2, <g_u, g_r>, |g_r|^2` of every block, `[B]` each."""
    return gramian[..., 0, 0], gramian[..., 0, 1], gramian[..., 1, 1]


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """The quotient where the denominator is positive, 0 elsewhere: what a zero gradient contributes."""
    return torch.where(denominator > 0, numerator / denominator, 0.0)
