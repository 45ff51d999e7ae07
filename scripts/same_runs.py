"""Does the library still do the same, bit for bit? Makes runs of every kind, and compares two folders of them.

    python scripts/same_runs.py make OLD        # in one version of the repository: images, texts, a sequence, a ledger
    python scripts/same_runs.py make NEW        # in another one
    python scripts/same_runs.py compare OLD NEW # weights, steps, scores, examples: 0 if equal, 1 with what differs

Equal are all tensors of every .safetensors, every line of every steps.jsonl, and every value of every .json, but times,
versions, hashes of files that hold such, and random keys. A folder of runs that the user made can be compared as well.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
KEPT = "contract: {keep: [{metric: accuracy, absolute: 0.06}]}"
IMAGES = f"""
data: {{source: digits}}
training: {{epochs: 10}}
run: {{steps: 30, checkpoint_every: 10}}
evaluation: {{retrained: 2}}
{KEPT}
"""
TEXTS = """
data: {source: texts, path: facts.jsonl, holdout: holdout.jsonl}
forget: {ids: request.txt}
model: {weights: model, lora: {rank: 4}}
method: {name: eupmu}
contract: {keep: [{metric: loss, absolute: 5.0}], forget: [{metric: loss, at_least: 6.0}]}
run: {steps: 12, forget_batch: 2, retain_batch: 4, checkpoint_every: 5}
evaluation: {generate: 8, at_most: 6, gradient: true, relearning: {rows: 2, steps: 2, lr: 1.0e-3}}
"""
SEQUENCE = """
requests: [{id: first, class: 3}, {id: second, random: 0.05}, {id: third, class: 5}]
sequence: {repair: true}
"""
MOVES = (  # parts of the names of what differs from run to run
    *("time", "second", "created", "begun", "ended_at", "environment", "memory", "share", "efficiency", "basis"),
    *("sha256", "hmac", "key", "code", "before", "file", "hash", "previous", "seal"),
    *("base_model_name_or_path", "target_modules"),  # a place, and a set in any order
)
SKIPPED = ("ledger.jsonl", "card.json", "checkpoint", "cache", "world")


def unweave(folder: Path, *arguments: str) -> None:
    """Runs the command of this repository in a folder; a contract that is missed (3) is a result like any other."""
    settings = {"PYTHONPATH": str(ROOT / "src"), "UNWEAVE_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-m", "unweave", *arguments], cwd=folder, env={**os.environ, **settings})
    if done.returncode not in (0, 3):
        raise SystemExit(f"unweave {' '.join(arguments)} ended with {done.returncode}")


def make(folder: Path) -> None:
    """A run on digits, one that was interrupted and resumed, one on texts, a sequence, and a batch of a ledger."""
    sys.path.insert(0, str(ROOT))
    from tests.modalities.texts._world import made

    shutil.rmtree(folder, ignore_errors=True)
    world = folder / "world"
    world.mkdir(parents=True)
    made(world)
    recipes = {
        "images": IMAGES + "forget: {class: 3}\nmethod: {name: hamu_q, ratio: 0.1}\n",
        "ofmu": IMAGES + "forget: {poison: 0.1}\nmethod: {name: ofmu}\n",
        "adam": IMAGES + "forget: {random: 0.1}\nmethod: {name: scrub, rounds: 2}\nstep: {name: adam, lr: 1.0e-3}\n",
        "ssd": IMAGES + "forget: {class: 3}\nmethod: {name: ssd}\n",
        "texts": TEXTS,
        "npo": TEXTS.replace("eupmu", "npo") + "step: {name: adamw, lr: 3.0e-3}\n",
        "sequence": IMAGES + SEQUENCE,
        "batch": IMAGES,
    }
    for name, recipe in recipes.items():
        (world / f"{name}.yaml").write_text(recipe)
    for name in recipes:
        if name != "batch":
            unweave(folder, "run", f"world/{name}.yaml", "-o", name)
    unweave(folder, "diagnose", "world/images.yaml")
    for request in (("R-1", "--class", "3"), ("R-2", "--class", "8")):
        unweave(folder, "requests", "add", *request)
    unweave(folder, "requests", "run", "world/batch.yaml")


def values(path: Path) -> Iterator[tuple[str, Any]]:
    """What a file holds, each with its place, and what may differ left out."""
    if path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        yield from ((name, (array.dtype.str, array.shape, array.tobytes())) for name, array in load_file(path).items())
    elif path.suffix == ".jsonl":
        yield from enumerate_lines(path)
    else:
        yield from leaves(json.loads(path.read_text()), "")


def enumerate_lines(path: Path) -> Iterator[tuple[str, Any]]:
    for number, line in enumerate(path.read_text().split("\n"), 1):
        if line:
            yield from leaves(json.loads(line), f"{number}")


def leaves(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, each in value.items():
            if not any(word in key for word in MOVES):
                yield from leaves(each, f"{place}.{key}")
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from leaves(each, f"{place}[{number}]")
    else:
        yield place, value


def files(folder: Path) -> set[Path]:
    kinds = (path for path in folder.rglob("*") if path.suffix in (".safetensors", ".jsonl", ".json"))
    found = (path.relative_to(folder) for path in kinds)
    return {path for path in found if not set(path.parts) & set(SKIPPED)}


def compare(old: Path, new: Path) -> int:
    """Prints what differs; how much there was of what is equal."""
    differing, equal = [f"only one of them has {path}" for path in sorted(files(old) ^ files(new))], 0
    for path in sorted(files(old) & files(new)):
        one, other = dict(values(old / path)), dict(values(new / path))
        wrong = sorted(place for place in one.keys() | other.keys() if one.get(place, ...) != other.get(place, ...))
        differing += [f"{path}: {place}: {_short(one, place)} -> {_short(other, place)}" for place in wrong]
        equal += len(one) - len(wrong)
    print(
        "\n".join(differing) or "nothing differs", f"\n{equal} values in {len(files(old) & files(new))} files are equal"
    )
    return 1 if differing or not equal else 0


def _short(found: dict[str, Any], place: str) -> str:
    return repr(found.get(place, "not there"))[:80]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("make").add_argument("folder", type=Path)
    both = commands.add_parser("compare")
    both.add_argument("old", type=Path)
    both.add_argument("new", type=Path)
    given = parser.parse_args()
    raise SystemExit(compare(given.old, given.new) if given.command == "compare" else make(given.folder.resolve()))
