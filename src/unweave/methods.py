"""The catalogue: one short function per paper joins a forget loss, a retain loss and a rule.

Every function takes the task, the original model, and its own hyperparameters with our defaults. The forget
loss is ascent on the nll unless the row says otherwise. What looks at the original model keeps a frozen copy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import nn

from unweave import rules
from unweave.gramian import Blocks
from unweave.losses import Ascent, Divergence, Flattening, RandomLabels, Weighted, frozen, incompetent
from unweave.objectives import Loss
from unweave.rules.hamu import Split
from unweave.tasks import Task


@dataclass(frozen=True)
class Method:
    """What one paper does: two objectives, both minimised, and the rule that joins them.

    Attributes:
        forget: the forget side's loss, `(model, batch) -> [b]`; None is no forget side.
        retain: the retain side's loss; None is no retain side.
        rule: how two objectives become one direction.
        paper: where it comes from.
        saliency: share of the weights that may move, by `parameters.saliency_mask`; None is all of them.
    """

    forget: Loss | None
    retain: Loss | None
    rule: rules.Rule
    paper: str
    saliency: float | None = None


PAPERS = {
    "hamu_q": "How hard can it be? HAMU, ICML 2026, arXiv:2606.02119",
    "hamu_u": "How hard can it be? HAMU, ICML 2026, arXiv:2606.02119",
    "unilateral_surgery": "Zhou et al., EUPMU, NeurIPS 2025, arXiv:2510.22124",
    "eupmu": "Zhou et al., EUPMU, NeurIPS 2025, arXiv:2510.22124",
    "eupmu_compat": "Zhou et al., EUPMU, NeurIPS 2025, arXiv:2510.22124",
    "ofmu": "OFMU, ICLR 2026, arXiv:2509.22483",
    "finetune": "Golatkar et al., CVPR 2020, arXiv:1911.04933",
    "gradient_ascent": "Thudi et al., EuroS&P 2022, arXiv:2109.13398",
    "graddiff": "Liu et al., CoLLAs 2022, arXiv:2203.12817",
    "random_label": "Golatkar et al., CVPR 2020, arXiv:1911.04933",
    "salun": "Fan et al., SalUn, ICLR 2024, arXiv:2310.12508",
    "kl": "Maini et al., TOFU, COLM 2024, arXiv:2401.06121",
    "scrub": "Kurmanji et al., SCRUB, NeurIPS 2023, arXiv:2302.09880",
    "bad_teacher": "Chundawat et al., AAAI 2023, arXiv:2205.08096",
    "pcgrad": "Yu et al., NeurIPS 2020, arXiv:2001.06782",
    "gru": "Wang et al., ICML 2025, arXiv:2503.09117",
    "ngdiff": "Jin et al., NAACL 2025, arXiv:2410.22086",
    "munba": "Wu and Harandi, ICCV 2025, arXiv:2411.15537",
    "pdu": "Entesari et al., 2025, arXiv:2506.05314",
    "mgda": "Sener and Koltun, NeurIPS 2018, arXiv:1810.04650",
    "cagrad": "Liu et al., NeurIPS 2021, arXiv:2110.14048",
    "upgrad": "Quinton and Rey, 2024, arXiv:2406.16232",
    "imtl_g": "Liu et al., Towards impartial multi-task learning, ICLR 2021",
    "aligned_mtl": "Senushkin et al., CVPR 2023, arXiv:2305.19000",
}


def hamu_q(
    task: Task,
    original: nn.Module,
    ratio: float = rules.HAMU.ratio,
    rate: float | None = None,
    radius: float | None = None,
    blocks: Blocks = rules.HAMU.blocks,
    split: Split = rules.HAMU.split,
    infeasible: Literal["stop", "clip", "skip"] = rules.HAMU.infeasible,
) -> Method:
    """Guarantees the forget objective's improvement, at the least cost to the retain loss.

    HAMU-Q. The quota is a share of what is feasible at each step; the absolute one of the paper is `rate`.
    """
    rule = rules.HAMU(
        "forget", rate=rate, ratio=ratio, radius=radius, split=split, infeasible=infeasible, blocks=blocks
    )
    return Method(Ascent(task.nll), task.nll, rule, PAPERS["hamu_q"])


def hamu_u(
    task: Task,
    original: nn.Module,
    ratio: float = rules.HAMU.ratio,
    rate: float | None = None,
    radius: float | None = None,
    blocks: Blocks = rules.HAMU.blocks,
    split: Split = rules.HAMU.split,
    infeasible: Literal["stop", "clip", "skip"] = rules.HAMU.infeasible,
) -> Method:
    """Guarantees the retain loss's improvement, and forgets as much as that allows.

    HAMU-U, with the same quota.
    """
    rule = rules.HAMU(
        "retain", rate=rate, ratio=ratio, radius=radius, split=split, infeasible=infeasible, blocks=blocks
    )
    return Method(Ascent(task.nll), task.nll, rule, PAPERS["hamu_u"])


def unilateral_surgery(
    task: Task,
    original: nn.Module,
    tolerance: float = rules.UnilateralSurgery.tolerance,
    blocks: Blocks = rules.UnilateralSurgery.blocks,
) -> Method:
    """The best forgetting step whose first-order rise of the retain loss stays within a tolerance.

    EUPMU's exact step. The paper's forget loss for classifiers is random labels; ours is ascent.
    """
    rule = rules.UnilateralSurgery(tolerance, blocks=blocks)
    return Method(Ascent(task.nll), task.nll, rule, PAPERS["unilateral_surgery"])


def eupmu(
    task: Task,
    original: nn.Module,
    tolerance: float = rules.EUPMU.tolerance,
    dual_lr: float | None = rules.EUPMU.dual_lr,
    estimator: Literal["probe", "next_batch", "same_batch"] = rules.EUPMU.estimator,
    budget: float | None = rules.EUPMU.budget,
    steps: int | None = rules.EUPMU.steps,
) -> Method:
    """Keeps the retain loss within a tolerance by a multiplier that follows its realised change.

    EUPMU's implicit form: one backward a step, the paper's sign of the tolerance, ascent on the forget set.
    """
    rule = rules.EUPMU(tolerance, dual_lr, estimator=estimator, budget=budget, steps=steps)
    return Method(Ascent(task.nll), task.nll, rule, PAPERS["eupmu"])


def eupmu_compat(
    task: Task,
    original: nn.Module,
    error: float = rules.EUPMUCompat.error,
    dual_lr: float = rules.EUPMUCompat.dual_lr,
    log: Literal["none", "dual", "both"] = rules.EUPMUCompat.log,
    estimator: Literal["same_batch", "next_batch"] = rules.EUPMUCompat.estimator,
) -> Method:
    """EUPMU as its authors ship it: random labels, an Adam dual on log losses, a sign turned."""
    rule = rules.EUPMU.compat(error=error, dual_lr=dual_lr, log=log, estimator=estimator)
    return Method(RandomLabels(task), task.nll, rule, PAPERS["eupmu_compat"])


def ofmu(
    task: Task,
    original: nn.Module,
    similarity_weight: float = rules.OFMU.similarity_weight,
    inner_steps: int = rules.OFMU.inner_steps,
    inner_lr: float | None = rules.OFMU.inner_lr,
    penalty: float = rules.OFMU.penalty,
    penalty_growth: float = rules.OFMU.penalty_growth,
    penalty_max: float = rules.OFMU.penalty_max,
    similarity: Literal["cosine", "squared"] = rules.OFMU.similarity,
    start: Literal["warm", "lookahead", "literal"] = rules.OFMU.start,
    curvature: Literal["exact", "finite", "forget_only"] = rules.OFMU.curvature,
    strict: bool = rules.OFMU.strict,
) -> Method:
    """Bi-level: ascends forgetting, decorrelated from the retain gradient, then descends the retain loss."""
    rule = rules.OFMU(
        similarity_weight=similarity_weight, inner_steps=inner_steps, inner_lr=inner_lr, penalty=penalty,
        penalty_growth=penalty_growth, penalty_max=penalty_max, similarity=similarity, start=start,
        curvature=curvature, strict=strict,
    )  # fmt: skip
    return Method(Ascent(task.nll), task.nll, rule, PAPERS["ofmu"])


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
    return Method(RandomLabels(task, exclude_true), task.nll, rules.Fixed(), PAPERS["salun"], saliency=share)


def kl(task: Task, original: nn.Module, forget: float = 1.0, retain: float = 1.0) -> Method:
    """Ascends on the forget set and holds the retain set's predictions to the original model's."""
    close = Divergence(task, frozen(original))
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
    distance = Divergence(task, frozen(original), temperature)
    retain = Weighted(((alpha, distance), (gamma, task.nll)))
    turns = rules.Alternating(forget_steps, retain_steps, rounds)
    return Method(Ascent(distance), retain, turns, PAPERS["scrub"])


def bad_teacher(
    task: Task, original: nn.Module, seed: int = 0, forget: float = 1.0, retain: float = 1.0
) -> Method:
    """Follows a teacher that knows nothing on the forget set, and the original model on the retain set."""
    follow = Divergence(task, incompetent(original, seed)), Divergence(task, frozen(original))
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


METHODS: dict[str, Callable[..., Method]] = {
    f.__name__: f
    for f in (
        hamu_q, hamu_u, unilateral_surgery, eupmu, eupmu_compat, ofmu, finetune, gradient_ascent,
        graddiff, random_label, salun, kl, scrub, bad_teacher, pcgrad, gru, ngdiff, munba, pdu,
        mgda, cagrad, upgrad, imtl_g, aligned_mtl,
    )
}
