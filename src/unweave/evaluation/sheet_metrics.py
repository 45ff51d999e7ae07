"""What every score of a classifier's sheet is: direction, range, unit of replication, needs, null level in words."""

from __future__ import annotations

import math

from unweave.evaluation.evidence import Metric, Right

_SALUN = "Fan et al. (SalUn), ICLR 2024"
_CARLINI = "Carlini et al., IEEE S&P 2022"
_RETRAINED = "what a model retrained without the forget set scores; nothing else is right"
_FEW = "fewer than 20 forget or 1000 unseen examples, or a NaN"
_HOLDOUT = "unseen examples that are exchangeable with the forget set"


def _share(name: str, of: str, right: Right, exact: str, source: str = _SALUN) -> Metric:
    return Metric(
        name, of, "share", right, (0, 1), "example", "labelled examples", "no example, or a NaN", source, exact
    )


def _loss(name: str, right: Right, exact: str) -> Metric:
    of = f"mean of -log p_y over the {name} set"
    needs, undefined = "labelled examples", "no examples, or a loss that is not finite"
    return Metric(f"{name}_loss", of, "nats", right, (0, math.inf), "example", needs, undefined, exact=exact)


_KEPT = "the original's, but for what the forget set taught of the others"
SHEET = {
    metric.name: metric
    for metric in (
        _share("UA", "1 - accuracy on the forget set", "as null", _RETRAINED),
        _share("FA", "accuracy on the forget set", "as null", _RETRAINED),
        _share("RA", "accuracy on the retain set", "as null", _RETRAINED),
        _share("TA", "accuracy on the test set, without a class that is forgotten whole", "higher", _KEPT),
        _share("TA_forgotten", "accuracy on test examples of the class that is forgotten whole", "as null", "0"),
        _loss("forget", "as null", _RETRAINED),
        _loss("retain", "as null", _RETRAINED),
        _loss("test", "lower", _KEPT),
        Metric(
            "MIA_AUC",
            "P(a forget example has the lower loss than an unseen one) + P(equal) / 2",
            *("share", "as null", (0, 1), "example", _HOLDOUT, "fewer than 20 examples on a side, or a NaN"),
            "interval: Efron and Tibshirani (1993)",
            "1/2 where the two sets are exchangeable; otherwise what a retrained model scores",
        ),
        Metric(
            "MIA_TPR",
            "share of the forget set above the threshold that 1 % of one half of the unseen examples are above",
            *("share", "as null", (0, 1), "example", _HOLDOUT, _FEW),
            *(_CARLINI, "1 % where the two sets are exchangeable"),
        ),
        Metric(
            "MIA_FPR",
            "share of the other half of the unseen examples above the threshold of MIA_TPR",
            *("share", "as null", (0, 1), "example", _HOLDOUT, _FEW),
            *(_CARLINI, "1 %, whatever the model"),
        ),
        Metric(
            "MIA_confidence",
            "share of the forget set that a support vector machine on p_y, retain against test, calls non-member",
            *("share", "as null", (0, 1), "example", "retain and test examples", "fewer than 20 examples in a set"),
            *(_SALUN, "no constant: between 0 and 1 by how far the model is fitted; compare with a retrained one"),
        ),
        Metric(
            "MIA_confidence_AUC",
            "P(that machine's decision value is higher on a forget example than on an unseen one) + P(equal) / 2",
            *("share", "as null", (0, 1), "example", _HOLDOUT, "fewer than 20 examples in a set, or a NaN"),
            _SALUN,
            "1/2 where the two sets are exchangeable; otherwise what a retrained model scores",
        ),
        Metric(
            "MIA_confidence_TPR",
            "share of the forget set above the decision value that 1 % of one half of the unseen examples are above",
            *("share", "as null", (0, 1), "example", _HOLDOUT, _FEW),
            *(_SALUN, "1 % where the two sets are exchangeable"),
        ),
        Metric(
            "RTE",
            "seconds of unlearning / seconds of retraining",
            *("ratio", "lower", (0, math.inf), "run", "the time of a retraining", "nobody timed one", _SALUN),
            "1: retraining itself",
        ),
    )
}
"""By name, as in `scores.json`."""
