"""What a user writes: how much utility may suffer, and when forgetting is enough."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

from torch import Tensor, nn

from unweave.errors import ConfigurationError, suggest
from unweave.tasks import NATS

Metric = Callable[[nn.Module, Any], Tensor]
UTILITY = ("accuracy", "loss", "overlap", "perplexity", "recognised")
FORGETTING = {
    "accuracy": "at_most",
    "generated": "at_most",
    "loss": "at_least",
    "unseen": "margin",
    "retrained": "margin",
}
MARGINS = {"unseen": 0.05, "retrained": 0.02}
CLIPS = {"loss": 3.0, "perplexity": 1.0}  # nats that one example counts at most, where nothing else is said
FIVEFOLD = 5.0  # limits that one example counts at most where a loss is in no nats, so that no number would suit all
MORE = 1.2  # times the limit an example counts at least: a limit that none can reach would always be met
TRIPLE = 2.0  # a relative limit beyond it (three times the original's value) is taken for a slip
SHARES = ("accuracy", "overlap", "recognised")  # in [0, 1] of each example
DRAWS_LESS, STILL_DRAWN = 0.05, 0.15  # the defaults of a model that draws
DEFAULT_SHARE = 0.01  # of the original's accuracy or perplexity, where no clause is given
LOSS_SHARE = 0.05  # of its loss, where the task has nothing else: what a trust region's own budget is there


@dataclass(frozen=True)
class Keep:
    """Utility may get worse than the original's by at most so much, on examples held out of the retain set.

    No finite number of examples bounds the mean of a metric that has no end: one example in a thousand may lose without
    limit. What is promised of such a metric is that the mean difference, each example's counted up to `clip`, is within
    the limit, and that at most limit / clip of the examples lose more than `clip` (`bounds.clipped`).

    Args:
        metric: "accuracy", "loss" (in the task's unit: nats), "overlap" (intersection over union of the classes of an
            example's places, `tasks.Dense`), "perplexity" (`exp` of the mean loss), "recognised" (share of examples
            whose condition is drawn as asked, by `task.recognised`), or a function `(model, batch) -> [b]` of one
            value per example; it may have `passes`, how many forward passes one takes.
        absolute: the limit in the metric's own unit: a share for accuracy, overlap and recognised, that of the loss,
            points of perplexity.
        relative: the limit as a share of the original's value; exactly one of the two is given.
        by: one limit for every group: "class" groups by label; a sequence names the group of each retain example, in
            the order of the data set. Groups are corrected for (`bounds.level`).
        better: whether "higher" or "lower" values of a function are better; for functions only.
        name: what tables call the clause.
        clip: what one example counts at most, up and down, in the metric's unit (nats for perplexity); None: 3 nats for
            loss (five times the limit where it is in no nats), 1 for perplexity, 1 for a function whose values of the
            original lie in [0, 1], the span of its values for another, and always a fifth more than the limit. A metric
            that is 0 or 1 needs none.

    Raises:
        ConfigurationError: everything that is wrong with it.
    """

    metric: str | Metric
    absolute: float | None = None
    relative: float | None = None
    by: Literal["class"] | Sequence[Any] | None = None
    better: Literal["higher", "lower"] | None = None
    name: str | None = None
    clip: float | None = None

    def __post_init__(self) -> None:
        faults = []
        if isinstance(self.metric, str):
            if self.metric not in UTILITY:
                faults.append(
                    f"keep: metric must be one of {', '.join(UTILITY)}, or a function (model, batch) -> [b]; "
                    f"found {self.metric!r}.{suggest(self.metric, UTILITY)}"
                )
            if self.better is not None:
                faults.append(f"keep: better is for functions; {self.metric!r} has its own direction. Leave it out.")
        elif not callable(self.metric):
            faults.append(f"keep: metric must be a name or a function; found {self.metric!r}.")
        elif self.better not in ("higher", "lower"):
            faults.append(f"keep: a function needs better='higher' or 'lower'; found {self.better!r}.")
        given = {"absolute": self.absolute, "relative": self.relative}
        named = [key for key, value in given.items() if value is not None]
        if len(named) != 1:
            faults.append(f"keep: expected exactly one of absolute, relative; found {' and '.join(named) or 'none'}.")
        faults += [
            f"keep: {key} must be a positive number; found {value!r}."
            for key, value in (given | {"clip": self.clip}).items()
            if value is not None and not (_finite(value) and value > 0)
        ]
        faults += self._slips()
        listed = not isinstance(self.by, str) and hasattr(self.by, "__len__") and hasattr(self.by, "__getitem__")
        if not listed and self.by not in (None, "class"):
            faults.append(f"keep: by must be 'class' or one group per retain example; found {self.by!r}.")
        if faults:
            raise ConfigurationError(faults)

    def _slips(self) -> list[str]:
        """Limits that limit nothing: points or percent where a share is meant."""
        faults = []
        for key, value in (("absolute", self.absolute), ("relative", self.relative)):
            share = self.metric in SHARES or key == "relative"
            top = 1.0 if self.metric in SHARES else TRIPLE
            if share and value is not None and _finite(value) and (value >= top if top == 1 else value > top):
                asked = f"{100 * value:.4g} {'points' if key == 'absolute' else '%'}"
                span = f"below {top:g}" if top == 1 else f"at most {top:g}"
                faults.append(f"keep: {key} is a share, {span}; found {value}, which is {asked}.{_meant(value)}")
        if self.clip is not None and self.metric in SHARES:
            what = "whether an image is recognised" if self.metric == "recognised" else f"an example's {self.metric}"
            faults.append(f"keep: {what} counts 1 at most and needs no clip. Leave it out.")
        return faults

    @property
    def higher(self) -> bool:
        """Whether more is better."""
        return self.better == "higher" if self.better else self.metric in SHARES

    @property
    def title(self) -> str:
        """The metric in words."""
        name = self.metric if isinstance(self.metric, str) else getattr(self.metric, "__name__", "function")
        return self.name or name

    @property
    def limit(self) -> float:
        """The number that was given."""
        return (self.absolute if self.absolute is not None else self.relative) or 0.0

    def averaged(self, value: float | None = None) -> float | None:
        """The limit in what is averaged (nats for perplexity), given the original's value; None if that is missing."""
        if self.metric == "perplexity":
            share = self.relative if self.absolute is None else value and self.absolute / value
            return None if share is None else math.log1p(share)
        return self.absolute if self.relative is None else value and self.relative * abs(value)

    def counted(self, limit: float, usual: float, unit: str = NATS) -> float:
        """What one example counts at most: as was asked, else what is usual, and `MORE` than the limit at least."""
        known = CLIPS.get(str(self.metric), usual) if unit == NATS else usual
        known = min(usual, FIVEFOLD * limit) if self.metric == "loss" and unit != NATS else known
        return self.clip if self.clip is not None else max(known, MORE * limit)

    def text(self, unit: str = NATS) -> str:
        """The clause in words; `unit` is that of the task's loss."""
        verb = "falls" if self.higher else "rises"
        if self.relative is not None:
            amount = f"{100 * self.relative:.3g} % of the original's"
        elif self.metric in SHARES:
            amount = f"{100 * self.limit:.3g} points"
        else:
            amount = f"{self.limit:.3g}{f' {unit}' if self.metric == 'loss' else ''}"
        return f"{self.title} {verb} by at most {amount}"


