"""What the other examples start from: a network that has learned digits, and a request to forget threes."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset

torch.manual_seed(0)
digits = load_digits()
images, labels = torch.tensor(digits.data / 16).float(), torch.tensor(digits.target)
three = labels == 3
forget, retain = TensorDataset(images[three], labels[three]), TensorDataset(images[~three], labels[~three])

model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
_optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for _ in range(100):
    _optimizer.zero_grad()
    nn.functional.cross_entropy(model(images), labels).backward()
    _optimizer.step()
