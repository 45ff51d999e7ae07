"""How far a model's scores are from those of the retrained one, over the same noise and the same examples, paired."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from unweave.evaluation.metric import Array, Measurement, Metric, Row
from unweave.evaluation.ranking import Z, paired_error
from unweave.modalities.diffusion.evaluation.exam import Answers
from unweave.modalities.diffusion.evaluation.search import ATTACKS
from unweave.modalities.diffusion.evaluation.values import (
    judged,
    losses,
    mean_of,
    missed,
    of_a_class,
    ranking,
    recognised,
)

Pair = Row[[Answers, Answers]]


def _shift(
    of: str,
    plain: str,
    values: Callable[[Answers], Array],
    there: Callable[[Answers], bool] = lambda of: True,
    unit: str = "share",
) -> Pair:
    """The mean difference to the retrained model, example by example."""

    def form(own: Answers, retrained: Answers) -> Measurement:
        return mean_of(values(own) - values(retrained), own.seed)

    limits = (-1.0, 1.0) if unit == "share" else (-math.inf, math.inf)
    told = f"{of}, less that of the retrained model, paired"
    short = of.removesuffix("_drawn")
    metric = Metric(
        f"{short}_shift",
        told,
        unit,
        "as null",
        limits,
        "example",
        "a retrained model",
        "a score is undefined",
        exact="0",
        plain=f"{plain}, less that of a retrained model",
    )
    return Row(metric, form, there=lambda *both: all(map(there, both)))


def _shifted_loss(name: str) -> Pair:
    plain = f"mean error on the {name} set"
    return _shift(f"{name}_denoising", plain, partial(losses, name=name), lambda of: name in of.losses, "squared error")


def _shifted_attack(name: str) -> Pair:
    return _shift(name, ATTACKS[name].plain, lambda of: of.attacked[name], lambda of: name in of.attacked)


def _shifted_area(own: Answers, retrained: Answers) -> Measurement:
    one, other = ranking(own), ranking(retrained)
    value, half = one.area - other.area, Z * paired_error(one, other)
    return Measurement(value, value - half, value + half, "DeLong, paired", n=one.members + one.others)


SHIFTS: tuple[Pair, ...] = (
    _shift("UA_drawn", "not drawn when asked for", missed, of_a_class),
    _shift("RA_drawn", "others drawn as asked", recognised, judged),
    *map(_shifted_loss, ("forget", "retain", "test", "unseen")),
    *map(_shifted_attack, ATTACKS),
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
            "told from unseen data by an attack, less that of a retrained model",
        ),
        _shifted_area,
    ),
)
"""What is formed of a model and the retrained one together: the same noise, the same examples."""
