"""What the `evidence:` of a recipe says, as the library writes it."""

from __future__ import annotations

from unweave.audit.robustness import Relearning
from unweave.audit.runs import Margins
from unweave.recipe.evidence import EvidenceSection


def margins(section: EvidenceSection) -> Margins:
    """The gaps to retraining that do not matter."""
    return Margins(section.margins.model_dump())


def relearning(section: EvidenceSection, seed: int) -> Relearning:
    """The attacker who trains the model a little.

    Raises:
        ConfigurationError: the numbers do not fit each other.
    """
    how = section.relearning
    return Relearning(how.steps, how.lr, how.batch, how.share, seed)
