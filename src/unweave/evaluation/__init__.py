"""Did it work? Accuracy, membership inference and the gap to a retrained model, each with its interval."""

from unweave.evaluation.gap import GAP_METRICS, efficiency, gaps
from unweave.evaluation.membership import confidence_attack, tpr_at_fpr
from unweave.evaluation.metric import Score, UndefinedScore
from unweave.evaluation.outputs import Outputs, predict
from unweave.evaluation.ranking import auc
from unweave.evaluation.scores import score, score_outputs

__all__ = [
    "GAP_METRICS",
    "Outputs",
    "Score",
    "UndefinedScore",
    "auc",
    "confidence_attack",
    "efficiency",
    "gaps",
    "predict",
    "score",
    "score_outputs",
    "tpr_at_fpr",
]
