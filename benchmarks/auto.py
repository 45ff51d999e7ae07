"""What `auto` gives against fixed settings, on digits, under one contract: gap to retrained, steps, budget left.

    python benchmarks/auto.py [--seeds 0 1 2]

Prints a table and writes benchmarks/results/auto.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from unweave.evaluation import gaps
from unweave.modalities.images import job as prepare
from unweave.modalities.images.job import sheet
from unweave.recipe.contract import ContractSection
from unweave.recipe.recipe import Recipe
from unweave.recipe.sections import NamedSection
from unweave.run.environment import environment
from unweave.run.session import Session

REQUESTS: dict[str, dict[str, Any]] = {"poison": {"poison": 0.1}, "class": {"class": 3}, "random": {"random": 0.1}}
SETTINGS: list[tuple[str, dict[str, Any]]] = [
    *(("hamu_q", {"ratio": ratio}) for ratio in (0.03, 0.1, 0.3, "auto")),
    *(("hamu_u", {"ratio": ratio}) for ratio in (0.03, 0.1, 0.3, "auto")),
    *(("eupmu", {"tolerance": tolerance}) for tolerance in (0.0, "auto")),
    *(("unilateral_surgery", {"tolerance": tolerance}) for tolerance in (0.0, "auto")),
]
STEPS = 100


def contract(request: str) -> ContractSection:
    """Loss within 0.1 nats of the original's; forgotten as far as a retrained model has."""
    keep = [{"metric": "loss", "absolute": 0.1}]
    return ContractSection.model_validate_json(json.dumps({"keep": keep, "forget": ["retrained"]}))


def one(name: str, seed: int) -> list[dict[str, Any]]:
    """All settings on one request."""
    content = {"data": {"source": "digits"}, "forget": {**REQUESTS[name], "seed": seed}, "training": {"seed": seed}}
    base = Recipe.model_validate_json(json.dumps(content)).model_copy(update={"contract": contract(name)})
    base = base.model_copy(update={"run": base.run.model_copy(update={"seed": seed, "steps": STEPS})})
    request = prepare.request(base)
    original, retrained = request.original(), request.retrained(seed + 1)
    reference = sheet(retrained, request, seed)
    rows = []
    for method, arguments in SETTINGS:
        recipe = base.model_copy(update={"method": NamedSection(name=method, **arguments)})
        session = Session.start(recipe, request, original, retrained)
        with session.parts.ready():
            result = session.parts.run(STEPS)
        assert result.contract is not None
        gap = gaps(sheet(result.model, request, seed), reference)["average_gap"].value
        rows.append(
            {
                **{"request": name, "seed": seed, "method": method, "setting": str(next(iter(arguments.values())))},
                **{"gap": gap, "steps": result.steps, "reason": result.reason, "left": result.contract.left},
            }
        )
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Runs all, prints the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row for seed in options.seeds for name in REQUESTS for row in one(name, seed)]
    print("\n| method | setting | " + " | ".join(f"{name}: gap, steps, met, left" for name in REQUESTS) + " |")
    for method, arguments in SETTINGS:
        setting = str(next(iter(arguments.values())))
        cells = []
        for name in REQUESTS:
            own = [r for r in rows if (r["request"], r["method"], r["setting"]) == (name, method, setting)]
            met = sum(r["reason"] == "contract met" for r in own)
            mean = {key: fmean(r[key] for r in own) for key in ("gap", "steps", "left")}
            cells.append(f"{mean['gap']:.2f}, {mean['steps']:.0f}, {met}/{len(own)}, {100 * mean['left']:.0f} %")
        print(f"| {method} | {setting} | {' | '.join(cells)} |")
    path = Path(__file__).parent / "results" / "auto.json"
    path.write_text(json.dumps({"environment": environment(), "runs": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
