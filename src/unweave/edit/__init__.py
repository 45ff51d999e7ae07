"""Edits of the condition path of a diffusion model: one linear solve, no gradient and no step."""

from unweave.edit.concepts import TAKES, uce
from unweave.edit.conditions import unknown
from unweave.edit.matrices import Edited, closed_form

__all__ = ["TAKES", "Edited", "closed_form", "uce", "unknown"]
