"""A class for each pixel: 255 marks what nobody labelled. Some masks were drawn over the wrong object."""

import torch
from torch import nn
from torch.utils.data import TensorDataset

import unweave
from unweave.evaluation import score

torch.manual_seed(0)
images = torch.randn(260, 2, 6, 6)
masks = (images[:, 0] > 0.3).long() + (images[:, 1] > 0.5).long()  # [n, 6, 6], three classes
masks[:, 0, 0] = 255
masks[:20, 1:] = (masks[:20, 1:] + 1) % 3  # wrong

model = nn.Sequential(nn.Flatten(), nn.Linear(72, 256), nn.ReLU(), nn.Linear(256, 108), nn.Unflatten(1, (3, 6, 6)))
optimizer = torch.optim.Adam(model.parameters(), 3e-3)
for _ in range(100):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(images[:200]), masks[:200], ignore_index=255).backward()
    optimizer.step()

forget, retain, unseen = (TensorDataset(images[a:b], masks[a:b]) for a, b in ((0, 20), (20, 200), (200, 260)))
task = unweave.Dense(ignore=255)
contract = unweave.Contract(forget=[unweave.Forget("accuracy", at_most=0.75)])  # share of an image's pixels
result = unweave.unlearn(model, task=task, forget=forget, retain=retain, contract=contract)

print(result.contract)
for name, each in (("before", model), ("after", result.model)):
    scores = score(each, task, forget=forget, retain=retain, test=unseen)
    print(name, scores["forget_accuracy"], scores["retain_accuracy"], scores["retain_overlap"], sep="; ")
