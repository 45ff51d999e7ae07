"""A paper's experiment: a grid of ordinary runs, what is read of each, and what the paper says of it."""

from unweave.papers.claims import Answer, answers
from unweave.papers.experiment import Cell, Experiment, known, open_
from unweave.papers.run import FILE, run

__all__ = ["FILE", "Answer", "Cell", "Experiment", "answers", "known", "open_", "run"]
