"""Your own loop: a rule leaves a descent direction in .grad, the rest is plain PyTorch."""

import sys

import torch
from _digits import forget, model, retain

from unweave import METHODS, Classification, Objectives, Pairs

method = METHODS["pcgrad"](Classification(), model)
objectives = Objectives(model, (method.forget, method.retain))
optimizer = torch.optim.SGD(objectives.parameters, lr=0.02)
pairs = iter(Pairs(forget, retain))

for number in range(5 if "--smoke" in sys.argv else 20):
    objectives.lr = 0.02  # only EUPMU and OFMU ask for it
    step = method.rule.backward(objectives.at(next(pairs)))  # .grad: the direction
    optimizer.step()
    method.rule.observe(objectives)  # rules that look back, such as EUPMU
    if number % 5 == 0:
        forgetting, retaining = step.losses.tolist()
        print(f"step {number:3d}   forget objective {forgetting:8.4f}   retain loss {retaining:.4f}")
