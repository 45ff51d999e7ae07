"""Checks before and during a run: what would spoil it silently is said loudly, with what to do."""

from unweave.guards.after import collapsed, not_finite, nothing_changed, same_scores
from unweave.guards.alone import check_alone
from unweave.guards.before import check
from unweave.guards.finding import Guards, GuardWarning
from unweave.guards.first import FirstStep
from unweave.guards.look import Seen, looks

__all__ = [
    "FirstStep",
    "GuardWarning",
    "Guards",
    "Seen",
    "check",
    "check_alone",
    "collapsed",
    "looks",
    "not_finite",
    "nothing_changed",
    "same_scores",
]
