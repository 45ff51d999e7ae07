"""Over training runs, the unit that a claim is about: retrain gaps, equivalence, null rows, the recovered share."""

from unweave.evaluation.runs.gap import Gap, GapTable, Margins, retrain_gap
from unweave.evaluation.runs.recovered import recovered_share
from unweave.evaluation.runs.welch import Difference, difference, prediction

__all__ = ["Difference", "Gap", "GapTable", "Margins", "difference", "prediction", "recovered_share", "retrain_gap"]