@dataclass(frozen=True)
class Forget:
    """When forgetting is enough.

    Args:
        metric: "accuracy" or "loss" (in the task's unit: nats) on the forget set; "generated": the share of its
            examples whose condition is still drawn as asked, by `task.recognised`; "unseen": a membership attack cannot
            tell the forget set from the holdout, examples that the model was never trained on; "retrained": accuracy on
            the forget set is that of a retrained model.
        at_most: of the accuracy, or of the share still generated, in [0, 1].
        at_least: of the mean loss.
        margin: unseen: AUC of the attack at most 0.5 + margin (0.05), and the forget loss not significantly below the
            other; retrained: distance of the two accuracies (0.02).

    What it reads of which set is said in `observer.chosen`, how it is judged in `judge.Goal`.

    Raises:
        ConfigurationError: everything that is wrong with it.
    """

    metric: str = ""
    at_most: float | None = None
    at_least: float | None = None
    margin: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.metric, str) or self.metric not in FORGETTING:
            raise ConfigurationError(
                f"forget: metric must be one of {', '.join(FORGETTING)}; found {self.metric!r}."
                f"{suggest(str(self.metric), FORGETTING)}"
            )
        own = FORGETTING[self.metric]
        given = {"at_most": self.at_most, "at_least": self.at_least, "margin": self.margin}
        faults = [
            f"forget: {self.metric} takes {own}; found {key}={value}."
            for key, value in given.items()
            if value is not None and key != own
        ]
        value = given[own]
        if value is None and own != "margin":
            faults.append(f"forget: {self.metric} needs {own}.")
        top = {"at_most": 1.0, "margin": 0.5, "at_least": math.inf}[own]
        if value is not None and not (_finite(value) and 0 <= value <= top):
            span = "at least 0" if math.isinf(top) else f"in [0, {top:g}]"
            faults.append(f"forget: {own} must be {span}; found {value!r}.{'' if math.isinf(top) else _meant(value)}")
        if faults:
            raise ConfigurationError(faults)

    @property
    def level(self) -> float:
        """The number that decides: `at_most`, `at_least`, or the margin with its default."""
        found = {"at_most": self.at_most, "at_least": self.at_least, "margin": self.margin}[FORGETTING[self.metric]]
        return MARGINS[self.metric] if found is None else found

    def text(self, unit: str = NATS) -> str:
        """The clause in words; `unit` is that of the task's loss."""
        match self.metric:
            case "accuracy":
                return f"forget accuracy at most {100 * self.level:.3g} %"
            case "generated":
                return f"share of forget conditions still drawn as asked at most {100 * self.level:.3g} %"
            case "loss":
                return f"forget loss at least {self.level:.3g} {unit}"
            case "unseen":
                return f"unseen: membership AUC at most {0.5 + self.level:.3g}"
            case _:
                return f"forget accuracy within {100 * self.level:.3g} points of the retrained model's"


