"""The catalogue as data: one row per paper. Where a row says no loss, it is ascent on, and descent of, the nll.

`parts.unlike` is ascent too, but of a diffusion model what the original predicts for another condition.
"""

from __future__ import annotations

from functools import partial

from unweave import rules
from unweave.losses import (
    CEU,
    DPO,
    NPO,
    WGA,
    Anchor,
    Divergence,
    Flattening,
    Misdirection,
    NoiseTarget,
    RandomLabels,
    SatImp,
    SimNPO,
    Surrogate,
    Undial,
)
from unweave.methods import parts
from unweave.methods._base import Row
from unweave.rules import Fixed

_HAMU = "How hard can it be? HAMU, ICML 2026, arXiv:2606.02119"
_EUPMU = "Zhou et al., EUPMU, NeurIPS 2025, arXiv:2510.22124"
_TOFU = "Maini et al., TOFU, COLM 2024, arXiv:2401.06121"

ROWS = (
    Row(
        "hamu_q",
        "Guarantees the forget objective's improvement, at the least cost to the retain loss.\n\n"
        "HAMU-Q. The quota is a share of what is feasible at each step, of a diffusion model half of it; the absolute "
        "one of the paper is `rate`.",
        _HAMU,
        partial(rules.HAMU, "forget"),
        forget=parts.unlike,
        denoising={"ratio": 0.5},
    ),
    Row(
        "hamu_u",
        "Guarantees the retain loss's improvement, and forgets as much as that allows.\n\n"
        "HAMU-U, with the same quota, of a diffusion model 0.8 of what is feasible.",
        _HAMU,
        partial(rules.HAMU, "retain"),
        forget=parts.unlike,
        denoising={"ratio": 0.8},
    ),
    Row(
        "unilateral_surgery",
        "The best forgetting step whose first-order rise of the retain loss stays within a tolerance.\n\n"
        "EUPMU's exact step. The paper's forget loss for classifiers is random labels; ours is ascent, of diffusion "
        "models the paper's, relabelling; and there the retain loss has to improve, by 0.1 per unit of learning rate.",
        _EUPMU,
        rules.UnilateralSurgery,
        forget=parts.unlike,
        denoising={"tolerance": -0.1},
    ),
    Row(
        "eupmu",
        "Keeps the retain loss within a tolerance by a multiplier that follows its realised change.\n\n"
        "EUPMU's implicit form: one backward a step, the paper's sign of the tolerance, ascent on the forget set.",
        _EUPMU,
        rules.EUPMU,
        forget=parts.unlike,
        hidden=("lr", "multiplier_max"),
    ),
    Row(
        "eupmu_compat",
        "EUPMU as its authors ship it: random labels, an Adam dual on log losses, a sign turned.",
        _EUPMU,
        rules.EUPMUCompat,
        forget=parts.relabelled_as_shipped,
        hidden=("weight_decay", "normalised", "initial", "floor"),
    ),
    Row(
        "ofmu",
        "Bi-level: ascends forgetting, decorrelated from the retain gradient, then descends the retain loss.",
        "OFMU, ICLR 2026, arXiv:2509.22483",
        rules.OFMU,
        forget=parts.unlike,
        hidden=("one_sided", "smoothing"),
    ),
    Row(
        "finetune",
        "Descends the retain loss and never looks at the forget set.",
        "Golatkar et al., CVPR 2020, arXiv:1911.04933",
        partial(Fixed, 0.0, 1.0),
        forget=None,
    ),
    Row(
        "gradient_ascent",
        "Ascends the forget set's loss and never looks at the retain set: it ends by destroying the model.",
        "Thudi et al., EuroS&P 2022, arXiv:2109.13398",
        partial(Fixed, 1.0, 0.0),
        retain=None,
    ),
    Row(
        "graddiff",
        "Ascends on the forget set and descends on the retain set, with fixed weights (NegGrad+).",
        "Liu et al., CoLLAs 2022, arXiv:2203.12817",
        Fixed,
    ),
    Row(
        "random_label",
        "Trains the forget set on random labels, drawn anew in every pass, and the retain set on its own.",
        "Golatkar et al., CVPR 2020, arXiv:1911.04933",
        Fixed,
        forget=RandomLabels,
    ),
    Row(
        "salun",
        "Random labels, on the weights that the forget loss is most sensitive to: half, as in the paper.",
        "Fan et al., SalUn, ICLR 2024, arXiv:2310.12508",
        partial(Fixed, 1.0, 1.0),
        forget=parts.relabelled,
        saliency=parts.share,
    ),
    Row(
        "kl",
        "Ascends on the forget set and holds the retain set's predictions to the original model's.\n\n"
        'On texts: at the answers\' tokens. `compat="open-unlearning"` looks at all positions, prompt and padding '
        "included.",
        _TOFU,
        Fixed,
        retain=parts.close,
    ),
    Row(
        "scrub",
        "Moves away from the original model on the forget set, and stays with it on the retain set, in turns.\n\n"
        "Retain side: `alpha KL + gamma nll`, the authors' weights and temperature. Turns are steps, not epochs.",
        "Kurmanji et al., SCRUB, NeurIPS 2023, arXiv:2302.09880",
        rules.Alternating,
        forget=parts.away,
        retain=parts.beside,
    ),
    Row(
        "bad_teacher",
        "Follows a teacher that knows nothing on the forget set, and the original model on the retain set.",
        "Chundawat et al., AAAI 2023, arXiv:2205.08096",
        Fixed,
        forget=parts.unknowing,
        retain=Divergence,
        hidden=("temperature",),
    ),
    Row(
        "pcgrad",
        "Projects each of two conflicting gradients off the other, and adds them.",
        "Yu et al., NeurIPS 2020, arXiv:2001.06782",
        rules.PCGrad,
    ),
    Row(
        "gru",
        "Projects the forget gradient off the retain gradient where they conflict; the latter is not added.",
        "Wang et al., ICML 2025, arXiv:2503.09117",
        rules.GRU,
    ),
    Row("ngdiff", "Adds both gradients at unit length.", "Jin et al., NAACL 2025, arXiv:2410.22086", rules.NGDiff),
    Row(
        "munba",
        "The Nash bargain of forgetting and keeping: each gains as much as its weight allows.",
        "Wu and Harandi, ICCV 2025, arXiv:2411.15537",
        rules.Nash,
    ),
    Row(
        "pdu",
        "Flattens the forget set's logits while a multiplier keeps the retain loss below `epsilon`.",
        "Entesari et al., 2025, arXiv:2506.05314",
        rules.PDU,
        forget=Flattening,
    ),
    Row(
        "mgda",
        "The shortest convex combination of the two gradients.",
        "Sener and Koltun, NeurIPS 2018, arXiv:1810.04650",
        partial(rules.TorchJD, "MGDA"),
    ),
    Row(
        "cagrad",
        "The best worst case within half the mean gradient's length (c = 0.5) of it.",
        "Liu et al., NeurIPS 2021, arXiv:2110.14048",
        partial(rules.TorchJD, "CAGrad"),
    ),
    Row(
        "upgrad",
        "The mean of both gradients' projections on the cone of directions that harm neither.",
        "Quinton and Rey, 2024, arXiv:2406.16232",
        partial(rules.TorchJD, "UPGrad"),
    ),
    Row(
        "imtl_g",
        "The combination with equal projections on both gradients.",
        "Liu et al., Towards impartial multi-task learning, ICLR 2021",
        partial(rules.TorchJD, "IMTLG"),
    ),
    Row(
        "aligned_mtl",
        "The mean of the two gradients after both are made orthogonal and equally long.",
        "Senushkin et al., CVPR 2023, arXiv:2305.19000",
        partial(rules.TorchJD, "AlignedMTL"),
    ),
    Row(
        "npo",
        "Makes each forget answer less likely than the original model had it, and stops where it is.",
        "Zhang et al., COLM 2024, arXiv:2404.05868",
        Fixed,
        forget=NPO,
    ),
    Row(
        "simnpo",
        "NPO by the mean over tokens, without the original model.",
        "Fan et al., NeurIPS 2025, arXiv:2410.07163",
        partial(Fixed, forget=0.125),
        forget=SimNPO,
    ),
    Row(
        "dpo",
        "Prefers a refusal to each forget answer (IdkDPO).\n\n"
        "The forget rows bring the refusals: `tokenised(..., alternates=[...])`.",
        _TOFU,
        Fixed,
        forget=DPO,
    ),
    Row(
        "altpo",
        "Prefers another plausible answer to each forget answer.\n\n"
        "The forget rows bring these answers, which the paper lets the model write: "
        "`tokenised(..., alternates=[...])`.",
        "Mekala et al., COLING 2025, arXiv:2409.13474",
        Fixed,
        forget=DPO,
    ),
    Row(
        "rmu",
        "Turns one block's activations on the forget set to a random direction, and holds them on the retain set.\n\n"
        "The block is the eighth, or the middle one of a model with fewer than 16. Choose the weights with "
        "`parameters`.",
        "Li et al., WMDP, ICML 2024, arXiv:2403.03218",
        Fixed,
        forget=Misdirection,
        retain=Anchor,
    ),
    Row(
        "undial",
        "Distils the original model with the right token's logit lowered; without a retain side, as published.",
        "Dong et al., NAACL 2025, arXiv:2402.10052",
        Fixed,
        forget=Undial,
        retain=parts.if_any,
    ),
    Row(
        "wga",
        "Ascent in which a token counts as much as it is still likely.",
        "Wang et al., ICLR 2025, arXiv:2502.19301",
        Fixed,
        forget=WGA,
    ),
    Row(
        "satimp",
        "Ascent in which a token counts where it is neither forgotten nor certain.",
        "Yang et al., ICML 2025, arXiv:2505.11953",
        partial(Fixed, retain=0.1),
        forget=SatImp,
    ),
    Row(
        "ce_u",
        "Descends toward the model's own prediction with the right token struck out; no retain side, as published.",
        "Yang, 2025, arXiv:2503.01224",
        partial(Fixed, 1.0, 0.0),
        forget=CEU,
        retain=None,
    ),
    Row(
        "relabel_condition",
        "Trains the forget images to the original's prediction for another condition, any or a given one.\n\n"
        "Of diffusion models. A random one gives mixtures of all others, the next or a given one clean images of it.",
        "Fan et al., SalUn, ICLR 2024, arXiv:2310.12508",
        Fixed,
        forget=parts.other_condition,
    ),
    Row(
        "esd",
        "Trains the prediction for a condition to the original's for none, guided away from the condition.\n\n"
        "Of diffusion models, over noised forget images. The authors' own has no retain side: `retain=0`.",
        "Gandikota et al., ESD, ICCV 2023, arXiv:2303.07345",
        partial(Fixed, forget=0.2),
        forget=parts.guided_away,
    ),
    Row(
        "concept_ablation",
        "Trains the prediction for a condition to the model's own, as it is now, for an anchor.\n\n"
        "Of diffusion models. The anchor is `to`, the next condition if nothing is said.",
        "Kumari et al., Concept Ablation, ICCV 2023, arXiv:2303.13516",
        Fixed,
        forget=parts.anchored,
    ),
    Row(
        "erase_diff",
        "Trains the forget images to noise that is not the one in them.\n\n"
        "Of diffusion models. The paper's bi-level constraint is another rule's: `over: erase_diff` of ofmu or eupmu.",
        "Wu et al., EraseDiff, arXiv:2401.05779",
        Fixed,
        forget=NoiseTarget,
    ),
    Row(
        "selective_amnesia",
        "Trains the condition to draw uniform noise, a surrogate for its images.\n\n"
        "Of diffusion models. The paper's penalty on the weights is not here: the retain side is the nll.",
        "Heng and Soh, Selective Amnesia, NeurIPS 2023, arXiv:2305.10120",
        Fixed,
        forget=Surrogate,
    ),
)
