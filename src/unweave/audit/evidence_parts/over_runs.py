"""Numbers about two populations of models: KLoM, the forgetting score, the bound of epsilon, U-LiRA."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from unweave.audit.attacks import Bound, epsilon_bound, forgetting_score, klom_score
from unweave.audit.attacks.ulira import ULira
from unweave.audit.evidence_parts.pools import Pools, Seen
from unweave.evaluation.outputs import Outputs

NO_SHADOWS = "not asked for: it trains and unlearns 16 models or more under coins of their own; `evidence.shadows`"


def bounded(pools: Pools, seed: int = 0) -> Bound:
    """The lower bound of epsilon on the forget set."""
    u, r = (pools.margins(kind, lambda seen: seen.forget) for kind in ("unlearned", "retrained"))
    return epsilon_bound(u, r, seed=seed)


def over_runs_part(
    pools: Pools, bound: Bound, retain: Callable[[Seen], Outputs], u_lira: ULira | None, seed: int = 0
) -> dict[str, Any]:
    """`over_runs` of `evidence.json`; `retain` takes the retain examples that enter."""
    sides = {"forget": lambda seen: seen.forget, "retain": retain}
    both = {name: [pools.margins(kind, read) for kind in ("unlearned", "retrained")] for name, read in sides.items()}
    return {
        "klom": {name: klom_score(*margins, seed=seed).as_dict() for name, margins in both.items()},
        "forgetting_score": forgetting_score(*both["forget"], seed=seed).as_dict(),
        "epsilon": bound.evidence.as_dict() | {"ceiling": bound.ceiling},
        "u_lira": {"reason": NO_SHADOWS} if u_lira is None else ulira_part(u_lira),
    }


def ulira_part(found: ULira) -> dict[str, Any]:
    """U-LiRA, ready for JSON."""
    numbers = {name: getattr(found, name).as_dict() for name in ("auc", "worst", "tail")}
    return numbers | {"records": [float(x) for x in np.sort(found.records) if np.isfinite(x)]}
