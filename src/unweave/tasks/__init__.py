"""What the model does: the only room on the training path that knows a modality."""

from unweave.tasks._base import Task
from unweave.tasks.vision import Vision

__all__ = ["Task", "Vision"]
