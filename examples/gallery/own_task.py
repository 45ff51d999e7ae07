"""A task of one's own in two functions: counts, as Poisson has them. docs/your-own-task.md says more."""

import torch
from torch import nn
from torch.utils.data import TensorDataset

import unweave
from unweave.evaluation import score


class Counts:
    """The model gives log rates, `[b, 1]`; batches are `(inputs, counts)`. Nats above an exact prediction."""

    classed = False  # a count is no class

    def nll(self, model, batch):
        log_rate, count = model(batch[0])[:, 0], batch[1].float()
        return log_rate.exp() - count + torch.xlogy(count, count) - count * log_rate

    def divergence(self, model, reference, batch):
        with torch.no_grad():
            before = reference(batch[0])[:, 0]
        now = model(batch[0])[:, 0]
        return before.exp() * (before - now) - before.exp() + now.exp()


torch.manual_seed(0)
x = torch.randn(700, 5)
visits = torch.poisson((1 + x[:, 0] + 0.5 * x[:, 1]).clamp(max=3).exp()).long()
visits[:40] += 12  # a machine's
task = Counts()
model = nn.Sequential(nn.Linear(5, 256), nn.ReLU(), nn.Linear(256, 1))
optimizer = torch.optim.Adam(model.parameters(), 0.01)
for _ in range(400):
    optimizer.zero_grad()
    task.nll(model, (x[:500], visits[:500])).mean().backward()
    optimizer.step()

forget, retain, unseen = (TensorDataset(x[a:b], visits[a:b]) for a, b in ((0, 40), (40, 500), (500, 700)))
contract = unweave.Contract(
    keep=[unweave.Keep("loss", absolute=0.5)],  # nats
    forget=[unweave.Forget("loss", at_least=4.0)],
)
result = unweave.unlearn(model, task=task, forget=forget, retain=retain, contract=contract)
print(result.contract)
for name, each in (("before", model), ("after", result.model)):
    scores = score(each, task, forget=forget, retain=retain, test=unseen)
    print(name, scores["forget_loss"], scores["retain_loss"], sep="; ")
