"""What the model does: the only room on the training path that knows a modality."""

from unweave.tasks._base import Owners, Predictions, Task, Value, cross_entropy, divergence, kl, log_odds
from unweave.tasks.auto import guessed
from unweave.tasks.classification import Classification
from unweave.tasks.dense import Dense
from unweave.tasks.diffusion import Diffusion, Noised
from unweave.tasks.known import NATS, Known
from unweave.tasks.language import Language
from unweave.tasks.multilabel import MultiLabel
from unweave.tasks.regression import Regression
from unweave.tasks.schedule import Schedule

Vision = Classification
"""The name under which it was first known."""

__all__ = [
    "NATS",
    "Classification",
    "Dense",
    "Diffusion",
    "Known",
    "Language",
    "MultiLabel",
    "Noised",
    "Owners",
    "Predictions",
    "Regression",
    "Schedule",
    "Task",
    "Value",
    "Vision",
    "cross_entropy",
    "divergence",
    "guessed",
    "kl",
    "log_odds",
]
