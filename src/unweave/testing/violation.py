"""What a check found: a property that does not hold, with all that is needed to see it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from torch import Tensor

PROPERTIES = {
    "shape": "weights are float64 of the shape that the kind of rule says: `[B, 2]` of a Gramian, `[2]` of two losses",
    "zero gradients": "weights are finite where a gradient is 0, or both are",
    "finite": "weights are finite for gradients and losses of every size, 1e-12 to 1e12, and at every angle",
    "untouched": "the Gramian, or the losses, that it was given are as they were",
    "deterministic": "the same state and input give the same weights, whatever the random state, which is left alone",
    "blocks": "blocks in another order get their weights in that order",
    "descends": "where the gradients do not conflict neither objective rises to first order, and it moves",
    "forget unseen": "where it says `needs_forget_loss = False` a forget loss that is NaN changes nothing",
    "scale": "as claimed by `degree`: the direction for s times the gradients is s^degree times the direction",
    "never raises": "as claimed by `never_raises`: to first order those objectives do not rise, in conflict either",
    "front": "on two quadratics it ends between their centres, with a lower forget objective",
    "plain state": "`state_dict()` holds numbers, texts, lists, mappings and tensors: what a checkpoint can hold",
    "resume": "a fresh rule that was given `state_dict()` goes on bit for bit",
    "golden": "the directions, weights or losses that its author wrote down",
    "per example": "one value for each example, `[b]`, of a floating type, of a batch of one too",
    "repeatable": "a second look at a batch gives the same values",
    "draws": "what is drawn for an example depends on its own draw (`execution.draws`) alone",
    "uncoupled": "an example's value does not depend on what else is in its batch",
    "no trace": "model, batch and original are as they were: weights, buffers, mode, what may move",
    "differentiable": "its gradient reaches the weights, is finite, and is not 0 everywhere",
    "paper": "it says where it comes from",
    "forgets": "on three blobs, 20 steps raise the nll of the forget set (or do not, without a forget loss)",
    "steps": "every step is taken, the weights stay finite, and they move",
    "resumes": "a run of the loop that is resumed after four steps ends, two later, bit for bit as one of six",
}
"""Every property that `check_rule`, `check_loss` and `check_method` know, and what it says."""


class Violation(AssertionError):
    """A property that does not hold.

    Attributes:
        property: its name, one of `PROPERTIES`.
        case: the input that shows it.
        expected, found, advice: what the message says.
        gramian: the one that was given, `[2, 2]`, where it is about one.
        seed: of what was drawn; the same call with it shows the same.
    """

    def __init__(
        self, name: str, case: str, expected: str, found: str, advice: str, gramian: Tensor | None, seed: int
    ) -> None:
        self.property, self.case, self.gramian, self.seed = name, case, gramian, seed
        self.expected, self.found, self.advice = expected, found, advice
        given = "" if gramian is None else f"\n  Gramian:  {gramian.tolist()}"
        super().__init__(
            f"{name}: {PROPERTIES[name]}\n  case:     {case} (seed {seed}){given}\n  expected: {expected}\n"
            f"  found:    {found}\n  to do:    {advice}"
        )


class Checked(dict[str, int]):
    """How many cases of each property held, by its name; what a check returns."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.seed = seed

    def holds(
        self, name: str, ok: bool, case: str, expected: str, found: object, advice: str, gramian: Tensor | None = None
    ) -> None:
        """Counts a case that holds.

        Raises:
            Violation: it does not.
        """
        if not ok:
            raise Violation(name, case, expected, str(found), advice, gramian, self.seed)
        self[name] = self.get(name, 0) + 1

    def add(self, other: Checked) -> None:
        """The cases of another check, with these."""
        for name, cases in other.items():
            self[name] = self.get(name, 0) + cases

    def stopped(self, name: str, case: str, error: Exception, advice: str, gramian: Tensor | None = None) -> NoReturn:
        """What raised where a property was asked for."""
        found = f"{type(error).__name__}: {error}"
        raise Violation(name, case, "an answer", found, advice, gramian, self.seed) from error


def alike(a: object, b: object) -> bool:
    """Whether two states are the same bit for bit: mappings, lists, tensors, numbers (NaN is NaN)."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(alike(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(alike, a, b))
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.equal(b)
    return a == b or (a != a and b != b)
