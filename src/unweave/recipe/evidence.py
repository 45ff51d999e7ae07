"""`evidence:` of a recipe: how many trainings, what does not matter, how hard the attacker tries."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from unweave.evaluation.fewest import FEWEST_FOR_NULL, FEWEST_MODELS
from unweave.evaluation.scores import MARGINS

_STRICT = ConfigDict(extra="forbid", frozen=True, strict=True)
Points = Annotated[float, Field(gt=0)]


def _none_or_enough(shadows: int) -> int:
    """Fewer are trained and unlearned for nothing."""
    if 0 < shadows < FEWEST_MODELS:
        raise ValueError(
            f"expected 0 (no U-LiRA) or at least {FEWEST_MODELS}, three for each fate of a record (kept, never seen, "
            f"unlearned); found {shadows}"
        )
    return shadows


class TrainingsSection(BaseModel):
    """How many models of each kind `unweave evidence` trains and unlearns.

    `runs` original models are trained from seeds of their own, and each is unlearned; `retrained` (as many, and 4 at
    least, without it) are trained without the forget set. `shadows` more are trained and unlearned under coins, for
    U-LiRA: 0 for none, or nine at least.
    """

    model_config = _STRICT
    runs: Annotated[int, Field(ge=2)] = 3
    retrained: Annotated[int, Field(ge=2)] | None = None
    shadows: Annotated[int, Field(ge=0), AfterValidator(_none_or_enough)] = 0
    retain_examples: Annotated[int, Field(ge=20)] = 2000

    @property
    def references(self) -> int:
        """How many retrained models."""
        return self.retrained or max(self.runs, FEWEST_FOR_NULL)


class MarginsSection(BaseModel):
    """The gaps to retraining that do not matter, in points: settle them before the first run."""

    model_config = _STRICT
    UA: Points = MARGINS["UA"]
    RA: Points = MARGINS["RA"]
    TA: Points = MARGINS["TA"]
    MIA_AUC: Points = MARGINS["MIA_AUC"]


class RelearningSection(BaseModel):
    """The attacker who trains the model a little: see `unweave.audit.robustness.Relearning`."""

    model_config = _STRICT
    steps: tuple[Annotated[int, Field(ge=0)], ...] = (0, 1, 2, 5, 10, 20, 50)
    lr: Annotated[float, Field(gt=0)] = 1e-3
    batch: Annotated[int, Field(ge=1)] = 64
    share: Annotated[float, Field(gt=0, lt=1)] = 0.2


class EvidenceSection(TrainingsSection):
    """The same of classifiers, with what does not matter of their gaps and how hard the attacker tries."""

    margins: MarginsSection = MarginsSection()
    relearning: RelearningSection = RelearningSection()
