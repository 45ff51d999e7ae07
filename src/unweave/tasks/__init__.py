"""What the model does: the only room on the training path that knows a modality."""

from unweave.tasks._base import Owners, Predictions, Task, divergence
from unweave.tasks.language import Language
from unweave.tasks.vision import Vision

__all__ = ["Language", "Owners", "Predictions", "Task", "Vision", "divergence"]
