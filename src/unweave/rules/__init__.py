"""How two objectives become one direction: one algorithm, one file."""

from unweave.rules._base import GradientRule, LossRule, Rule, Step
from unweave.rules.alternating import Alternating
from unweave.rules.eupmu import EUPMU, UnilateralSurgery
from unweave.rules.eupmu_compat import EUPMUCompat
from unweave.rules.fixed import Fixed
from unweave.rules.gru import GRU
from unweave.rules.hamu import HAMU
from unweave.rules.nash import Nash
from unweave.rules.ngdiff import NGDiff
from unweave.rules.ofmu import OFMU
from unweave.rules.pcgrad import PCGrad
from unweave.rules.pdu import PDU
from unweave.rules.torchjd import TorchJD

__all__ = [
    "EUPMU",
    "GRU",
    "HAMU",
    "OFMU",
    "PDU",
    "Alternating",
    "EUPMUCompat",
    "Fixed",
    "GradientRule",
    "LossRule",
    "NGDiff",
    "Nash",
    "PCGrad",
    "Rule",
    "Step",
    "TorchJD",
    "UnilateralSurgery",
]