@dataclass(frozen=True)
class Contract:
    """Limits for a whole run.

    Args:
        keep: what may suffer by how much; None is accuracy (overlap, where each place of an example has a class;
            perplexity, where the task has neither) within 1 % of the original's, or as little as the examples can
            decide, and of a model that draws "recognised" within 5 points and the loss within 5 %; () is no limit.
        forget: when forgetting is enough: all of them; None is "unseen" (for a whole class of a model that draws,
            "generated" of at most 15 %); () is never, the run uses its steps up.
        confidence: with which the final claim of every keep clause is to hold, in [0.5, 1).
        shrinks: how often a run may go back and on with shorter steps; where what is drawn is read, how many looks may
            find a clause broken, as a run goes on from those that mend.
        every: steps between two looks; None: so many that reading costs at most a tenth of the run, and 25 at most
            where it reads what is drawn.
        tried: of how many settings this one was chosen by a look at the guard set, whose level is divided by them
            (Bonferroni); the final set was in no such look, and its level stays.

    Raises:
        ConfigurationError: everything that is wrong with it.
    """

    keep: Sequence[Keep] | None = None
    forget: Sequence[Forget] | None = None
    confidence: float = 0.95
    shrinks: int = 3
    every: int | None = None
    tried: int = 1

    def __post_init__(self) -> None:
        faults = [
            f"contract: {name} must be a sequence of {kind.__name__}; found {value!r}."
            for name, value, kind in (("keep", self.keep, Keep), ("forget", self.forget, Forget))
            if value is not None and not (isinstance(value, Sequence) and all(isinstance(v, kind) for v in value))
        ]
        if not (_finite(self.confidence) and 0.5 <= self.confidence < 1):
            found = f"{self.confidence!r}.{_meant(self.confidence, least=0.5)}"
            faults.append(f"contract: confidence must be in [0.5, 1); found {found}")
        if not (_whole(self.shrinks) and self.shrinks >= 0):
            faults.append(f"contract: shrinks must be at least 0, and whole; found {self.shrinks!r}.")
        if self.every is not None and not (_whole(self.every) and self.every >= 1):
            faults.append(f"contract: every must be at least 1, and whole; found {self.every!r}.")
        if not (_whole(self.tried) and self.tried >= 1):
            faults.append(f"contract: tried must be at least 1, and whole; found {self.tried!r}.")
        if faults:
            raise ConfigurationError(faults)

    @property
    def paths(self) -> int:
        """Tests of a clause on the guard set that may each go wrong: the ways a run may take, of every setting."""
        return self.tried * (self.shrinks + 1)

    def keeps(self, utility: str) -> Sequence[Keep]:
        """The keep clauses, the default written out: of what the task is judged by (`tasks.Known.utility`)."""
        if self.keep is not None:
            return self.keep
        if utility == "recognised":
            return Keep(utility, absolute=DRAWS_LESS), Keep("loss", relative=LOSS_SHARE)
        return (Keep(utility, relative=LOSS_SHARE if utility == "loss" else DEFAULT_SHARE),)

    def forgets(self, whole_class: bool = False, utility: str = "accuracy") -> Sequence[Forget]:
        """The forget clauses, the default written out, for what the task is judged by.

        Where a class is removed whole, its held-out examples are known to the original as well as its training
        examples: "unseen" alone would leave the class in place, so none of the forget set may be recognised
        either; and of a model that draws, what matters is whether it still draws the class.
        """
        if self.forget is not None:
            return self.forget
        if not whole_class:
            return (Forget("unseen"),)
        if utility == "recognised":
            return (Forget("generated", at_most=STILL_DRAWN),)
        if utility != "accuracy":
            raise ConfigurationError(
                "contract: a class that is removed whole has no forget clause of its own in this task, as what is "
                "unseen of it was known to the original too. Say when forgetting is enough, or for never forget=(), "
                "in a recipe []."
            )
        return Forget("unseen"), Forget("accuracy", at_most=0.0)


def _finite(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _meant(value: Any, least: float = 0.0) -> str:
    """A percentage where a share is expected, if it makes one."""
    return f" Did you mean {value / 100:g}?" if _finite(value) and max(1, 100 * least) <= value < 100 else ""
