"""How many cases a fuzz test makes: few in the suite, `UNWEAVE_FUZZ` of them by `make fuzz`."""

from __future__ import annotations

import os


def cases(few: int) -> int:
    """`few` in the suite; what `UNWEAVE_FUZZ` says where it is set."""
    return int(os.environ.get("UNWEAVE_FUZZ") or few)
