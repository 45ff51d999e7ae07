"""What a guard says, what it may be told, and its thresholds: few, and the same for every data set."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from unweave.arguments import check_fields
from unweave.errors import ConfigurationError

SAMPLE = 500  # examples of each side that a guard looks at, at most: a share is known to 2 points, for one short pass
LEVEL = 0.01  # a model "does not do better than chance" unless chance would do as well less often than this
SCALES = 1e3  # between two losses or gradients: beyond it, a fixed weighted sum of them is one of them
STUCK = 0.5  # of the weights: once most are rounded back, the run is not the method's any more
CONSTANT = 0.99  # of the predictions are one class: collapsed
LOST = 100  # times the loss of a guess among all classes: no model that still works is that surprised
SPREAD = 0.9  # of the labels, at most, are one class: otherwise predicting it nearly always is right
NEAR = 0.05  # of the distance of two random examples: far below any pair of different photographs or digits


class GuardWarning(UserWarning):
    """Something that probably spoils the run, and that it can go on with."""


@dataclass(frozen=True)
class Finding:
    """What a guard found.

    Attributes:
        text: what was found, what it does, what to do.
        fatal: the run would be worth nothing: it is refused, before a weight moves.
        cause: what was raised, if it was.
    """

    text: str
    fatal: bool = False
    cause: Exception | None = None


@dataclass(frozen=True)
class Guards:
    """What the guards may be told; all others always look.

    Args:
        near_duplicates: compare forget and retain examples by their "pixels" (any numbers that are the input), by
            the model's own "features" (the input of its last linear layer; one forward pass over the retain set), or
            not at all, "off".
        distance: below which two examples are near-duplicates, as a share of the root mean square distance of two
            random ones.

    Raises:
        ConfigurationError: an unknown way, or a distance outside (0, 1).
    """

    near_duplicates: Literal["pixels", "features", "off"] = "off"
    distance: float = NEAR

    def __post_init__(self) -> None:
        check_fields(self, distance="(0, 1)")


def settled(findings: Iterable[Finding | None]) -> list[str]:
    """The warnings among the findings.

    Raises:
        ConfigurationError: with all that are fatal, if there are any.
    """
    found = [finding for finding in findings if finding is not None]
    if fatal := [finding for finding in found if finding.fatal]:
        why = next((finding.cause for finding in fatal if finding.cause is not None), None)
        raise ConfigurationError(finding.text for finding in fatal) from why
    return [finding.text for finding in found]
