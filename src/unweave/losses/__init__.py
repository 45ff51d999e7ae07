"""One side's objective: `(model, batch) -> [b]`, per example, always minimised."""

from unweave.losses.conditions import NegativeGuidance, NoiseTarget, Relabel, Surrogate
from unweave.losses.distillation import Divergence, DivergenceEverywhere, Undial, incompetent
from unweave.losses.likelihood import Ascent, TokenWeighted, Weighted
from unweave.losses.original import AdaptersOff, Reference, Remembered, Swapped, frozen, reference, remember
from unweave.losses.preference import DPO, NPO, SimNPO
from unweave.losses.relabel import Flattening, RandomLabels
from unweave.losses.relearned import Relearned
from unweave.losses.representation import Anchor, Misdirection
from unweave.losses.tokens import CEU, WGA, SatImp
from unweave.losses.until import END, Until, unseen_level

__all__ = [
    "CEU",
    "DPO",
    "END",
    "NPO",
    "WGA",
    "AdaptersOff",
    "Anchor",
    "Ascent",
    "Divergence",
    "DivergenceEverywhere",
    "Flattening",
    "Misdirection",
    "NegativeGuidance",
    "NoiseTarget",
    "RandomLabels",
    "Reference",
    "Relabel",
    "Relearned",
    "Remembered",
    "SatImp",
    "SimNPO",
    "Surrogate",
    "Swapped",
    "TokenWeighted",
    "Undial",
    "Until",
    "Weighted",
    "frozen",
    "incompetent",
    "reference",
    "remember",
    "unseen_level",
]
