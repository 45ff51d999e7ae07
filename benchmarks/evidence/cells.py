"""One original model and everything that is done to it: the unit of work, of resuming and of the cache.

    pool   k   all records are in training, and all are to be forgotten; relearning and low precision on the first few
    third  k   U-LiRA: of each record's fate, in training or not, to be forgotten or not, a column of coins decides
    coin   k   the randomised-inclusion audit: a coin for each record, heads are trained on and forgotten

A cell holds the margins of the records after every method, and the row "retrained" a model of another seed that was
trained without what was to be forgotten.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from methods import unlearned
from torch import nn
from world import World

from unweave.audit.attacks import OUT, UNLEARNED, thirds
from unweave.audit.canaries import Plan, draw
from unweave.audit.robustness import Relearning, quantised, relearn, unchanged
from unweave.evaluation.outputs import Outputs, predict
from unweave.evaluation.ranking import auc
from unweave.evaluation.scores import accuracy

Json = dict[str, Any]
SEEDS = {"pool": 0, "third": 1000, "coin": 2000}
AGAIN = 500  # between the seeds of the retrained models and those of the originals
RETAIN = 200  # base examples whose margins are kept
RELEARNING = Relearning(steps=(0, 1, 2, 5, 10, 20), lr=1e-3, batch=32)


def layout(world: World) -> np.ndarray:
    """U-LiRA's coins, `[models, records]`."""
    return thirds(world.size.shadows, len(world.records), seed=7)


def plan(world: World, number: int) -> Plan:
    """The audit's coins of one draw."""
    return draw([str(i) for i in range(len(world.records))], seed=number)


def fates(world: World, kind: str, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each record: whether it is trained on, and whether it is to be forgotten."""
    if kind == "pool":
        every = np.ones(len(world.records), dtype=bool)
        return every, every
    if kind == "third":
        column = layout(world)[number]
        return column != OUT, column == UNLEARNED
    heads = np.array(plan(world, number).included)
    return heads, heads


def cell(world: World, kind: str, number: int, methods: Sequence[str], known: Mapping[str, Json]) -> Json:
    """What every method gives, those apart that are known."""
    torch.set_num_threads(1)
    seed = SEEDS[kind] + number
    trained, gone = fates(world, kind, number)
    begin = time.process_time()
    original = world.trained(trained, seed)
    seconds = time.process_time() - begin
    forget = world.records.subset(np.flatnonzero(gone))
    retain = world.with_records(trained & ~gone)
    found = dict(known)
    for name in (name for name in methods if name not in known):
        begin, told = time.process_time(), {"ended": ""}
        if name == "original":
            model = original
        elif name == "retrained":
            model = world.trained(trained & ~gone, seed + AGAIN)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = unlearned(world, original, name, forget, retain, seed)
            model, told = result.model, {"ended": result.reason, "steps": result.steps}
        spent = seconds if name == "original" else time.process_time() - begin
        found[name] = {**told, "cpu_seconds": spent, **measured(world, model)}
        if kind == "pool" and number < world.size.relearned:
            found[name] |= robust(world, original, model)
    return found


def measured(world: World, model: nn.Module) -> Json:
    """Margins and scores of one model."""
    sets = {"records": world.records, "retain": world.base, "test": world.test, "holdout": world.holdout}
    seen: dict[str, Outputs] = {name: predict(model, world.task, data) for name, data in sets.items()}
    return {
        "margins": seen["records"].margin.tolist(),
        "retain_margins": seen["retain"].margin[:RETAIN].tolist(),
        "UA": 1 - accuracy(seen["records"]).value,
        "RA": accuracy(seen["retain"]).value,
        "TA": accuracy(seen["test"]).value,
        "MIA_AUC": auc(seen["records"].margin, seen["holdout"].margin),
    }


def robust(world: World, original: nn.Module, model: nn.Module) -> Json:
    """What a little training on a fifth of the records brings back of the others; what rounding to four bits does."""
    fifth = len(world.records) // 5
    part, rest = world.records.subset(range(fifth)), world.records.subset(range(fifth, len(world.records)))
    rounded = quantised(model, 4)
    return {
        "relearned": {
            "records": relearn(model, world.task, part, rest, RELEARNING).level,
            "holdout": relearn(model, world.task, world.holdout, world.records, RELEARNING).level,
        },
        "int4": float(predict(rounded, world.task, world.records).confidence.mean()),
        "unchanged": unchanged(original, model, 4),
    }
