"""What a run leaves: one record a step, counts, and a result that says what came of it."""

from unweave.results.record import Progress, Record
from unweave.results.result import Result

__all__ = ["Progress", "Record", "Result"]
