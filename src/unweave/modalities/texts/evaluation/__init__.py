"""Did a language model unlearn? One forward pass per text, and the field's metrics from what it said.

Two halves: numbers (`tokens`, `ratios`, `attacks`, `generations`: pure functions; `log`, `scores`: from per-example
values to a sheet) and the collector (`collect`, `sheet`), which runs the model and writes the values.
"""

from unweave.modalities.texts.evaluation.collect import Part, collect
from unweave.modalities.texts.evaluation.examples import Example, Tokenised, choice_encoder, choices, encoder, examples
from unweave.modalities.texts.evaluation.log import Log
from unweave.modalities.texts.evaluation.metrics import compared, log_scores, text_gaps
from unweave.modalities.texts.evaluation.parts import muse_parts, tofu_parts, wmdp_parts
from unweave.modalities.texts.evaluation.sheet import Relearning, Sheet, relearning_curve, sheet
from unweave.modalities.texts.evaluation.stored import read_log

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
    "relearning_curve",
    "sheet",
    "text_gaps",
    "tofu_parts",
    "wmdp_parts",
]
