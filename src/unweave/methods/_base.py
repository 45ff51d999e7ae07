"""What a row of the catalogue is, and where each comes from."""

from __future__ import annotations

from dataclasses import dataclass

from unweave import rules
from unweave.arguments import callable_with, faults, kind, maybe, wrong
from unweave.errors import check
from unweave.objectives import Loss

SIDES = ("forget", "retain")


@dataclass(frozen=True)
class Method:
    """What one paper does: two objectives, both minimised, and the rule that joins them.

    Attributes:
        forget: the forget side's loss, `(model, batch) -> [b]`; None is no forget side.
        retain: the retain side's loss; None is no retain side.
        rule: how two objectives become one direction.
        paper: where it comes from.
        saliency: share of the weights that may move, by `parameters.saliency_mask`; None is all of them.

    Raises:
        ConfigurationError: a loss is no function, a rule is no rule, or a share is out of range.
    """

    forget: Loss | None
    retain: Loss | None
    rule: rules.Rule
    paper: str
    saliency: float | None = None

    def __post_init__(self) -> None:
        check(self, *faults(_RULES, vars(self)).values(), saliency="(0, 1]")


_LOSS = "a function (model, batch) -> [b], or None"
_RULES = {
    **{side: maybe(lambda name, given: "" if callable_with(given, 2) else wrong(name, _LOSS, given)) for side in SIDES},
    "rule": kind("a rule, such as rules.HAMU()", rules.Rule),
}


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
    "npo": "Zhang et al., COLM 2024, arXiv:2404.05868",
    "simnpo": "Fan et al., NeurIPS 2025, arXiv:2410.07163",
    "dpo": "Maini et al., TOFU, COLM 2024, arXiv:2401.06121",
    "altpo": "Mekala et al., COLING 2025, arXiv:2409.13474",
    "rmu": "Li et al., WMDP, ICML 2024, arXiv:2403.03218",
    "undial": "Dong et al., NAACL 2025, arXiv:2402.10052",
    "wga": "Wang et al., ICLR 2025, arXiv:2502.19301",
    "satimp": "Yang et al., ICML 2025, arXiv:2505.11953",
    "ce_u": "Yang, 2025, arXiv:2503.01224",
}
