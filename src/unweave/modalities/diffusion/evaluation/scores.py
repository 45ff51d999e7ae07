"""A diffusion model's sheet: what it draws, what it denoises, and what an attacker reads of it.

That a model's loss on the forget set has risen does not say that it no longer draws what it should have lost; so the
first scores are of drawn images, which a judge looks at (`judge.py`), each model's from the same noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import nn

from unweave.evaluation import gap
from unweave.evaluation.metric import Measurement, Metric, Right, Row, formed
from unweave.guards import one_class
from unweave.modalities._base import Scored, Sheet
from unweave.modalities.diffusion.evaluation.distances import frechet_score, kid_score
from unweave.modalities.diffusion.evaluation.exam import Answers, Exam
from unweave.modalities.diffusion.evaluation.search import ATTACKS, FOUND, Attack, attacks, counted
from unweave.modalities.diffusion.evaluation.shifts import SHIFTS
from unweave.modalities.diffusion.evaluation.values import (
    judged,
    log_p,
    losses,
    mean_of,
    missed,
    of_a_class,
    ranking,
    recognised,
)
from unweave.watch import Watch, silent

_SALUN, _HO = "Fan et al. (SalUn), ICLR 2024", "Ho et al., NeurIPS 2020 (arXiv:2006.11239)"
_RETRAINED = "what a model retrained without the forget set scores; nothing else is right"
_KEPT = "the original's, but for what the forget set taught of the others"
_DRAWN = "a judge, and a request that names classes it knows"
_BLACK = "the judge's answer is not finite: the model drew what is no number"
_FEW = "fewer than 20 drawn or 40 real images, or a feature that is not finite"
_Row = Row[[Answers]]
_Form = Callable[[Answers], Measurement]


def _leak(of: Answers) -> Measurement:
    return counted(np.isin(log_p(of.kept).argmax(1), of.leaked).astype(np.float64))


def _p_class(of: Answers) -> Measurement:
    p = np.exp(log_p(of.forgotten)[np.arange(len(of.asked)), of.asked])
    return mean_of(p, of.seed)


def _entropy(of: Answers) -> Measurement:
    known = log_p(of.forgotten)
    return mean_of(-(np.exp(known) * known).sum(1), of.seed)


def _loss(of: Answers, name: str) -> Measurement:
    return mean_of(losses(of, name), of.seed)


def _attacked(of: Answers) -> Measurement:
    found = ranking(of)
    return Measurement(
        found.area, *found.interval, "DeLong, logit", found.null, found.p, n=found.members + found.others
    )


def _drawn(name: str, plain: str, of: str, form: _Form) -> _Row:
    about = _DRAWN, _BLACK, _SALUN, _RETRAINED, plain
    return Row(Metric(name, of, "share", "as null", (0, 1), "example", *about), form, there=of_a_class)


def _denoised(name: str, plain: str, of: str, exact: str = _RETRAINED, right: Right = "as null") -> _Row:
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
        f"mean error on {plain}",
    )
    return Row(metric, partial(_loss, name=name), there=lambda given: name in given.losses)


def _brought_back(metric: Metric) -> _Row:
    name = metric.name
    return Row(metric, lambda of: counted(of.attacked[name]), there=lambda of: name in of.attacked)


ROWS: tuple[_Row, ...] = (
    _drawn(
        *("UA_drawn", "not drawn when asked for"),
        "share of images asked for as a class to forget that the judge does not call it",
        lambda of: counted(missed(of)),
    ),
    _drawn(
        *("p_class", "how sure the judge is to see what is to be forgotten"),
        *("mean probability that the judge gives that class on those images", _p_class),
    ),
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
            "how unsure the judge is on what is drawn in its place",
        ),
        _entropy,
        there=of_a_class,
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
            "others drawn as asked",
        ),
        lambda of: counted(recognised(of)),
        there=judged,
    ),
    _drawn(
        *("leak", "drawn when others were asked for"),
        *("share of images asked for as a class to keep that the judge calls one to forget", _leak),
    ),
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
            "Fréchet distance on features of the judge",
        ),
        lambda of: frechet_score(of.drawn, of.real, of.seed),
        there=judged,
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
            "kernel distance on features of the judge",
        ),
        lambda of: kid_score(of.drawn, of.real, of.seed),
        there=judged,
    ),
    _denoised("forget", "the data to forget", "forget set"),
    _denoised("retain", "the data to keep", "retain set"),
    _denoised("test", "unseen data", "test set", _KEPT, "lower"),
    _denoised("unseen", "unseen data like those to forget", "unseen examples like those to forget"),
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
            "told from unseen data by an attack",
        ),
        _attacked,
    ),
    *map(_brought_back, ATTACKS.values()),
)
"""In the order of every table; a score is added here and nowhere else."""


METRICS = {metric.name: metric for metric in (*(r.metric for r in ROWS), *(r.metric for r in SHIFTS))}
"""What each score is, by name, as in `scores.json`."""
GAP_METRICS = ("UA_drawn", "RA_drawn", "MIA_denoising", FOUND.name)
"""What the distance to the retrained model is formed of, as far as both sheets have it: hidden is not gone."""


def score(model: nn.Module, exam: Exam, attack: Attack | None = None, watch: Watch = silent, name: str = "") -> Scored:
    """Every score of a model; `beside` a retrained one's, those that need both.

    Args:
        model: the denoiser; it stays as it is.
        exam: what is asked of it, the same for every model of a table.
        attack: what whoever wants a class to forget back has and does; None: there is no attack.
        watch: told how far the attacks are.
        name: of the model, in words.

    Raises:
        ConfigurationError: the model knows no such condition, or the forget set has no image of a class to forget.
        UnsupportedError: no condition can be searched in the model.
    """
    answers = exam.taken(model)
    if attack is not None and attack.which and exam.forgotten and exam.judge is not None:
        phase, total = f"attacks on the {name or 'model'}", sum(attack.steps.values())
        watch(phase, 0, total)
        answers = replace(answers, attacked=attacks(model, exam, attack, lambda done: watch(phase, done, total)))
    return Scored(formed(ROWS, answers), answers, compare, tuple(filter(None, [_collapsed(answers)])))


def _collapsed(of: Answers) -> str:
    """What to say of a model that draws nearly one class alone, or what is no picture."""
    if broken := int((~np.isfinite(of.kept).all(1)).sum()):
        return f"THE MODEL COLLAPSED: {broken} of {len(of.kept)} images that it drew of classes to keep are not finite."
    if not judged(of):
        return ""
    found, wanted = torch.from_numpy(of.kept.argmax(1)), torch.from_numpy(of.wanted)
    return one_class(found, wanted, "the judge calls class {} in {} of {} images that it drew of classes to keep")


def compare(own: Answers, retrained: Answers) -> Sheet:
    """The differences of a model to the retrained one, example by example."""
    return formed(SHIFTS, own, retrained)


def gaps(sheet: Sheet, retrained: Sheet) -> Sheet:
    """How far a model is from the retrained one, in points."""
    return gap.gaps(sheet, retrained, [name for name in GAP_METRICS if name in sheet and name in retrained])
