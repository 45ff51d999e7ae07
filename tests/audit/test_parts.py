"""Whether the runs went to their end: what it says of a model that stayed as it was."""

from __future__ import annotations

import pytest

from unweave.audit.claims import claim
from unweave.audit.parts import went_to_its_end
from unweave.contract.keeper import NOTHING

MOVED, IDLE, STUCK = (
    {"changed": changed, "ended": ended} for changed, ended in ((True, "reached"), (False, NOTHING), (False, "used up"))
)


@pytest.mark.parametrize(
    ("made", "finite", "found"),
    [
        ([MOVED, MOVED], True, "supports"),
        ([MOVED, MOVED], False, "refutes"),
        ([MOVED, IDLE], True, "undecided"),  # its original met the contract already: nothing was asked of the method
        ([IDLE, STUCK], True, "refutes"),
        ([IDLE], False, "refutes"),
    ],
)
def test_a_model_that_had_nothing_to_forget_is_no_evidence_against_the_method(
    made: list[dict[str, object]], finite: bool, found: str
) -> None:
    told = went_to_its_end(made, finite)
    assert told == found
    assert bool(claim({"ran": told}).against) == (found == "refutes")
