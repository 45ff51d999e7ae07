"""What two processes leave of a run, of every method and kind of data, beside what one leaves.

    python -m benchmarks.ranks [--kinds images texts ...] [--methods hamu_q ...] > results/ranks.jsonl

Three steps of each on tiny data, by the command: on one process, on two, on two with the weights sharded (FSDP2), and
on two, ended by Ctrl-C after the first step or later and gone on with. One line of JSON for each: the largest
difference of a weight of the model that is left, `|d| / (1 + |t|)`; where that is more than 1e-6, also what one process
that takes its batches in two parts differs by, which is rounding as well. `--table` prints the table of
docs/concepts.md and one line for each method, and runs nothing. Whatever a method cannot do on several processes it has
to refuse, in one message; that is kept, too.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from tests.conftest import RECIPE as IMAGES
from tests.distributed._command import Ended, command
from tests.modalities.diffusion._pictures import RECIPE as DIFFUSION
from tests.modalities.diffusion._pictures import pictures
from tests.modalities.records._tables import RECIPE as RECORDS
from tests.modalities.records._tables import written
from tests.modalities.texts._world import RECIPE as TEXTS
from tests.modalities.texts._world import made

from unweave.methods import METHODS
from unweave.oneshot import ONESHOT
from unweave.run.steps_log import read_steps

RESULTS = Path(__file__).parent / "results" / "ranks.jsonl"
STEP = "step={name: sgd, lr: 0.02}"  # Adam's first steps divide rounding by itself
SHORT = ["run.steps=3", "run.checkpoint_every=1", "evaluation.retrained=0", "evaluation.quote=false", "contract=none"]
SMALL = "evaluation={images: 20, sampling_steps: 2, looks: 1, attacks: none, retrained: 0, quote: false}"
LIGHT = ["evaluation.relearning=none", "evaluation.generate=0"]
KINDS: dict[str, tuple[Callable[[Path], object], str, list[str]]] = {
    "images": (lambda folder: None, IMAGES, []),
    "records": (written, RECORDS, []),
    "texts, adapters": (made, TEXTS, LIGHT),
    "texts, all weights": (made, TEXTS, [*LIGHT, "model={weights: model}"]),
    "diffusion": (lambda to: pictures(to / "pictures", 20), DIFFUSION.replace("steps: 300", "steps: 20"), [SMALL]),
}
HOW, NULL, LIMIT = ("two", "sharded", "resumed"), "parts", 1e-6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--methods", nargs="+", default=[*METHODS, *ONESHOT])
    parser.add_argument("--table", action="store_true", help="print the table of what is there")
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    rows = [json.loads(line) for line in chosen.results.read_text().splitlines()] if chosen.results.exists() else []
    there = {(row["kind"], row["method"]) for row in rows}
    torch.set_num_threads(1)
    for kind in [] if chosen.table else chosen.kinds:
        for method in chosen.methods:
            if (kind, method) in there:
                continue
            with tempfile.TemporaryDirectory() as folder:
                row = {"kind": kind, "method": method, **compared(Path(folder), kind, method)}
            rows.append(row)
            with chosen.results.open("a") as file:
                print(json.dumps(row), file=file)
            print(json.dumps(row), file=sys.stderr, flush=True)
    print(table(rows))


def compared(folder: Path, kind: str, method: str) -> dict[str, Any]:
    """The largest difference of each way to one process, or the message of a refusal."""
    make, text, settings = KINDS[kind]
    make(folder)
    (folder / "recipe.yaml").write_text(text)
    asked = [f"method={{name: {method}}}", *([] if method in ONESHOT else [STEP]), *SHORT, *settings]
    given = [each for setting in asked for each in ("-s", setting)]
    first = command("run", folder / "recipe.yaml", "-o", folder / "one", *given, world=1)
    if not done(first):
        return {"refused": refusal(first)}
    found: dict[str, Any] = {}
    for how in HOW:
        more = ["-s", "run.shard=true"] if how == "sharded" else []
        if how == "resumed":
            if method in ONESHOT:
                continue
            after = 1 + hash_of(method) % 2
            ended = command("run", folder / "recipe.yaml", "-o", folder / how, *given, during=stop(folder / how, after))
            if ended.codes == [130, 130]:
                found["after"] = len(read_steps(folder / how / "steps.jsonl"))
                ended = command("run", folder / how, "--resume")
        else:
            ended = command("run", folder / "recipe.yaml", "-o", folder / how, *given, *more)
        found[how] = difference(folder / how, folder / "one") if done(ended) else refusal(ended)
    if max_of(found) > LIMIT:
        command("run", folder / "recipe.yaml", "-o", folder / NULL, *given, "-s", "run.micro=2", world=1)
        found[NULL] = difference(folder / NULL, folder / "one")
    return found


def done(ended: Ended) -> bool:
    """To the end; 1 is the code of a run whose three steps changed no score."""
    unchanged = any("CHANGED NO SCORE" in each for each in ended.said)
    return set(ended.codes) == {0} or (set(ended.codes) == {1} and unchanged)


def stop(folder: Path, after: int) -> Callable[[list[int]], None]:
    """Ctrl-C for both once so many steps are made."""

    def during(processes: list[int]) -> None:
        until = time.monotonic() + 120
        while len(read_steps(folder / "steps.jsonl")) < after and time.monotonic() < until:
            time.sleep(0.001)
        for process in processes:
            os.kill(process, signal.SIGINT)

    return during


def hash_of(name: str) -> int:
    """The same on every day."""
    return sum(map(ord, name))


def difference(found: Path, expected: Path) -> float:
    """The largest `|d| / (1 + |t|)` over all weights."""
    own, other = weights(found), weights(expected)
    assert own.keys() == other.keys() and own, "the same tensors"
    return max(float(((own[name] - t).abs() / (1 + t.abs())).max()) for name, t in other.items() if t.numel())


def weights(folder: Path) -> dict[str, torch.Tensor]:
    files = sorted((folder / "model").rglob("*.safetensors"))
    read = {f"{file.name} {key}": t for file in files for key, t in safetensors.torch.load_file(file).items()}
    return {name: tensor.double() for name, tensor in read.items()}


def refusal(ended: Ended) -> str:
    """What was said, in a line."""
    said = next(filter(None, ended.said), "")
    return f"{ended.codes}: {' '.join(said.split())[-300:]}"


def table(rows: list[dict[str, Any]]) -> str:
    """The largest of each kind of data and whose it is; then a line for each method, its three ways."""
    kinds = [kind for kind in KINDS if any(row["kind"] == kind for row in rows)]
    found = {(row["kind"], row["method"]): row for row in rows}
    heads = ["methods", *HOW, f"beyond {LIMIT:g} (one process in parts)", "no"]
    lines = [f"| | {' | '.join(heads)} |", f"|---|{'---:|' * len(heads)}"]
    for kind in kinds:
        of = [row for row in rows if row["kind"] == kind and "refused" not in row]
        no = sorted({row["method"] for row in of if any(isinstance(row.get(how), str) for how in HOW)})
        most = [max((row[how], row["method"]) for row in of if isinstance(row.get(how), float)) for how in HOW]
        each = " | ".join(f"{most_of:.0e} (`{method}`)" for most_of, method in most)
        beyond = [row for row in of if NULL in row]
        told = ", ".join(f"`{row['method']}` {max_of(row):.0e} ({row[NULL]:.0e})" for row in beyond)
        lines.append(f"| {kind} | {len(of)} | {each} | {told} | {', '.join(no)} |")
    lines += ["", f"| | {' | '.join(kinds)} |", f"|---|{'---:|' * len(kinds)}"]
    for method in dict.fromkeys(row["method"] for row in rows):
        lines.append(f"| `{method}` | {' | '.join(cell(found.get((kind, method))) for kind in kinds)} |")
    return "\n".join(lines)


def max_of(row: dict[str, Any]) -> float:
    """The largest of its ways."""
    return max((row[how] for how in HOW if isinstance(row.get(how), float)), default=0.0)


def cell(row: dict[str, Any] | None) -> str:
    """Two, sharded, resumed; a dash where the method is not for this kind of data, *no* where it refuses ranks."""
    if row is None:
        return ""
    if "refused" in row:
        return "-"
    each = [row[how] for how in HOW if how in row]
    return " / ".join(f"{one:.0e}" if isinstance(one, float) else "no" for one in each)


if __name__ == "__main__":
    main()
