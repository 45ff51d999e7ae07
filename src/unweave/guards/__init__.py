"""Checks before and during a run: what would spoil it silently is said loudly, with what to do."""

from unweave.guards.finding import Guards, GuardWarning
from unweave.guards.first_step import FirstStep
from unweave.guards.last_look import LastLook
from unweave.guards.postcheck import collapsed, not_finite, nothing_changed, one_class, same_scores
from unweave.guards.precheck import check
from unweave.guards.probe import Seen, probed
from unweave.guards.single_example import check_single_example

__all__ = [
    "FirstStep",
    "GuardWarning",
    "Guards",
    "LastLook",
    "Seen",
    "check",
    "check_single_example",
    "collapsed",
    "not_finite",
    "nothing_changed",
    "one_class",
    "probed",
    "same_scores",
]
