"""What people compare with: one short function per paper."""

from __future__ import annotations

from typing import Literal

from torch import nn

from unweave import rules
from unweave.errors import check_value
from unweave.gramian import Blocks
from unweave.losses import (
    Ascent,
    Divergence,
    DivergenceEverywhere,
    Flattening,
    RandomLabels,
    Weighted,
    incompetent,
    reference,
)
from unweave.methods._base import PAPERS, Method
from unweave.tasks import Task


def finetune(task: Task, original: nn.Module) -> Method:
    """Descends the retain loss and never looks at the forget set."""
    return Method(None, task.nll, rules.Fixed(forget=0.0), PAPERS["finetune"])


def gradient_ascent(task: Task, original: nn.Module) -> Method:
    """Ascends the forget set's loss and never looks at the retain set: it ends by destroying the model."""
    return Method(Ascent(task.nll), None, rules.Fixed(retain=0.0), PAPERS["gradient_ascent"])


def graddiff(task: Task, original: nn.Module, forget: float = 1.0, retain: float = 1.0) -> Method:
    """Ascends on the forget set and descends on the retain set, with fixed weights (NegGrad+)."""
    return Method(Ascent(task.nll), task.nll, rules.Fixed(forget, retain), PAPERS["graddiff"])


def random_label(
    task: Task, original: nn.Module, exclude_true: bool = False, forget: float = 1.0, retain: float = 1.0
) -> Method:
    """Trains the forget set on random labels, drawn anew in every pass, and the retain set on its own."""
    rule = rules.Fixed(forget, retain)
    return Method(RandomLabels(task, exclude_true), task.nll, rule, PAPERS["random_label"])


def salun(task: Task, original: nn.Module, share: float = 0.5, exclude_true: bool = False) -> Method:
    """Random labels, on the weights that the forget loss is most sensitive to: half, as in the paper."""
    check_value("share", share, float, "(0, 1]")
    return Method(RandomLabels(task, exclude_true), task.nll, rules.Fixed(), PAPERS["salun"], saliency=share)


def kl(
    task: Task,
    original: nn.Module,
    forget: float = 1.0,
    retain: float = 1.0,
    compat: Literal["open-unlearning"] | None = None,
) -> Method:
    """Ascends on the forget set and holds the retain set's predictions to the original model's.

    On texts: at the answers' tokens. `compat="open-unlearning"` looks at all positions, prompt and padding included.
    """
    check_value("compat", compat, Literal["open-unlearning"] | None)
    close = (Divergence if compat is None else DivergenceEverywhere)(task, reference(original))
    return Method(Ascent(task.nll), close, rules.Fixed(forget, retain), PAPERS["kl"])


def scrub(
    task: Task,
    original: nn.Module,
    alpha: float = 0.001,
    gamma: float = 0.99,
    temperature: float = 4.0,
    forget_steps: int = 1,
    retain_steps: int = 1,
    rounds: int | None = None,
) -> Method:
    """Moves away from the original model on the forget set, and stays with it on the retain set, in turns.

    Retain side: `alpha KL + gamma nll`, the authors' weights and temperature. Turns are steps, not epochs.
    """
    check_value("alpha", alpha, float)
    check_value("gamma", gamma, float)
    distance = Divergence(task, reference(original), temperature)
    retain = Weighted(((alpha, distance), (gamma, task.nll)))
    turns = rules.Alternating(forget_steps, retain_steps, rounds)
    return Method(Ascent(distance), retain, turns, PAPERS["scrub"])


def bad_teacher(task: Task, original: nn.Module, seed: int = 0, forget: float = 1.0, retain: float = 1.0) -> Method:
    """Follows a teacher that knows nothing on the forget set, and the original model on the retain set."""
    check_value("seed", seed, int, "[0, inf)")
    follow = Divergence(task, incompetent(original, seed)), Divergence(task, reference(original))
    return Method(*follow, rules.Fixed(forget, retain), PAPERS["bad_teacher"])


def pcgrad(task: Task, original: nn.Module, blocks: Blocks = rules.PCGrad.blocks) -> Method:
    """Projects each of two conflicting gradients off the other, and adds them."""
    return Method(Ascent(task.nll), task.nll, rules.PCGrad(blocks=blocks), PAPERS["pcgrad"])


def gru(task: Task, original: nn.Module, blocks: Blocks = rules.GRU.blocks) -> Method:
    """Projects the forget gradient off the retain gradient where they conflict; the latter is not added."""
    return Method(Ascent(task.nll), task.nll, rules.GRU(blocks=blocks), PAPERS["gru"])


def ngdiff(task: Task, original: nn.Module, blocks: Blocks = rules.NGDiff.blocks) -> Method:
    """Adds both gradients at unit length."""
    return Method(Ascent(task.nll), task.nll, rules.NGDiff(blocks=blocks), PAPERS["ngdiff"])


def munba(task: Task, original: nn.Module, blocks: Blocks = rules.Nash.blocks) -> Method:
    """The Nash bargain of forgetting and keeping: each gains as much as its weight allows."""
    return Method(Ascent(task.nll), task.nll, rules.Nash(blocks=blocks), PAPERS["munba"])


def pdu(
    task: Task, original: nn.Module, epsilon: float = rules.PDU.epsilon, dual_lr: float = rules.PDU.dual_lr
) -> Method:
    """Flattens the forget set's logits while a multiplier keeps the retain loss below `epsilon`."""
    return Method(Flattening(task), task.nll, rules.PDU(epsilon, dual_lr), PAPERS["pdu"])


def mgda(task: Task, original: nn.Module, blocks: Blocks = rules.TorchJD.blocks) -> Method:
    """The shortest convex combination of the two gradients."""
    return Method(Ascent(task.nll), task.nll, rules.TorchJD("MGDA", blocks=blocks), PAPERS["mgda"])


def cagrad(task: Task, original: nn.Module, blocks: Blocks = rules.TorchJD.blocks) -> Method:
    """The best worst case within half the mean gradient's length (c = 0.5) of it."""
    return Method(Ascent(task.nll), task.nll, rules.TorchJD("CAGrad", blocks=blocks), PAPERS["cagrad"])


def upgrad(task: Task, original: nn.Module, blocks: Blocks = rules.TorchJD.blocks) -> Method:
    """The mean of both gradients' projections on the cone of directions that harm neither."""
    return Method(Ascent(task.nll), task.nll, rules.TorchJD("UPGrad", blocks=blocks), PAPERS["upgrad"])


def imtl_g(task: Task, original: nn.Module, blocks: Blocks = rules.TorchJD.blocks) -> Method:
    """The combination with equal projections on both gradients."""
    return Method(Ascent(task.nll), task.nll, rules.TorchJD("IMTLG", blocks=blocks), PAPERS["imtl_g"])


def aligned_mtl(task: Task, original: nn.Module, blocks: Blocks = rules.TorchJD.blocks) -> Method:
    """The mean of the two gradients after both are made orthogonal and equally long."""
    rule = rules.TorchJD("AlignedMTL", blocks=blocks)
    return Method(Ascent(task.nll), task.nll, rule, PAPERS["aligned_mtl"])
