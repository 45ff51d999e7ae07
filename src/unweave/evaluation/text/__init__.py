"""Did a language model unlearn? One forward pass per text, and the field's metrics from what it said.

Two halves: numbers (`tokens`, `ratios`, `attacks`, `generations`: pure functions; `log`, `scores`: from per-example
values to a sheet) and the collector (`collect`), which runs the model and writes the values.
"""

from unweave.evaluation.text.log import Log
from unweave.evaluation.text.read import read_log
from unweave.evaluation.text.scores import compared, log_scores

__all__ = ["Log", "compared", "log_scores", "read_log"]
