"""The checks that this project's own rules, losses and methods pass, for those of others; needs nothing but torch."""

from unweave.testing.loss import check_loss, problem
from unweave.testing.method import check_method
from unweave.testing.rule import check_rule
from unweave.testing.violation import PROPERTIES, Checked, Violation

__all__ = ["PROPERTIES", "Checked", "Violation", "check_loss", "check_method", "check_rule", "problem"]
