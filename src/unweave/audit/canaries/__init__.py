"""The randomised-inclusion audit: coins before training, an exact test after unlearning, whatever the attack."""

from unweave.audit.canaries.plan import Plan, draw, load
from unweave.audit.canaries.verdict import Judgement, epsilon_of, judge, read_scores
from unweave.data.index_file import read_ids

__all__ = ["Judgement", "Plan", "draw", "epsilon_of", "judge", "load", "read_ids", "read_scores"]
