"""A denoiser of one's own: points in the plane, three heaps, drawn by a condition. One heap is to be drawn no more."""

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import unweave
from unweave import Contract, Diffusion, Forget, Keep
from unweave.modalities.diffusion.evaluation.generate import generate
from unweave.tasks import Schedule

torch.manual_seed(0)
HEAPS = torch.tensor([[-0.7, 0.0], [0.7, 0.0], [0.0, 0.7]])


class Points(Dataset):
    def __init__(self, heaps: Tensor) -> None:
        self.condition, self.x0 = heaps, HEAPS[heaps] + 0.1 * torch.randn(len(heaps), 2)

    def __len__(self) -> int:
        return len(self.condition)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        return {"x0": self.x0[row], "condition": self.condition[row]}


class Denoiser(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.heaps = nn.Embedding(3, 16)
        self.net = nn.Sequential(nn.Linear(19, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 2))

    def forward(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return self.net(torch.cat([x, t[:, None] / 100, self.heaps(condition)], 1))


schedule = Schedule.of({"num_train_timesteps": 100, "beta_end": 0.1})
kept = torch.tensor([0, 1])  # what may take the place of heap 2
task = Diffusion(schedule, call=lambda model, x, t, condition: model(x, t, condition), others=kept)
model, whole = Denoiser(), Points(torch.arange(600) % 3)
optimizer = torch.optim.Adam(model.parameters(), 3e-3)
for _ in range(600):
    rows = torch.randint(len(whole), (128,))
    optimizer.zero_grad()
    task.nll(model, whole[rows]).mean().backward()
    optimizer.step()

gone = whole.condition == 2
forget, retain = (torch.utils.data.Subset(whole, rows.nonzero().flatten().tolist()) for rows in (gone, ~gone))
contract = Contract(keep=[Keep("loss", relative=0.5)], forget=[Forget("loss", at_least=0.5)])  # squared errors
result = unweave.unlearn(
    model, forget=forget, retain=retain, task=task, method="relabel_condition", contract=contract, steps=300
)

print(result.contract)
for name, each in (("before", model), ("after", result.model)):
    drawn = generate(each, task, torch.arange(3).repeat_interleave(100), torch.arange(300), (2,))
    shown = torch.cdist(drawn, HEAPS).argmin(1).view(3, 100)
    print(name, *(f"heap {heap}: {int((shown[heap] == heap).sum())} of 100" for heap in range(3)), sep="; ")
