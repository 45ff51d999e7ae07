"""One side's objective: `(model, batch) -> [b]`, per example, always minimised."""

from unweave.losses.distillation import Divergence, frozen, incompetent
from unweave.losses.likelihood import Ascent, Weighted
from unweave.losses.relabel import Flattening, RandomLabels

__all__ = ["Ascent", "Divergence", "Flattening", "RandomLabels", "Weighted", "frozen", "incompetent"]
