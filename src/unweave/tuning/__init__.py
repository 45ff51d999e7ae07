"""A search for method, knobs and step of a recipe, without a model retrained for its request (`unweave tune`)."""

from unweave.tuning.run import FILE, TUNED, Asked, check_single, tune
from unweave.tuning.space import Space, space_of

__all__ = ["FILE", "TUNED", "Asked", "Space", "check_single", "space_of", "tune"]
