"""Train every CIFAR-10 reference model that the benchmark compares with; what is cached is skipped.

    python benchmarks/cifar10/train.py DATA [--seeds 0 1 2] [--threads 2]

DATA holds train*.parquet and test*.parquet, or cifar-10-batches-py. Models go to $UNWEAVE_CACHE.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from unweave.data.splits import by_class, by_index, by_random_fraction, hardness_mix
from unweave.modalities.images.recipe import poison_swap
from unweave.modalities.images.sources import cifar10
from unweave.modalities.images.tensors import TensorImages
from unweave.modalities.images.training import CIFAR10, Epoch, Network, trained

NETWORK = Network("cifar_net", classes=10, channels=3)


def trainings(data: TensorImages, seed: int) -> Iterator[tuple[str, TensorImages]]:
    """Name and training set of every reference model of one seed, the most needed first."""
    yield "original", data
    yield "retrained without class 0", data.subset(by_class(data.labels, 0).retain)
    labels, poisoned = poison_swap(data.labels, 3, 5, share=0.5, seed=seed)
    yield "poisoned original", data.relabelled(labels)
    yield "retrained without the poisoned rows", data.subset(by_index(poisoned, len(data)).retain)
    if seed == 0:
        yield "retrained without 10 %", data.subset(by_random_fraction(len(data), 0.1, seed).retain)
        yield "retrained without the mix", data.subset(hardness_mix(data.labels, 0, 0.5, seed).retain)


def accuracy(model: torch.nn.Module, data: TensorImages) -> float:
    """Share of `data` that the model gets right."""
    with torch.inference_mode():
        right = [
            (model(images).argmax(1) == labels).sum()
            for images, labels in map(data.batch, torch.arange(len(data)).split(500))
        ]
    return float(torch.stack(right).sum()) / len(data)


def main() -> None:
    """Train all of them in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    source = cifar10(options.data)
    data, test = source.train, source.test

    def progress(epoch: Epoch) -> None:
        score = accuracy(epoch.model, test)
        place = f"epoch {epoch.number}/{epoch.total}"
        print(f"  {place} loss {epoch.loss:.4f} test {score:.4f} {epoch.seconds:.0f} s", flush=True)

    for seed in options.seeds:
        for name, part in trainings(data, seed):
            start = time.perf_counter()
            print(f"seed {seed}: {name}, {len(part)} examples", flush=True)
            model = trained(NETWORK, part, replace(CIFAR10, seed=seed), progress)
            print(f"  done: test {accuracy(model, test):.4f}, {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
