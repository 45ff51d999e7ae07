"""A regression: prices of houses, of which some were typed with a wrong sign. The scale of errors is estimated."""

import torch
from torch import nn
from torch.utils.data import TensorDataset

import unweave
from unweave.evaluation import score

torch.manual_seed(0)
x = torch.randn(500, 6)
price = 200 + 50 * x[:, 0] + 30 * (x[:, 1] * x[:, 2]).tanh() + 5 * torch.randn(500)
price[:40] -= 60  # typed wrongly

model = nn.Sequential(nn.Linear(6, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 1))
optimizer = torch.optim.Adam(model.parameters(), 5e-3)
for _ in range(500):
    optimizer.zero_grad()
    (((model(x[:350])[:, 0] * 60 + 200 - price[:350]) / 60) ** 2).mean().backward()
    optimizer.step()
with torch.no_grad():  # from here on the model gives prices
    model[-1].weight *= 60
    model[-1].bias.mul_(60).add_(200)

forget, retain, unseen = (TensorDataset(x[a:b], price[a:b]) for a, b in ((0, 40), (40, 350), (350, 500)))
contract = unweave.Contract()  # the default: the loss is kept, and nothing tells the forget set from unseen houses
result = unweave.unlearn(model, task="regression", forget=forget, retain=retain, holdout=unseen, contract=contract)

print(result.task, result.contract, sep="\n")
for name, each in (("before", model), ("after", result.model)):
    scores = score(each, result.task, forget=forget, retain=retain, test=unseen)
    print(name, scores["forget_absolute_error"], scores["test_absolute_error"], scores["MIA_AUC"], sep="; ")
