"""What the model does: the only room on the training path that knows a modality."""

from unweave.tasks._base import Owners, Predictions, Task, cross_entropy, divergence, kl, log_odds
from unweave.tasks.classification import Classification
from unweave.tasks.diffusion import Diffusion, Noised
from unweave.tasks.known import NATS, Known
from unweave.tasks.language import Language
from unweave.tasks.schedule import Schedule

Vision = Classification
"""The name under which it was first known."""

__all__ = [
    "NATS",
    "Classification",
    "Diffusion",
    "Known",
    "Language",
    "Noised",
    "Owners",
    "Predictions",
    "Schedule",
    "Task",
    "Vision",
    "cross_entropy",
    "divergence",
    "kl",
    "log_odds",
]
