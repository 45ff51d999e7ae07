"""A diffusion model's sheet: what it draws, what it denoises, and what an attacker reads of it.

That a model's loss on the forget set has risen does not say that it no longer draws what it should have lost; so the
first scores are of drawn images, which a judge looks at (`judge.py`), each model's from the same noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
from torch import nn

from unweave.evaluation import gap
from unweave.evaluation.intervals import mean_interval, share
from unweave.evaluation.metric import Array, Measurement, Metric, Right, Row, formed, whole
from unweave.evaluation.ranking import FEWEST, Ranking, Z, paired_error
from unweave.modalities._base import Scored, Sheet
from unweave.modalities.diffusion.evaluation.distances import frechet_score, kid_score
from unweave.modalities.diffusion.evaluation.exam import Answers, Exam

_SALUN, _HO = "Fan et al. (SalUn), ICLR 2024", "Ho et al., NeurIPS 2020 (arXiv:2006.11239)"
_RETRAINED = "what a model retrained without the forget set scores; nothing else is right"
_KEPT = "the original's, but for what the forget set taught of the others"
_DRAWN = "a judge, and a request that names classes it knows"
_BLACK = "the judge's answer is not finite: the model drew what is no number"
_FEW = "fewer than 20 drawn or 40 real images, or a feature that is not finite"
_Row = Row[[Answers]]
_Pair = Row[[Answers, Answers]]
_Form = Callable[[Answers], Measurement]


def _forgotten_class(of: Answers) -> bool:
    return len(of.asked) > 0


def _judged(of: Answers) -> bool:
    return len(of.wanted) > 0


def _log_p(logits: Array) -> Array:
    from scipy.special import log_softmax

    return np.asarray(log_softmax(whole(logits, "answers of the judge", axes=2), axis=1))


def _missed(of: Answers) -> Array:
    """Of each image asked for as a class to forget: 1 where the judge calls it something else."""
    return (_log_p(of.forgotten).argmax(1) != of.asked).astype(np.float64)


def _recognised(of: Answers) -> Array:
    """Of each image asked for as a class to keep: 1 where the judge calls it that."""
    return (_log_p(of.kept).argmax(1) == of.wanted).astype(np.float64)


def _counted(values: Array) -> Measurement:
    return share(int(values.sum()), len(values))


def _mean(values: Array, seed: int) -> Measurement:
    return Measurement(float(values.mean()), *mean_interval(values, seed=seed), "bootstrap", n=len(values))


def _leak(of: Answers) -> Measurement:
    return _counted(np.isin(_log_p(of.kept).argmax(1), of.leaked).astype(np.float64))


def _p_class(of: Answers) -> Measurement:
    p = np.exp(_log_p(of.forgotten)[np.arange(len(of.asked)), of.asked])
    return _mean(p, of.seed)


def _entropy(of: Answers) -> Measurement:
    log_p = _log_p(of.forgotten)
    return _mean(-(np.exp(log_p) * log_p).sum(1), of.seed)


def _loss(of: Answers, name: str) -> Measurement:
    return _mean(whole(of.losses[name], f"{name} losses", axes=1), of.seed)


def _ranking(of: Answers) -> Ranking:
    members, others = of.scores
    return Ranking([(whole(members, "forget examples", axes=1, at_least=FEWEST), _unseen(others))])


def _unseen(scores: Array) -> Array:
    return whole(scores, "unseen examples", axes=1, at_least=FEWEST)


def _attacked(of: Answers) -> Measurement:
    found = _ranking(of)
    return Measurement(
        found.area, *found.interval, "DeLong, logit", found.null, found.p, n=found.members + found.others
    )


def _drawn(name: str, of: str, form: _Form, exact: str = _RETRAINED, right: Right = "as null") -> _Row:
    metric = Metric(name, of, "share", right, (0, 1), "example", _DRAWN, _BLACK, _SALUN, exact)
    return Row(metric, form, there=_forgotten_class)


def _denoised(name: str, of: str, exact: str = _RETRAINED, right: Right = "as null") -> _Row:
    told = f"mean denoising loss over the {of}, each example noised several times, alike for every model"
    metric = Metric(
        f"{name}_denoising",
        told,
        "squared error",
        right,
        (0, math.inf),
        "example",
        "examples",
        "a loss that is not finite",
        _HO,
        exact,
    )
    return Row(metric, partial(_loss, name=name), there=lambda given: name in given.losses)


ROWS: tuple[_Row, ...] = (
    _drawn(
        "UA_drawn",
        "share of images asked for as a class to forget that the judge does not call it",
        lambda of: _counted(_missed(of)),
    ),
    _drawn("p_class", "mean probability that the judge gives that class on those images", _p_class),
    Row(
        Metric(
            "entropy",
            "mean entropy of the judge on those images: low for another class, high for none",
            "nats",
            "as null",
            (0, math.inf),
            "example",
            _DRAWN,
            _BLACK,
            "Heng and Soh, NeurIPS 2023 (arXiv:2305.10120)",
            _RETRAINED,
        ),
        _entropy,
        there=_forgotten_class,
    ),
    Row(
        Metric(
            "RA_drawn",
            "share of images asked for as a class to keep that the judge calls it",
            "share",
            "higher",
            (0, 1),
            "example",
            "a judge",
            _BLACK,
            _SALUN,
            _KEPT,
        ),
        lambda of: _counted(_recognised(of)),
        there=_judged,
    ),
    _drawn("leak", "share of images asked for as a class to keep that the judge calls one to forget", _leak),
    Row(
        Metric(
            "frechet",
            "Fréchet distance on features of the judge, of drawn and held-out real images of the classes to keep",
            "deviations squared",
            "lower",
            (0, math.inf),
            "example",
            "held-out real images",
            _FEW,
            "Dowson and Landau (1982)",
            "one half of the real images against the other, at the same n",
        ),
        lambda of: frechet_score(of.drawn, of.real, of.seed),
        there=_judged,
    ),
    Row(
        Metric(
            "KID",
            "kernel distance (unbiased MMD^2, (x.y/d + 1)^3) on features of the judge, of the same images",
            "deviations squared",
            "lower",
            (-math.inf, math.inf),
            "example",
            "held-out real images",
            _FEW,
            "Binkowski et al., ICLR 2018 (arXiv:1801.01401)",
            "one half of the real images against the other, at the same n",
        ),
        lambda of: kid_score(of.drawn, of.real, of.seed),
        there=_judged,
    ),
    _denoised("forget", "forget set"),
    _denoised("retain", "retain set"),
    _denoised("test", "test set", _KEPT, "lower"),
    _denoised("unseen", "unseen examples like those to forget"),
    Row(
        Metric(
            "MIA_denoising",
            "P(a forget example has the lower loss, at 8 timesteps below T / 2, than an unseen one) + P(equal) / 2",
            "share",
            "as null",
            (0, 1),
            "example",
            "unseen examples that are exchangeable with the forget set",
            "fewer than 20 examples on a side, or a NaN",
            "interval: DeLong et al. (1988)",
            "1/2 where the two sets are exchangeable; otherwise what a retrained model scores",
        ),
        _attacked,
    ),
)
"""In the order of every table; a score is added here and nowhere else."""


def _shift(name: str, of: str, values: Callable[[Answers], Array], unit: str = "share") -> _Pair:
    """The mean difference to the retrained model, example by example."""

    def form(own: Answers, retrained: Answers) -> Measurement:
        return _mean(values(own) - values(retrained), own.seed)

    limits = (-1.0, 1.0) if unit == "share" else (-math.inf, math.inf)
    told = f"{of}, less that of the retrained model, paired"
    metric = Metric(
        name, told, unit, "as null", limits, "example", "a retrained model", "a score is undefined", exact="0"
    )
    return Row(metric, form)


def _shifted_loss(name: str) -> _Pair:
    row = _shift(
        f"{name}_denoising_shift",
        f"{name}_denoising",
        lambda of: whole(of.losses[name], f"{name} losses", axes=1),
        "squared error",
    )
    return Row(row.metric, row.form, there=lambda own, retrained: name in own.losses and name in retrained.losses)


def _shifted_area(own: Answers, retrained: Answers) -> Measurement:
    one, other = _ranking(own), _ranking(retrained)
    value, half = one.area - other.area, Z * paired_error(one, other)
    return Measurement(value, value - half, value + half, "DeLong, paired", n=one.members + one.others)


_RA = _shift("RA_shift", "RA_drawn", _recognised)
_UA = _shift("UA_shift", "UA_drawn", _missed)
SHIFTS: tuple[_Pair, ...] = (
    Row(_UA.metric, _UA.form, there=lambda own, _: _forgotten_class(own)),
    Row(_RA.metric, _RA.form, there=lambda own, _: _judged(own)),
    *map(_shifted_loss, ("forget", "retain", "test", "unseen")),
    Row(
        Metric(
            "MIA_denoising_shift",
            "MIA_denoising, less that of the retrained model, over the same examples",
            "share",
            "as null",
            (-1, 1),
            "example",
            "a retrained model",
            "MIA_denoising is undefined",
            "DeLong et al. (1988)",
            "0",
        ),
        _shifted_area,
    ),
)
"""What is formed of a model and the retrained one together: the same noise, the same examples."""

METRICS = {metric.name: metric for metric in (*(r.metric for r in ROWS), *(r.metric for r in SHIFTS))}
"""What each score is, by name, as in `scores.json`."""
GAP_METRICS = ("UA_drawn", "RA_drawn", "MIA_denoising")
"""What the distance to the retrained model is formed of, as far as a sheet has it."""


def score(model: nn.Module, exam: Exam) -> Scored:
    """Every score of a model; `beside` a retrained one's, those that need both.

    Args:
        model: the denoiser; it stays as it is.
        exam: what is asked of it, the same for every model of a table.

    Raises:
        ConfigurationError: the model knows no such condition.
    """
    answers = exam.taken(model)
    return Scored(formed(ROWS, answers), answers, compare)


def compare(own: Answers, retrained: Answers) -> Sheet:
    """All scores of a model, and its differences to the retrained one, example by example."""
    return {**formed(ROWS, own), **formed(SHIFTS, own, retrained)}


def gaps(sheet: Sheet, retrained: Sheet) -> Sheet:
    """How far a model is from the retrained one, in points."""
    return gap.gaps(sheet, retrained, [name for name in GAP_METRICS if name in sheet])
