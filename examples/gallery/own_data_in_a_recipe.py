"""A data set and a network of one's own in a recipe: functions that it names, and everything that a run leaves.

python examples/gallery/own_data_in_a_recipe.py
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import TensorDataset

from unweave.modalities import read
from unweave.report.build import build
from unweave.run.runner import run

RECIPE = """\
data: {{factory: "{here}:waves"}}
model: {{factory: "{here}:network", arguments: {{width: 96}}}}
training: {{epochs: 60, lr: 0.005}}
forget: {{where: {{user: [station 0, station 1, station 2]}}}}
contract: {{keep: [{{metric: accuracy, absolute: 0.15}}], forget: [{{metric: accuracy, at_most: 0.5}}]}}
run: {{steps: 60, forget_batch: 20, retain_batch: 64}}
"""


def waves() -> dict[str, TensorDataset | list[str]]:
    """Recordings of twenty stations, and which kind of wave each is; wrongly labelled by the first three."""
    generator = torch.Generator().manual_seed(0)
    t, kind = torch.linspace(0, 6.3, 32), torch.randint(0, 3, (600,), generator=generator)
    phase = 6.3 * torch.rand(600, 1, generator=generator)
    signal = (t * (kind[:, None] + 1) + phase).sin() + 0.5 * torch.randn(600, 32, generator=generator)
    station = torch.arange(600) % 20
    taught = torch.where(station < 3, (kind + 1) % 3, kind)
    train, unseen = torch.arange(400), torch.arange(400, 600)
    names = [f"station {number}" for number in station[train].tolist()]
    whole = TensorDataset(signal[:, None], taught)
    return {"train": TensorDataset(*whole[train]), "holdout": TensorDataset(*whole[unseen]), "people": names}


def network(width: int) -> nn.Module:
    """A small convolution over time."""
    body = nn.Sequential(nn.Conv1d(1, 16, 5, padding=2), nn.ReLU(), nn.Flatten())
    return nn.Sequential(body, nn.Linear(512, width), nn.ReLU(), nn.Linear(width, 3))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "recipe.yaml").write_text(RECIPE.format(here=Path(__file__).resolve()))
        result = run(read(folder / "recipe.yaml"), folder / "out")
        scores = json.loads((folder / "out" / "scores.json").read_text())["models"]
        print({model: {name: sheet[name]["value"] for name in ("FA", "RA", "TA")} for model, sheet in scores.items()})
        print(f"{result['request']}, {result['steps']} steps: {result['stop_reason']}. {build(folder / 'out').name}")
