"""Checks before and during a run: what would spoil it silently is said loudly, with what to do."""

from unweave.guards.after import collapsed, nothing_changed
from unweave.guards.before import check
from unweave.guards.finding import Guards, GuardWarning
from unweave.guards.first import FirstStep

__all__ = ["FirstStep", "GuardWarning", "Guards", "check", "collapsed", "nothing_changed"]
