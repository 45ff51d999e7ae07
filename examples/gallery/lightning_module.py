"""A Lightning module, as its Trainer left it; the loaders are those of its data module."""

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset

import unweave


class Classifier(lightning.LightningModule):
    """What unweave needs of it is its forward."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 3))

    def forward(self, inputs):
        return self.layers(inputs)

    def training_step(self, batch, number):
        inputs, labels = batch
        return nn.functional.cross_entropy(self(inputs), labels)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.02)


class Numbers(lightning.LightningDataModule):
    """Three classes, of which 30 examples have another's label."""

    def __init__(self):
        super().__init__()
        labels = torch.arange(300) % 3
        inputs = 2.0 * torch.eye(3, 8)[labels] + 0.7 * torch.randn(300, 8)
        labels[:30] = (labels[:30] + 1) % 3
        self.examples = TensorDataset(inputs, labels)

    def train_dataloader(self, rows=range(300)):
        return DataLoader(Subset(self.examples, rows), batch_size=50, shuffle=True)


torch.manual_seed(0)
model, data = Classifier(), Numbers()
trainer = lightning.Trainer(
    max_epochs=25,
    accelerator="cpu",
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(model, data)

wrong, right = data.train_dataloader(range(30)), data.train_dataloader(range(30, 300))
keep = [unweave.Keep("accuracy", absolute=0.2)]
contract = unweave.Contract(keep=keep, forget=[unweave.Forget("accuracy", at_most=0.3)])
result = unweave.unlearn(model, forget=wrong, retain=right, contract=contract, steps=40)
print(result)
