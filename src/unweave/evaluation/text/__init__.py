"""Did a language model unlearn? One forward pass per text, and the field's metrics from what it said.

Two halves: numbers (`tokens`, `ratios`, `attacks`, `generations`: pure functions; `log`, `scores`: from per-example
values to a sheet) and the collector (`collect`, `sheet`), which runs the model and writes the values.
"""

from unweave.evaluation.text.collect import Part, collect
from unweave.evaluation.text.examples import Example, Tokenised, choice_encoder, choices, encoder, examples
from unweave.evaluation.text.log import Log
from unweave.evaluation.text.parts import muse_parts, tofu_parts, wmdp_parts
from unweave.evaluation.text.read import read_log
from unweave.evaluation.text.relearning import Relearning
from unweave.evaluation.text.scores import compared, log_scores, text_gaps
from unweave.evaluation.text.sheet import Sheet, sheet

__all__ = [
    "Example",
    "Log",
    "Part",
    "Relearning",
    "Sheet",
    "Tokenised",
    "choice_encoder",
    "choices",
    "collect",
    "compared",
    "encoder",
    "examples",
    "log_scores",
    "muse_parts",
    "read_log",
    "sheet",
    "text_gaps",
    "tofu_parts",
    "wmdp_parts",
]
