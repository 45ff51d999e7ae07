"""Your own nn.Module and Dataset: everything below the line is what unlearning takes."""

import sys

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset

import unweave


class Digits(Dataset):
    def __init__(self):
        digits = load_digits()
        self.images, self.labels = torch.tensor(digits.images / 16).float(), torch.tensor(digits.target)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return self.images[i], self.labels[i]


def trained(data, epochs):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for images, labels in DataLoader(data, batch_size=64, shuffle=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
    return model


def accuracy(model, data):
    images, labels = next(iter(DataLoader(data, batch_size=len(data))))
    return float((model(images).argmax(1) == labels).float().mean())


torch.manual_seed(0)
smoke = "--smoke" in sys.argv
data = Digits()
model = trained(data, epochs=5 if smoke else 20)

# ------------------------------------------------------------
threes = (data.labels == 3).nonzero().flatten().tolist()
others = (data.labels != 3).nonzero().flatten().tolist()
forget, retain = Subset(data, threes), Subset(data, others)

# at most .1 nats worse on examples held out of the retain set; a model that has never seen a three recognises none
contract = unweave.Contract([unweave.Keep("loss", absolute=0.1)], [unweave.Forget("accuracy", at_most=0.0)])
result = unweave.unlearn(model, forget=forget, retain=retain, contract=contract, steps=10 if smoke else 100)

for name, each in (("original", model), ("unlearned", result.model)):
    print(f"{name:>9}: accuracy on threes {accuracy(each, forget):.2f}, others {accuracy(each, retain):.2f}")
print(f"{result.steps} steps in {result.seconds:.1f} s: {result.contract}")
