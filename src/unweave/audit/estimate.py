"""What the trainings that are missing will cost: from recorded trainings like them, or from a few steps taken now."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch

from unweave.audit.experiment import KINDS, Experiment
from unweave.audit.kits import kit
from unweave.audit.models import is_there
from unweave.data.batches import moved
from unweave.execution import device_of, one_thread
from unweave.modalities.texts.job import TextJob
from unweave.watch import spoken

STEPS = 3
LONGEST = 5.0  # seconds that a process takes to begin, at most: this one may have done other things before
STATISTICS = 1.0  # seconds that gaps, tests and attacks of ten models took
LOOKS = 2.5  # an unlearning step against a training step on as many examples: two gradients, and the losses again


@dataclass(frozen=True)
class Estimate:
    """Before anything is done.

    Args:
        missing: how many models of each kind are not there yet; shadows are trained and unlearned.
        each: seconds of one, by kind, and of the attacks on one model.
        recorded: kinds whose seconds are those of a model like them; the others are extrapolated from a few steps.
        models: all models, whose attacks are counted, too.
        workers: processes.
        start: seconds that a process takes to begin; all workers do so once, side by side.
        processes: that share the steps of each unlearning. Nobody knows how much faster they are: it is not counted.
    """

    missing: Mapping[str, int]
    each: Mapping[str, float]
    recorded: Sequence[str]
    models: int
    workers: int
    start: float = 0.0
    processes: int = 1

    @property
    def seconds(self) -> float:
        """Wall time: kinds come one after another, models of a kind side by side, on cores of their own."""
        parts = [(count, self.each[kind]) for kind, count in self.missing.items()]
        parts.append((self.models, self.each["attacks"]))
        begun = self.start if self.workers > 1 else 0.0
        return begun + STATISTICS + sum(-(-count // self.workers) * each for count, each in parts)

    def __str__(self) -> str:
        """One line for people."""
        what = [f"{n} {_name(kind)} ({self.each[kind]:.3g} s each)" for kind, n in self.missing.items() if n]
        if not what:
            return f"all models are there; attacks and scores take about {spoken(self.seconds)}"
        guessed = [_name(kind) for kind in KINDS if self.missing[kind] and kind not in self.recorded]
        how = f"; {' and '.join(guessed)}: extrapolated from {STEPS} steps, an upper bound" if guessed else ""
        cores = f"{self.workers} processes" if self.workers > 1 else "one process"
        cores += f" ({self.processes} share the steps of unlearning)" if self.processes > 1 else ""
        took = f"about {spoken(self.seconds)} on {cores}{how}"
        return f"to make: {', '.join(what)}, and the attacks on {self.models}; {took}"


def estimate(world: Experiment, workers: int) -> Estimate:
    """Counts what is missing, and times a few steps of what nobody has done before."""
    there = {kind: [is_there(world, kind, i) for i in range(world.count(kind))] for kind in (*KINDS, "shadow")}
    missing = {kind: found.count(None) for kind, found in there.items()}
    known = {
        kind: [float(each["seconds"]) for each in found if each is not None and each.get("seconds") is not None]
        for kind, found in there.items()
    }
    begun = min(time.process_time(), LONGEST)  # of this process: packages are imported and data loaded
    request, run = world.request, world.recipe.run
    training = request.training
    assert training is not None, "checked"
    step = _seconds_of_a_step(world)
    measured = {
        "original": step * training.examples(len(request.train)),
        "retrained": step * training.examples(len(request.retain)),
        "unlearned": LOOKS * step * run.steps * (run.forget_batch + run.retain_batch),
    }
    each = {kind: fmean(known[kind]) if known[kind] else measured[kind] for kind in KINDS}
    each["shadow"] = each["original"] + each["unlearned"]
    each["attacks"] = kit(world).attack_seconds(world, step)
    return Estimate(
        missing, each, [kind for kind in KINDS if known[kind]], sum(map(world.count, KINDS)), workers, begun
    )


def _seconds_of_a_step(world: Experiment) -> float:
    """Of the training, for one example, on this machine, now: the mean of a few after a first one, which warms up."""
    request = world.request
    model = (request.base() if isinstance(request, TextJob) else request.network.build()).train()
    assert request.training is not None, "checked"
    size = min(request.training.batch, len(request.train))
    batch, seconds = moved(request.train.batch(torch.arange(size)), device_of(model)), list[float]()
    with one_thread(), torch.random.fork_rng(devices=[]):
        for _ in range(1 + STEPS):
            begin = time.perf_counter()
            request.task.nll(model, batch).mean().backward()
            float(next(p.grad.sum() for p in model.parameters() if p.grad is not None))  # waits for an accelerator
            seconds.append(time.perf_counter() - begin)
    return fmean(seconds[1:]) / size


def _name(kind: str) -> str:
    return {"original": "originals", "shadow": "shadows"}.get(kind, kind)
