"""The quote as a value: what was found, for people and for JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from unweave.diagnosis.hardness import Verdict

_SHOWN = 8  # blocks in the text; `as_dict` has them all


@dataclass(frozen=True)
class Point:
    """One point of the first-order front.

    Args:
        share: of the fastest forgetting.
        retain_change: least change of the retain loss, from -1 (steepest descent) to 1 (steepest ascent).
        price: the same in units of retain loss per unit of forget loss; None for a zero forget gradient.
    """

    share: float
    retain_change: float
    price: float | None


@dataclass(frozen=True)
class Block:
    """Hardness of one block of parameters.

    Args:
        name: of the layer or tensor.
        cosine: of the two gradients; None if one is zero.
        kappa: above 0 is conflict.
        part: of the feasible quota.
    """

    name: str
    cosine: float | None
    kappa: float
    part: float


@dataclass(frozen=True)
class Diagnosis:
    """How hard a request is and what its steps cost, to first order (`hardness`).

    Args:
        verdict: easy, hard or infeasible, with the reason.
        share: of the fastest forgetting that the verdict, kappa1 and kappa2 are about.
        forget_loss: mean -log p of the forget batches.
        retain_loss: the same of the retain batches.
        cosine: of the two gradients, whole model; below 0 is conflict; None if one is zero.
        cosines: of each pair: how much one batch differs from the next.
        kappa: HAMU's hardness, whole model; above 0 is conflict.
        kappa1: below it, descent of the retain loss alone forgets at this share.
        kappa2: above it, every step that forgets at this share raises the retain loss.
        quota: S, the feasible quota per unit of learning rate over the blocks.
        free_share: of the fastest forgetting that need not raise the retain loss.
        front: the least retain cost of faster and faster forgetting.
        blocks: hardness block by block.
        seconds_per_step: both gradients of a pair and their inner products, median.
        peak_memory_bytes: of the process since its start; on CUDA, of the device during the diagnosis; None
            where the system does not tell.
    """

    verdict: Verdict
    share: float
    forget_loss: float
    retain_loss: float
    cosine: float | None
    cosines: tuple[float | None, ...]
    kappa: float
    kappa1: float
    kappa2: float
    quota: float
    free_share: float
    front: tuple[Point, ...]
    blocks: tuple[Block, ...]
    seconds_per_step: float
    peak_memory_bytes: int | None

    def as_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return asdict(self)

    def lines(self) -> list[str]:
        """What a person reads."""
        memory = "unknown" if self.peak_memory_bytes is None else f"{self.peak_memory_bytes / 2**20:,.0f} MiB"
        pairs = ", ".join(_signed(c) for c in self.cosines)
        limits = f"retain descent forgets below {self.kappa1:.3g}, harm above {self.kappa2:.3g}"
        hardest = sorted(self.blocks, key=lambda block: -block.kappa)[:_SHOWN]
        return [
            f"verdict         {self.verdict.level}: {self.verdict.reason}",
            f"losses          forget {self.forget_loss:.4g}, retain {self.retain_loss:.4g}",
            f"cosine          {_signed(self.cosine)} (pair by pair: {pairs})",
            f"kappa           {self.kappa:.3g} ({limits})",
            f"feasible quota  {self.quota:.3g} per unit of learning rate",
            f"a step takes    {self.seconds_per_step:.3g} s; peak memory {memory}",
            "change of the retain loss per unit of forget loss, by share of the fastest forgetting:",
            *(f"  {p.share:4.0%}  {_signed(p.price)}" for p in self.front),
            f"hardest of {len(self.blocks)} blocks (cosine, part of the quota):",
            *(f"  {_signed(b.cosine):>7}  {b.part:4.0%}  {b.name or '(top level)'}" for b in hardest),
        ]


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3g}"
