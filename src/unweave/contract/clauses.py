"""What a user writes: how much utility may suffer, and when forgetting is enough."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from unweave.errors import ConfigurationError, suggest

Metric = Callable[[nn.Module, Any], Tensor]
UTILITY = ("accuracy", "loss", "perplexity")
FORGETTING = {"accuracy": "at_most", "loss": "at_least", "unseen": "margin", "retrained": "margin"}
MARGINS = {"unseen": 0.05, "retrained": 0.02}
DEFAULT_SHARE = 0.01  # of the original's accuracy or perplexity, where no clause is given


@dataclass(frozen=True)
class Keep:
    """Utility may get worse than the original's by at most so much, on examples held out of the retain set.

    Args:
        metric: "accuracy", "loss" (nats), "perplexity" (`exp` of the mean loss), or a function
            `(model, batch) -> [b]` of one value per example.
        absolute: the limit in the metric's own unit: a share for accuracy, nats for loss, points of perplexity.
        relative: the limit as a share of the original's value; exactly one of the two is given.
        by: one limit for every group: "class" groups by label; a sequence names the group of each retain example, in
            the order of the data set. Groups are corrected for (`bounds.level`).
        better: whether "higher" or "lower" values of a function are better; for functions only.
        name: what tables call the clause.

    Raises:
        ConfigurationError: everything that is wrong with it.
    """

    metric: str | Metric
    absolute: float | None = None
    relative: float | None = None
    by: Literal["class"] | Sequence[Any] | None = None
    better: Literal["higher", "lower"] | None = None
    name: str | None = None

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
        faults += [_positive(f"keep: {key}", value) for key, value in given.items() if not _is_positive(value)]
        if isinstance(self.by, str) and self.by != "class":
            faults.append(f"keep: by must be 'class' or one group per retain example; found {self.by!r}.")
        if faults:
            raise ConfigurationError(faults)

    @property
    def higher(self) -> bool:
        """Whether more is better."""
        return self.better == "higher" if self.better else self.metric == "accuracy"

    @property
    def title(self) -> str:
        """The metric in words."""
        name = self.metric if isinstance(self.metric, str) else getattr(self.metric, "__name__", "function")
        return self.name or name

    @property
    def limit(self) -> float:
        """The number that was given."""
        return (self.absolute if self.absolute is not None else self.relative) or 0.0

    @property
    def text(self) -> str:
        """The clause in words."""
        verb = "falls" if self.higher else "rises"
        if self.relative is not None:
            amount = f"{100 * self.relative:.3g} % of the original's"
        elif self.metric == "accuracy":
            amount = f"{100 * self.limit:.3g} points"
        else:
            amount = f"{self.limit:.3g}{' nats' if self.metric == 'loss' else ''}"
        return f"{self.title} {verb} by at most {amount}"


@dataclass(frozen=True)
class Forget:
    """When forgetting is enough.

    Args:
        metric: "accuracy" or "loss" (nats) on the forget set; "unseen": a membership attack cannot tell the forget set
            from examples that the model was never trained on; "retrained": the accuracy on the forget set is that
            of a retrained model.
        at_most: of the accuracy, in [0, 1].
        at_least: of the mean loss, in nats.
        margin: unseen: AUC of the attack at most 0.5 + margin (0.05), and the forget loss not significantly below the
            other; retrained: distance of the two accuracies (0.02).

    Raises:
        ConfigurationError: everything that is wrong with it.
    """

    metric: str
    at_most: float | None = None
    at_least: float | None = None
    margin: float | None = None

    def __post_init__(self) -> None:
        if self.metric not in FORGETTING:
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
        if value is not None and not (0 <= value <= top and math.isfinite(value)):
            span = "at least 0" if math.isinf(top) else f"in [0, {top:g}]"
            faults.append(f"forget: {own} must be {span}; found {value}.")
        if faults:
            raise ConfigurationError(faults)

    @property
    def level(self) -> float:
        """The number that decides: `at_most`, `at_least`, or the margin with its default."""
        found = {"at_most": self.at_most, "at_least": self.at_least, "margin": self.margin}[FORGETTING[self.metric]]
        return MARGINS[self.metric] if found is None else found

    @property
    def text(self) -> str:
        """The clause in words."""
        match self.metric:
            case "accuracy":
                return f"forget accuracy at most {100 * self.level:.3g} %"
            case "loss":
                return f"forget loss at least {self.level:.3g} nats"
            case "unseen":
                return f"unseen: membership AUC at most {0.5 + self.level:.3g}"
            case _:
                return f"forget accuracy within {100 * self.level:.3g} points of the retrained model's"


@dataclass(frozen=True)
class Contract:
    """Limits for a whole run.

    Args:
        keep: what may suffer by how much; None is accuracy (perplexity, where the task has no logits) within 1 % of
            the original's, or as little as the examples can decide; () is no limit.
        forget: when forgetting is enough: all of them; None is "unseen"; () is never, the run uses its steps up.
        confidence: with which the final claim of every keep clause is to hold, in [0.5, 1).
        shrinks: how often a run may go back and on with shorter steps.
        every: steps between two looks; None: so many that reading costs at most a tenth of the run.

    Raises:
        ConfigurationError: everything that is wrong with it.
    """

    keep: Sequence[Keep] | None = None
    forget: Sequence[Forget] | None = None
    confidence: float = 0.95
    shrinks: int = 3
    every: int | None = None

    def __post_init__(self) -> None:
        faults = [
            f"contract: {name} must be a sequence of {kind.__name__}; found {value!r}."
            for name, value, kind in (("keep", self.keep, Keep), ("forget", self.forget, Forget))
            if value is not None and not (isinstance(value, Sequence) and all(isinstance(v, kind) for v in value))
        ]
        if not 0.5 <= self.confidence < 1:
            faults.append(f"contract: confidence must be in [0.5, 1); found {self.confidence}.")
        if self.shrinks < 0:
            faults.append(f"contract: shrinks must be at least 0; found {self.shrinks}.")
        if self.every is not None and self.every < 1:
            faults.append(f"contract: every must be at least 1; found {self.every}.")
        if faults:
            raise ConfigurationError(faults)

    def keeps(self, logits: bool) -> Sequence[Keep]:
        """The keep clauses, the default written out."""
        if self.keep is not None:
            return self.keep
        return (Keep("accuracy" if logits else "perplexity", relative=DEFAULT_SHARE),)

    def forgets(self, whole_class: bool = False) -> Sequence[Forget]:
        """The forget clauses, the default written out.

        Where a class is removed whole, its held-out examples are known to the original as well as its training
        examples: "unseen" alone would leave the class in place, so none of the forget set may be recognised either.
        """
        if self.forget is not None:
            return self.forget
        return (Forget("unseen"), Forget("accuracy", at_most=0.0)) if whole_class else (Forget("unseen"),)


def _is_positive(value: float | None) -> bool:
    return value is None or (value > 0 and math.isfinite(value))


def _positive(name: str, value: float | None) -> str:
    return f"{name} must be a positive number; found {value}."
