"""How many examples the evidence is about: too few are refused before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator

from unweave.audit.models import World
from unweave.errors import ConfigurationError
from unweave.evaluation.membership import FEWEST


def check_sizes(world: World) -> None:
    """Refuses sets on which intervals say little.

    Raises:
        ConfigurationError: fewer than 20 examples in the forget set or in the holdout.
    """
    sizes = sizes_of(world)
    if min(sizes.values()) < FEWEST:
        raise ConfigurationError(
            f"evidence: expected at least {FEWEST} examples in the forget set and in the holdout, found "
            f"{' and '.join(map(str, sizes.values()))}. Give more examples, or go on with --few: attacks on the "
            "population are left undefined then, and the other intervals say little."
        )


def few(world: World) -> Iterator[str]:
    """What sets that are too small do not allow, a sentence for each."""
    for name, n in sizes_of(world).items():
        if n < FEWEST:
            yield (
                f"The {name} has {n} examples, fewer than {FEWEST}: attacks on the population are left undefined, and "
                "intervals over so few examples say little. Read the test of each example over runs."
            )


def sizes_of(world: World) -> dict[str, int]:
    """Of the two sets that attacks compare."""
    return {"forget set": len(world.request.forget), "holdout": len(world.holdout_rows)}
