"""Every method before every attack: gaps over runs, KLoM, U-LiRA, the audit by coins, relearning, four bits.

    python benchmarks/evidence/run.py
    python benchmarks/evidence/run.py --data cifar10 --path FOLDER

One command; it says what it will take, shows how far it is, and goes on after Ctrl-C where it was. Results go to
benchmarks/results/evidence/; table.py prints them. On CIFAR-10 it is a cheap setting: 400 images and 60 records,
16 epochs, 4 models a side, 16 shadows, one draw of coins.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from cells import cell
from forecast import seconds
from judge import judged
from methods import METHODS
from world import SIZES, World, world

import unweave
from unweave.run.environment import environment, now
from unweave.store import atomically, cache_folder, write_json

RESULTS = Path(__file__).parents[1] / "results" / "evidence"
Task = tuple[str, int]


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=sorted(SIZES), default="digits")
    parser.add_argument("--path", type=Path, help="folder of CIFAR-10")
    parser.add_argument("--records", choices=("wrong", "real"), default="wrong", help="labels of the records")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--workers", type=int, default=cores())
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


def main() -> None:
    chosen, begin = options(), time.perf_counter()
    torch.set_num_threads(1)
    made = partial(world, chosen.data, chosen.path, chosen.records)
    folder = cache_folder("benchmark-evidence") / f"{chosen.data}-{chosen.records}-{settled()}"
    tasks = todo(made(), folder, chosen.methods)
    told = f"{len(tasks)} cells to do, each one training and {len(chosen.methods)} methods"
    cost = seconds(made(), len(tasks), chosen.methods)
    print(f"{told}: at most some {cost:.0f} s of one core, {cost / chosen.workers:.0f} s in all", flush=True)
    work(made, folder, tasks, chosen.methods, chosen.workers)
    print("judging", flush=True)
    found = judged(made(), partial(known, folder), chosen.methods)
    spent = sum(each["cpu_seconds"] for task in every(made()) for each in known(folder, task).values())
    content = {
        "data": chosen.data,
        "records": chosen.records,
        "created": now(),
        "environment": environment(),
        "cpu_seconds": spent,
        "seconds": time.perf_counter() - begin,
        "size": vars(made().size),
        "methods": found,
    }
    name = f"{chosen.data}-{chosen.records}.json"
    write_json(chosen.results / name, content)
    print(f"{chosen.results / name}: {spent:.0f} s of one core for all cells")


def settled() -> str:
    """A fingerprint of the library and of this folder: what either decides is never mixed with what it was before."""
    files = sorted([*Path(unweave.__file__).parent.rglob("*.py"), *Path(__file__).parent.glob("[cmw]*.py")])
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def every(one: World) -> list[Task]:
    """The first cell of each kind first, so that the estimate is one of all kinds."""
    sizes = {"pool": one.size.models, "third": one.size.shadows, "coin": one.size.draws}
    numbers = range(max(sizes.values()))
    return [(kind, number) for number in numbers for kind, count in sizes.items() if number < count]


def todo(one: World, folder: Path, methods: Any) -> list[Task]:
    """Cells that lack a method."""
    return [task for task in every(one) if not set(methods) <= known(folder, task).keys()]


def work(made: Any, folder: Path, tasks: list[Task], methods: Any, workers: int) -> None:
    """Does the cells, in processes; says after the first ones, and every tenth of the way, what is left."""
    begin, job = time.perf_counter(), partial(one_cell, made, folder, tuple(methods))
    with ProcessPoolExecutor(max(1, workers), get_context("spawn")) as pool:
        futures = [pool.submit(job, task) for task in tasks]
        for done, future in enumerate(as_completed(futures), 1):
            future.result()
            if done <= 3 or done % max(1, len(tasks) // 10) == 0 or done == len(tasks):
                left = (time.perf_counter() - begin) / done * (len(tasks) - done)
                print(f"{done} of {len(tasks)} cells, about {left:.0f} s left", flush=True)


def one_cell(made: Any, folder: Path, methods: tuple[str, ...], task: Task) -> None:
    """Does one cell and keeps it."""
    found = cell(made(), *task, methods, known(folder, task))
    atomically(_file(folder, task), json.dumps(found).encode())


def known(folder: Path, task: Task) -> dict[str, Any]:
    """What a cell holds already."""
    try:
        content = json.loads(_file(folder, task).read_text())
        return content if isinstance(content, dict) else {}
    except (OSError, ValueError):
        return {}


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _file(folder: Path, task: Task) -> Path:
    return folder / f"{task[0]}-{task[1]}.json"


if __name__ == "__main__":
    main()
