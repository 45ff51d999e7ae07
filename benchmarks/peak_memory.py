"""Peak memory of one step with LoRA: losses that look at the original model, beside ascent and retain.

    python benchmarks/peak_memory.py [--rows N] [--tokens N] [--threads N]

The model is a Llama of SmolLM2-135M's size with random weights. Bytes are counted, not sampled: every storage that an
operator returns counts from then until it is freed, the model's own from the start. So the numbers are the same on
every machine and in every run; what a kernel allocates and frees inside is not seen.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import weakref
from collections.abc import Callable
from typing import Any

import torch
from step_cost import smollm2, texts
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from unweave import Objectives, Pair, rules
from unweave.loop import OptimizerStep
from unweave.losses import NPO, Ascent, Divergence, Remembered, frozen, reference
from unweave.objectives import Loss
from unweave.tasks import Language

Losses = tuple[Loss, Loss]


class Live(TorchDispatchMode):
    """Bytes of all storages that are alive, and the most there were."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: set[int] = set()

    def add(self, value: Any) -> None:
        """Counts the storages of tensors in a tree, each once, until they are freed."""
        for leaf in tree_leaves(value):
            if not isinstance(leaf, Tensor) or leaf.device.type == "meta":
                continue
            storage = leaf.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key in self._seen:
                continue
            self._seen.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._freed, key, size)

    def _freed(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.now -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.add(made)
        return made


def _ascent(task: Language, model: nn.Module) -> Losses:
    return Ascent(task.nll), task.nll


def _npo_remembered(task: Language, model: nn.Module) -> Losses:
    return NPO(task, Remembered(torch.full((64,), -300.0))), task.nll


def _npo_off(task: Language, model: nn.Module) -> Losses:
    return NPO(task, reference(model)), task.nll


def _kl_off(task: Language, model: nn.Module) -> Losses:
    return Ascent(task.nll), Divergence(task, reference(model))


def _npo_copy(task: Language, model: nn.Module) -> Losses:
    return NPO(task, frozen(copy.deepcopy(model))), task.nll


def _kl_copy(task: Language, model: nn.Module) -> Losses:
    return Ascent(task.nll), Divergence(task, frozen(copy.deepcopy(model)))


ROWS: dict[str, Callable[[Language, nn.Module], Losses]] = {
    "ascent + retain": _ascent,
    "NPO, remembered": _npo_remembered,
    "NPO, adapters off": _npo_off,
    "KL, adapters off": _kl_off,
    "NPO, a second model": _npo_copy,
    "KL, a second model": _kl_copy,
}


def peak(name: str, rows: int, tokens: int) -> int:
    """Bytes at the highest point of one step, model and optimizer included."""
    torch.manual_seed(0)
    model, task = smollm2(lora=True).eval(), Language()
    pair = Pair([texts(rows, tokens)], [texts(rows, tokens)])
    losses = ROWS[name](task, model)
    objectives = Objectives(model, losses).at(pair)
    moving = [p for p in model.parameters() if p.requires_grad]
    stepper = OptimizerStep(torch.optim.AdamW(moving, lr=1e-4))
    live = Live()
    live.add([*model.parameters(), *model.buffers()])
    live.add([p for loss in losses for p in _models(loss)])
    with live:
        stepper.take(1, rules.Fixed(1.0, 1.0), objectives)
    return live.peak


def _models(loss: Loss) -> list[Tensor]:
    """Weights of a second model, if the loss holds one."""
    other = getattr(loss, "reference", None)
    return list(other.parameters()) if isinstance(other, nn.Module) else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4, help="texts on each side")
    parser.add_argument("--tokens", type=int, default=64, help="of each text")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", help="write the numbers to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found: dict[str, int] = {}
    for name in ROWS:
        found[name] = peak(name, options.rows, options.tokens)
        gc.collect()
        share = found[name] / found["ascent + retain"]
        print(f"{name:22s} {found[name] / 2**20:8.1f} MiB, {share:.3f} of ascent + retain", flush=True)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(found, file, indent=2)


if __name__ == "__main__":
    main()
