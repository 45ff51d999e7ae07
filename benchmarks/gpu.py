"""What the first run on an accelerator has to show; prints each with what is expected beside what was found.

    python benchmarks/gpu.py [--device cuda] [--only tests waits draws cost memory drawn] [--repeats N] [--small]

`tests`: the device tests (`tests/device`) on it. `waits`: how often a step waits for the device. `draws`: noise of an
example is the CPU's, bit for bit. `cost`: steps in units of the plain passes that they need, on ResNet-18 and on a
language model of SmolLM2-135M's size, all of it and LoRA. `memory`: the peak of a step over that of its two passes, by
the device's own counter. `drawn`: the same of a UNet of the shape of Stable Diffusion 1.4 with LoRA of rank 4.
`--small` is for trying the script itself: tiny models, no numbers that mean anything.
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import torch
from peak_memory import _drawn
from step_cost import ROWS, setting
from torch import nn

from unweave import Objectives, Pair, devices
from unweave.data.batches import moved
from unweave.data.draws import gaussian
from unweave.loop import OptimizerStep, Stepper
from unweave.losses import Ascent
from unweave.tasks import Task
from unweave.trust import TrustRegion

ROOT = Path(__file__).parents[1]
STEPS = ("HAMU-Q, tensor", "HAMU-U, tensor", "EUPMU, next_batch", "Fixed", "HAMU-Q, trust region")
WAITS = {"HAMU-Q, tensor": 3, "HAMU-U, tensor": 3, "EUPMU, next_batch": 3, "HAMU-Q, trust region": 5}


def told(what: str, found: str, expected: str) -> None:
    """One line."""
    print(f"{what:58s} {found:>28s}   expected {expected}", flush=True)


def on(device: torch.device, name: str, small: bool) -> tuple[nn.Module, Pair, Task]:
    """A setting of `step_cost.py`, moved."""
    model, pair, task = setting("digits" if small else name)
    return model.to(device), Pair(moved(pair.forget, device), moved(pair.retain, device)), task


def steps(model: nn.Module, pair: Pair, task: Task, name: str) -> Callable[[], object]:
    """One step of a row of `step_cost.py`."""
    objectives = Objectives(model, (Ascent(task.nll), task.nll))
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-9)
    region = name.endswith("trust region")
    stepper: Stepper = TrustRegion(budget=float("inf"), start=1e-7) if region else OptimizerStep(optimizer)
    rule = ROWS[name][0]()
    return lambda: stepper.take(1, rule, objectives.at(pair))


def passes(model: nn.Module, pair: Pair, task: Task, joint: bool = False) -> None:
    """The plain work: both gradients, or that of the sum."""
    model.zero_grad()
    if joint:
        (task.nll(model, pair.retain[0]).mean() - task.nll(model, pair.forget[0]).mean()).backward()
        return
    (-task.nll(model, pair.forget[0]).mean()).backward()
    kept = [p.grad for p in model.parameters()]
    model.zero_grad()
    task.nll(model, pair.retain[0]).mean().backward()
    del kept


def seconds(job: Callable[[], object], device: torch.device) -> float:
    """By the clock, until the device is done."""
    torch.accelerator.synchronize() if device.type != "cpu" else None
    begin = time.perf_counter()
    job()
    torch.accelerator.synchronize() if device.type != "cpu" else None
    return time.perf_counter() - begin


def cost(device: torch.device, repeats: int, small: bool) -> None:
    """Ratios of neighbouring measurements, medians."""
    for name in ("digits",) if small else ("resnet18", "smollm2", "smollm2-lora"):
        model, pair, task = on(device, name, small)
        for row in STEPS:
            _, work, target = ROWS[row]
            step, ratios = steps(model, pair, task, row), []
            for turn in range(repeats + 2):
                plain = seconds(partial(passes, model, pair, task, work == "joint pass"), device)
                ratio = seconds(step, device) / plain
                ratios += [ratio] if turn > 1 else []
            told(f"cost, {name}: {row}", f"{median(ratios):.3f} of {work}", f"at most {target}")


def peak(job: Callable[[], object], device: torch.device) -> int:
    """Most bytes of tensors while it runs."""
    gc.collect()
    devices.forget_peak(device)
    job()
    return devices.peak(device) or 0


def memory(device: torch.device, small: bool, drawn: bool) -> None:
    """Peaks of steps over that of the two passes; what a first step allocates for good is there before."""
    if drawn:
        model, task, pair = _drawn(8 if small else 64)
        model, pair = model.to(device), Pair(moved(pair.forget, device), moved(pair.retain, device))
        rows, limit = ("HAMU-Q, tensor", "EUPMU, next_batch"), "at most 1.10"
    else:
        model, pair, task = on(device, "smollm2", small)
        rows, limit = STEPS, "at most 1.35 (two gradients; a region keeps the weights too)"
    passes(model, pair, task)
    base = peak(partial(passes, model, pair, task), device)
    for row in rows:
        step = steps(model, pair, task, row)
        step()
        found = peak(step, device)
        told(f"{'drawn' if drawn else 'memory'}: {row}", f"{found / 2**20:,.0f} MiB, {found / base:.3f}", limit)


def waits(device: torch.device, small: bool) -> None:
    """Counted by the tests' own mode."""
    sys.path.insert(0, str(ROOT))
    from tests.device._devices import Watch

    for row, expected in WAITS.items():
        model, pair, task = on(device, "resnet18", small)
        step = steps(model, pair, task, row)
        step()
        with Watch(device.type) as watch:
            step()
        told(f"waits: {row}", f"{sum(watch.waits.values())} a step", f"at most {expected}")


def draws(device: torch.device) -> None:
    """Seeds on the device give the CPU's numbers."""
    seeds = torch.arange(1000)
    same = bool(gaussian(seeds, (1, 8, 8)).equal(gaussian(seeds, (1, 8, 8)).to(device).cpu()))
    with devices.seeded(3):
        first = torch.rand(1000, device=device)
    with devices.seeded(3):
        same &= bool(torch.rand(1000, device=device).equal(first))
    told("draws: noise and seeds", str(same), "True")


def main() -> None:
    parts = ("tests", "waits", "draws", "cost", "memory", "drawn")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--only", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    device = devices.chosen(options.device)
    print(f"torch {torch.__version__}, {device}: {devices.name()}")
    if "tests" in options.only:
        environment = {**os.environ, "UNWEAVE_DEVICE": str(device)}
        command = [sys.executable, "-m", "pytest", "-q", "tests/device"]
        ended = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
        told("tests: tests/device", f"exit code {ended}", "0")
    if "waits" in options.only and device.type != "cpu":  # which is never waited for
        waits(device, options.small)
    if "draws" in options.only:
        draws(device)
    if "cost" in options.only:
        cost(device, options.repeats, options.small)
    if "memory" in options.only:
        memory(device, options.small, drawn=False)
    if "drawn" in options.only:
        memory(device, options.small, drawn=True)


if __name__ == "__main__":
    main()
