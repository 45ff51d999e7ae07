"""Loaders of one's own under a contract: examples of different lengths, padded by a collate_fn.

What the contract measures on is taken out of the retain loader's data set, and read with the same collate_fn.
"""

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

import unweave


class Reader(nn.Module):
    """The mean of what the events of a sequence say; 0 is padding."""

    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(30, 64, padding_idx=0), nn.Sequential(nn.ReLU(), nn.Linear(64, 3))

    def forward(self, events):
        return self.head(self.table(events).sum(1) / (events > 0).sum(1, keepdim=True))


def collate(examples):
    """Sequences of any length to one batch (inputs, labels)."""
    events, labels = zip(*examples, strict=True)
    return pad_sequence(events, batch_first=True), torch.tensor(labels)


def loader(examples):
    return DataLoader(examples, batch_size=64, shuffle=True, collate_fn=collate)


torch.manual_seed(0)
sequences = [torch.randint(1, 30, (int(torch.randint(3, 9, ())),)) for _ in range(600)]
examples = [(events, int((events > 20).sum().clamp(max=2))) for events in sequences]
model = Reader()
optimizer = torch.optim.Adam(model.parameters(), 0.02)
for _ in range(15):
    for events, labels in loader(examples):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(events), labels).backward()
        optimizer.step()

forget = [each for each in examples if each[1] == 2]  # two large events or more: that class is to go
retain = [each for each in examples if each[1] != 2]
contract = unweave.Contract(
    keep=[unweave.Keep("accuracy", absolute=0.1)], forget=[unweave.Forget("accuracy", at_most=0.05)]
)
result = unweave.unlearn(model, forget=loader(forget), retain=loader(retain), contract=contract)
print(result.task, result.contract, sep="\n")
