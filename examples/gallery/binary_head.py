"""A binary classifier with one logit: will a customer leave? Some customers' answers were entered wrongly."""

import torch
from torch import nn
from torch.utils.data import TensorDataset

import unweave
from unweave.evaluation import score

torch.manual_seed(0)
x = torch.randn(900, 8)
leaves = (x[:, 0] - x[:, 1] + 0.3 * torch.randn(900) > 0).float()[:, None]  # [n, 1], as BCEWithLogitsLoss wants it
leaves[:50] = 1 - leaves[:50]  # entered wrongly

model = nn.Sequential(nn.Linear(8, 256), nn.ReLU(), nn.Linear(256, 1))
optimizer = torch.optim.Adam(model.parameters(), 5e-3)
for _ in range(200):
    optimizer.zero_grad()
    nn.functional.binary_cross_entropy_with_logits(model(x[:700]), leaves[:700]).backward()
    optimizer.step()

forget, retain, test = (TensorDataset(x[a:b], leaves[a:b]) for a, b in ((0, 50), (50, 700), (700, 900)))
contract = unweave.Contract(forget=[unweave.Forget("accuracy", at_most=0.6)])
result = unweave.unlearn(model, forget=forget, retain=retain, contract=contract)

print(result.task, result.contract, sep="\n")
for name, each in (("before", model), ("after", result.model)):
    scores = score(each, result.task, forget=forget, retain=retain, test=test)
    print(name, scores["FA"], scores["RA"], scores["TA"], sep="; ")
