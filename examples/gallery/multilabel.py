"""Several labels of each example: topics of documents, given as words that occur. One author takes his texts back."""

import torch
from torch import nn
from torch.utils.data import TensorDataset

import unweave
from unweave.evaluation import score

torch.manual_seed(0)
words = torch.randn(800, 20)
topics = (words[:, :5] + 0.7 * words[:, 5:10] > 0.5).float()  # [n, 5]
topics[:40] = (topics[:40] + (torch.rand(40, 5) < 0.4)) % 2  # his own view of what his texts are about

model = nn.Sequential(nn.Linear(20, 128), nn.ReLU(), nn.Linear(128, 5))
optimizer = torch.optim.Adam(model.parameters(), 5e-3)
for _ in range(200):
    optimizer.zero_grad()
    nn.functional.binary_cross_entropy_with_logits(model(words[:600]), topics[:600]).backward()
    optimizer.step()

forget, retain, unseen = (TensorDataset(words[a:b], topics[a:b]) for a, b in ((0, 40), (40, 600), (600, 800)))
contract = unweave.Contract(forget=[unweave.Forget("accuracy", at_most=0.75)])  # accuracy is the Jaccard index
result = unweave.unlearn(model, forget=forget, retain=retain, contract=contract)

print(result.task, result.contract, sep="\n")
for name, each in (("before", model), ("after", result.model)):
    scores = score(each, result.task, forget=forget, retain=retain, test=unseen)
    print(name, scores["forget_accuracy"], scores["test_accuracy"], scores["test_labels_right"], sep="; ")
