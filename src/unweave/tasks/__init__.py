"""What the model does: the only room on the training path that knows a modality."""

from unweave.tasks._base import Owners, Predictions, Task, cross_entropy, divergence, kl
from unweave.tasks.known import NATS, Known
from unweave.tasks.language import Language
from unweave.tasks.vision import Vision

__all__ = ["NATS", "Known", "Language", "Owners", "Predictions", "Task", "Vision", "cross_entropy", "divergence", "kl"]
