"""The loss that hardness is read from: the log-odds of an error, which does not saturate."""

from __future__ import annotations

from unweave.objectives import Loss
from unweave.tasks import Known, Task


def log_odds(task: Task) -> Loss:
    """Per-example `s = log((1 - p) / p) = log(exp(nll) - 1)`, `(model, batch) -> [b]`, in nats.

    `grad s = grad nll / (1 - p)`: the same direction for each example, but an example that the model is sure of counts
    as much as one that it is not. In a mean of nll gradients the few unsure ones decide; and where training has
    converged, `n_f grad L_f + n_r grad L_r = 0`, so that the two sides' nll gradients point against each other whatever
    the request is. `docs/LOG.md` has how well either ranks requests.

    Classifiers' odds come from the logits and keep their precision; other tasks' from the nll, where an example
    below 1e-6 nats has no slope.

    Args:
        task: gives the nll, logits, or odds of its own.
    """
    return Known(task).odds
