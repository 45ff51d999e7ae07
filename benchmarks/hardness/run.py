"""Does the quote rank requests as they turn out? Predicted hardness against the utility lost at equal forgetting.

    python benchmarks/hardness/run.py --data digits --seeds 0 1
    python benchmarks/hardness/run.py --data cifar10 --path FOLDER --cached-only
    python benchmarks/hardness/table.py

One JSON file for a data set and seed, written after every request; requests that are in it are skipped.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from asked import requests
from predicted import predicted
from realised import RISE, RULES, Size, realised

from unweave.modalities.images import sources
from unweave.modalities.images.tensors import Source
from unweave.store import atomically

RESULTS = Path(__file__).parents[1] / "results" / "hardness"
SIZE = {"digits": Size(2e-3, 150, 256, 500, 1500), "cifar10": Size(4e-3, 60, 128, 250, 1000)}
EXAMPLES = {"digits": (2000, 2000), "cifar10": (600, 600)}  # of the forget and retain set, for the prediction


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=sorted(SIZE), default="digits")
    parser.add_argument("--path", type=Path, help="folder of CIFAR-10")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--rules", nargs="+", choices=RULES, help="default: all; on CIFAR-10 ascent and hamu_q")
    parser.add_argument("--only", nargs="+", help="requests whose name starts with one of these")
    parser.add_argument("--cached-only", action="store_true", help="train no model")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    chosen = options()
    torch.set_num_threads(chosen.threads)
    source = sources.load(chosen.data, chosen.path)
    for seed in chosen.seeds:
        validate(chosen, source, seed)


def validate(chosen: argparse.Namespace, source: Source, seed: int) -> None:
    """Every request and rule of a seed that is not there yet."""
    path = chosen.results / f"{source.name}-{seed}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"requests": {}}
    found["setting"] = {
        "data": source.name,
        "seed": seed,
        "rise": RISE,
        **asdict(SIZE[source.name]),
        "examples": EXAMPLES[source.name],
        "torch": torch.__version__,
    }
    rules = chosen.rules or (RULES if source.name == "digits" else RULES[:2])
    count = 0
    for asked in requests(source, seed, chosen.cached_only):
        if chosen.only and not any(asked.text.startswith(name) for name in chosen.only):
            continue
        count += 1
        row = found["requests"].setdefault(asked.text, {"forget": len(asked.forget), "rules": {}})
        if "predicted" in row and set(rules) <= set(row["rules"]):
            continue
        original, begin = asked.original(), time.process_time()
        if "predicted" not in row:
            row["predicted"] = predicted(original, asked, *EXAMPLES[source.name])
        for rule in rules:
            if rule not in row["rules"]:
                row["rules"][rule] = realised(original, asked, rule, SIZE[source.name]).as_dict()
        atomically(path, (json.dumps(found, indent=1) + "\n").encode())
        costs = ", ".join(
            f"{rule} {run['retain']:+.4f} {run['test']:+.4f}{'' if run['reached'] else ' (not reached)'}"
            for rule, run in row["rules"].items()
        )
        seconds = time.process_time() - begin
        print(f"{asked.text}: price {row['predicted']['odds price']:+.3f}; {costs}; {seconds:.0f} s", flush=True)
    print(f"{source.name} seed {seed}: {count} requests", flush=True)


if __name__ == "__main__":
    main()
