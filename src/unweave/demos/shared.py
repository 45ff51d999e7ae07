"""What the demos have in common."""

from __future__ import annotations

from collections.abc import Sequence

from unweave.errors import ConfigurationError, suggest


def chosen(what: str, wanted: Sequence[str], known: Sequence[str]) -> Sequence[str]:
    """The wanted names in the order of the known ones; nothing wanted is everything.

    Raises:
        ConfigurationError: names that nobody knows, all of them at once.
    """
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ConfigurationError(
            [f"unknown {what} {name!r}.{suggest(name, known)} There are: {', '.join(known)}." for name in unknown]
        )
    return [name for name in known if name in wanted] if wanted else known
