"""What forgetting by so many nats will cost in nats: first order in log-odds, not in the loss."""

from __future__ import annotations

import math

from torch.nn.functional import softplus

from unweave.diagnosis.examples import Along

_FARTHEST = 1e9  # in units of parameter length: beyond it the forget loss does not rise along this direction


def forecast(forget: Along, retain: Along, rise: float) -> float:
    """The rise of the mean retain nll where the mean forget nll has risen by `rise`, both along `grad L_f`.

    Every example's log-odds are taken to change at their slope, `s_i + t v_i`, and `nll = log(1 + exp(s))`:

        mean_i nll(s_i + t f_i) - nll(s_i) = rise  gives t,   and   mean_j nll(s_j + t c_j) - nll(s_j)  is the forecast.

    So it counts how far the forget examples have to go and how much the retain examples can lose before it shows,
    which a slope of the loss does not.

    Args:
        forget: log-odds of the forget examples along the direction.
        retain: of the retain examples.
        rise: nats, above 0.

    Returns:
        Nats; NaN where the forget loss cannot rise by so much this way.
    """
    t = length(forget, rise)
    return t if math.isnan(t) else risen(retain, t)


def length(forget: Along, rise: float) -> float:
    """`t` of `forecast`, in the unit of parameter length; NaN where there is none."""
    low, high = 0.0, 1e-6
    while risen(forget, high) < rise:
        low, high = high, 2 * high
        if high > _FARTHEST:
            return math.nan
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if risen(forget, middle) < rise else (low, middle)
    return high


def risen(found: Along, t: float) -> float:
    """Rise of the mean nll `t` along the direction."""
    return float((softplus(found.value + t * found.slope) - softplus(found.value)).mean())
