"""A promise about a whole run: limits in the user's own metric, measured on data that the run does not train on."""

from unweave.contract.clauses import Contract, Forget, Keep
from unweave.contract.keeper import Keeper
from unweave.contract.reading import Outcome, Reading, State, Verdict, ended, headline, overall, state_of
from unweave.contract.sets import Sets

__all__ = [
    "Contract",
    "Forget",
    "Keep",
    "Keeper",
    "Outcome",
    "Reading",
    "Sets",
    "State",
    "Verdict",
    "ended",
    "headline",
    "overall",
    "state_of",
]
