"""Several processes: `torchrun --nproc-per-node 2 examples/accelerate_loop.py`; one process works as well.

Each rank reads its own share of the data; gradients and losses are reduced before a rule sees them.
"""

import gc
import sys

import torch
from _digits import forget, model, retain
from accelerate import Accelerator

from unweave import METHODS, Classification, Pairs
from unweave.loop import unlearn


def main(accelerator: Accelerator) -> None:
    method = METHODS["hamu_q"](Classification(), model)
    prepared, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1))
    pairs = Pairs(forget, retain, rank=accelerator.process_index, world=accelerator.num_processes)
    steps = 5 if "--smoke" in sys.argv else 50
    result = unlearn(prepared, method, pairs, optimizer, accelerator=accelerator, steps=steps)

    if accelerator.is_main_process:
        forgetting, retaining = result.history[-1].step.losses.tolist()
        print(f"{result.steps} steps on {accelerator.num_processes} process(es): {result.reason}")
        print(f"forget objective {forgetting:.3f}   retain loss {retaining:.3f}")
    accelerator.free_memory()


accelerator = Accelerator(cpu=True)
main(accelerator)
gc.collect()  # the prepared model goes before the processes part: later it would hang now and then
accelerator.end_training()
