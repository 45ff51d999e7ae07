"""Examples as mappings, several inputs by name: what the forward of the model takes, and a label."""

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import unweave


class Visits(Dataset):
    """Rows of {"vitals", "history", "label"}; the label a bool."""

    def __init__(self, vitals, history, label):
        self.columns = {"vitals": vitals, "history": history, "label": label}

    def __len__(self):
        return len(self.columns["label"])

    def __getitem__(self, row):
        return {name: column[row] for name, column in self.columns.items()}


class Risk(nn.Module):
    """Two inputs, two logits."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.head = nn.Linear(6, 256), nn.Linear(10, 256), nn.Linear(256, 2)

    def forward(self, vitals, history):
        return self.head((self.left(vitals) + self.right(history)).relu())


torch.manual_seed(0)
vitals, history = torch.randn(500, 6), torch.randn(500, 10)
ill = vitals[:, 0] + history[:, 0] + 0.5 * torch.randn(500) > 0
ill[:40] = ~ill[:40]  # another patient's result
model = Risk()
optimizer = torch.optim.Adam(model.parameters(), 5e-3)
for _ in range(60):
    for batch in DataLoader(Visits(vitals, history, ill), batch_size=100, shuffle=True):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(batch["vitals"], batch["history"]), batch["label"].long()).backward()
        optimizer.step()

forget, retain = (Visits(vitals[rows], history[rows], ill[rows]) for rows in (slice(0, 40), slice(40, None)))
contract = unweave.Contract(forget=[unweave.Forget("accuracy", at_most=0.5)])
result = unweave.unlearn(model, forget=forget, retain=retain, contract=contract)
print(result.task, result.contract, sep="\n")
