"""Your own accelerate loop on texts: HAMU-Q over NPO, the original's log-probabilities asked once and kept.

`torchrun --nproc-per-node 2 examples/text_loop.py` for several processes; one process works as well. With a model of
yours: `model, tokenizer = unweave.pretrained.load("my-model", lora=Lora())` and `tokenised(texts(...), tokenizer)`.
"""

import sys
from dataclasses import replace

import torch
from _people import forget, model, retain
from accelerate import Accelerator

from unweave import METHODS, Objectives, Pairs
from unweave.losses import NPO, remember
from unweave.tasks import Language

accelerator, task = Accelerator(cpu=True), Language()
method = METHODS["hamu_q"](task, model, ratio=0.5)
method = replace(method, forget=NPO(task, remember(model, task, forget)))  # no second model
model, optimizer = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0))
objectives = Objectives(model, (method.forget, method.retain), accelerator)
share = {"rank": accelerator.process_index, "world": accelerator.num_processes}
pairs = iter(Pairs(forget, retain, forget_batch=12, retain_batch=40, **share))

for number in range(3 if "--smoke" in sys.argv else 20):
    step = method.rule.backward(objectives.at(next(pairs)))  # .grad: the direction
    optimizer.step()
    if accelerator.is_main_process and number % 2 == 0:
        forgetting, retaining = step.losses.tolist()
        print(f"step {number:3d}   forget objective {forgetting:8.4f}   retain loss {retaining:.4f}")
