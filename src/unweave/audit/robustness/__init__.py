"""Does it come back? Attacks on original, never-saw control and unlearned model alike: relearning, low precision."""

from unweave.audit.robustness.precision import GROUP, quantised, unchanged
from unweave.audit.robustness.relearning import Curve, Relearning, half_life, relearn

__all__ = ["GROUP", "Curve", "Relearning", "half_life", "quantised", "relearn", "unchanged"]
