"""TOFU on two cores: every method against a retrained model; one JSON file a run, what is there is skipped.

    python benchmarks/tofu/run.py --source FOLDER [--splits forget10 ...] [--seeds 0 1 2] [--methods NAME ...]

FOLDER has TOFU's jsonl files (https://huggingface.co/datasets/locuslab/TOFU, the holdout sets and refusals as in
open-unlearning). Every method has two settings and two lengths, all of them run on forget10 of a seed that the tables
leave out; the pair with the highest merit (`cell.merit`) is run on the splits and seeds of the tables. No run may spend
more gradients than ten times through the forget set with as many retain rows. Tables: `benchmarks/tofu/table.py`.

`--repair` runs them with a repair, each setting with two ways to begin it in the place of two lengths. `--order N`
draws the batches of the tables' seeds in another order than the seed's own.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch
from cell import ENDS, RESULTS, Cell, best, cells, merit
from measure import PLACES, Bench
from settings import REPAIRED, SETTINGS, Setting
from world import SHARES, Size, World

TUNING = ("forget10", 3)
"""Split and seed on which settings are chosen."""


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="folder of TOFU's jsonl files")
    parser.add_argument("--splits", nargs="+", choices=tuple(SHARES), default=["forget10", "forget05", "forget01"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", choices=tuple(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--repair", action="store_true", help="with a repair; see above")
    parser.add_argument("--order", type=int, help="of the batches, on the seeds of the tables; by default the seed's")
    parser.add_argument("--authors", type=int, default=Size.authors, help="of TOFU's 200")
    parser.add_argument("--epochs", type=int, default=10, help="of the budget, through the forget set")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    chosen.rows = {m: REPAIRED[f"{m}+repair"] if chosen.repair else SETTINGS[m] for m in chosen.methods}
    return chosen


def main() -> None:
    chosen = options()
    torch.set_num_threads(chosen.threads)
    if TUNING[1] in chosen.seeds:
        sys.exit(f"seed {TUNING[1]} is the one that settings are chosen on: give others")
    tune(chosen)
    for split in chosen.splits:
        for seed in chosen.seeds:
            compare(chosen, split, seed)
    for split in chosen.splits:  # how far apart two retrained models are: last, since it is a training each
        for seed in chosen.seeds:
            run(chosen, split, seed, [], ENDS, whole=True)


def tune(chosen: argparse.Namespace) -> None:
    """Every setting of every method, as far as it is not there yet."""
    wanted = [setting for settings in chosen.rows.values() for setting in settings]
    places = tuple(PLACES)[-1:] if chosen.repair else tuple(PLACES)
    chosen = argparse.Namespace(**{**vars(chosen), "order": None})
    run(chosen, *TUNING, [(setting, places) for setting in wanted], ("original", "retrained"), whole=False)


def compare(chosen: argparse.Namespace, split: str, seed: int) -> None:
    """Every method with its chosen setting."""
    wanted = []
    for settings in chosen.rows.values():
        if (pair := best(chosen.results, *TUNING, settings[0].key)) is not None:
            wanted += [(setting, pair[1:]) for setting in settings if setting.name == pair[0]]
    run(chosen, split, seed, wanted, ENDS[:2], whole=True)


def run(
    chosen: argparse.Namespace,
    split: str,
    seed: int,
    wanted: list[tuple[Setting, tuple[str, ...]]],
    ends: tuple[str, ...],
    whole: bool,
) -> None:
    """What is not there yet, of one split and seed."""
    world = World.of(chosen.source, split, seed, Size(chosen.authors))
    bench: Bench | None = None
    there = cells(chosen.results, split, seed)
    strangers = {cell.fingerprint for cell in there.values()} - {world.fingerprint}
    if strangers:
        sys.exit(f"{chosen.results} has runs of another size or other data on {split}, seed {seed}: give --results")
    for number, end in enumerate(ends, 1):
        if world.place(end) not in there:
            bench = bench or Bench(world, chosen.epochs, chosen.order)
            told(bench.end(end), chosen.results, f"{number}/{len(ends)}")
    for number, (setting, places) in enumerate(wanted, 1):
        if replace(world.place(setting.key, setting.name), order=chosen.order) not in there:
            bench = bench or Bench(world, chosen.epochs, chosen.order)
            told(bench.run(setting, places, whole), chosen.results, f"{number}/{len(wanted)}")


def told(cell: Cell, results: Path, number: str) -> None:
    cell.write(results)
    place = cell.place
    read = "; ".join(
        f"{name}: quality {scores['forget_quality']}, utility {scores['model_utility']}, merit {merit(scores):.3f}"
        for name, scores in cell.scores.items()
    )
    print(
        f"{place.split} {place.seed} [{number}] {place.method} ({place.setting}): {read}; {cell.seconds:.1f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
