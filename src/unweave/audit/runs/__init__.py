"""Over training runs, the unit that a claim is about: retrain gaps, equivalence, null rows, the recovered share."""

from unweave.audit.runs.gap import Gap, GapTable, Margins, retrain_gap
from unweave.audit.runs.recovered import recovered_share
from unweave.audit.runs.welch import Difference, difference, prediction

__all__ = ["Difference", "Gap", "GapTable", "Margins", "difference", "prediction", "recovered_share", "retrain_gap"]
