"""Compare methods with a retrained model on the same requests; one JSON file a run, what is there is skipped.

    python benchmarks/compare/run.py --data digits --suite tuned
    python benchmarks/compare/run.py --data cifar10 --path FOLDER --requests class poison --suite steps --cached-only

Suite `tuned`: headline methods at their defaults; every baseline with three settings on the requests of the first seed
that it is tuned on (`settings.TUNED_ON`), elsewhere with those of them that have the least gap there, over all of these
requests and, with `--own`, on the request itself; everything with a repair and without, each with its own choice.
Suite `steps`: trust region and plain SGD side by side. `--order` draws the batches in another order than the seed's.
`--cached-only` trains no model: it takes the requests whose reference models are in the cache already.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from cell import ENDS, RESULTS, best_settings, cells, folder
from measure import Bench, recipe
from problems import REQUESTS, SUITES, is_trained, request, retrained_seeds
from settings import BASELINES, HEADLINE, REPAIRED_AS, TUNED_ON, Setting, names, steps, tuned

from unweave.modalities.images.tensors import Source


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=SUITES, default="digits")
    parser.add_argument("--path", type=Path, help="folder of CIFAR-10")
    parser.add_argument("--requests", nargs="+", choices=REQUESTS, default=["poison", "class", "random"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--order", type=int, help="of the batches; by default the seed's")
    parser.add_argument("--repair", choices=("with", "without", "both"), default="both")
    parser.add_argument("--own", action=argparse.BooleanOptionalAction, default=True, help="see above")
    parser.add_argument("--methods", nargs="+", default=[*HEADLINE, *BASELINES])
    parser.add_argument("--suite", choices=("tuned", "steps"), default="tuned")
    parser.add_argument("--cached-only", action="store_true", help="train no model")
    parser.add_argument("--again", action="store_true", help="run also what is there, as after a change of a method")
    parser.add_argument("--results", type=folder, default=RESULTS, help="a folder")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    chosen = options()
    torch.set_num_threads(chosen.threads)
    source = SUITES[chosen.data].load(chosen.path)
    for seed in chosen.seeds:
        for name in chosen.requests:
            compare(chosen, source, name, seed)


def settings(chosen: argparse.Namespace, name: str, seed: int) -> list[Setting]:
    """All settings of the suite; of a tuned baseline the chosen ones alone, once they have been chosen."""
    if chosen.suite == "steps":
        return steps(chosen.methods, chosen.data)
    every, tuned_on = tuned(chosen.methods), TUNED_ON[chosen.data]
    every = [s for s in every if chosen.repair == "both" or s.repair == (chosen.repair == "with")]
    if seed == 0 and name in tuned_on and chosen.order is None:
        return every
    chosen_on = {False: chosen.data, True: REPAIRED_AS.get(chosen.data, chosen.data)}
    best = [
        best_settings(cells(chosen.results, chosen_on[repair]).values(), names(repair), requests)
        for requests in ((tuned_on, (name,)) if chosen.own else (tuned_on,))
        for repair in (False, True)
    ]
    return [s for s in every if s.method in HEADLINE or any(s.name == of.get(s.method) for of in best)]


def compare(chosen: argparse.Namespace, source: Source, name: str, seed: int) -> None:
    """Every run of one request and seed that is not there yet."""
    suite = SUITES[chosen.data]
    asked = request(suite, source, name, seed)
    first, second = retrained_seeds(source.name, seed)
    if chosen.cached_only and not (is_trained(asked, None) and is_trained(asked, first)):
        print(f"{chosen.data} {name} seed {seed}: a reference model is not in the cache, skipped", flush=True)
        return
    wanted = settings(chosen, name, seed)
    order = seed if chosen.order is None else chosen.order
    bench = Bench(chosen.data, asked, recipe(suite.source, chosen.path, order), suite.steps, chosen.order)
    there = cells(chosen.results, chosen.data)
    ends = zip(ENDS, (bench.original_cell, bench.retrained_cell, bench.again_cell), strict=True)
    for end, make in ends:
        skipped = end == "retrained_again" and chosen.cached_only and not is_trained(asked, second)
        if not (skipped or bench.place(end) in there):
            make().write(chosen.results)
    for number, setting in enumerate(wanted, 1):
        if bench.place(setting.method, setting.name) in there and not chosen.again:
            continue
        cell = bench.run(setting)
        cell.write(chosen.results)
        print(
            f"{name} {seed} [{number}/{len(wanted)}] {setting.method} ({setting.name}): gap {cell.gap:.2f}, "
            f"{cell.steps} steps, {cell.seconds:.1f} s, {cell.reason}",
            flush=True,
        )


if __name__ == "__main__":
    main()
