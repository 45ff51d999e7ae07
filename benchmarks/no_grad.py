"""What `torch.inference_mode()` would save in the place of `torch.no_grad()` (docs/design/0014-no-grad.md).

    python benchmarks/no_grad.py [--repeats N]

Forward passes of the sizes that evaluation makes, both modes in turns, processor time of one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from statistics import median, quantiles

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from unweave.modalities.images import networks

MODES = {"no_grad": torch.no_grad, "inference_mode": torch.inference_mode}


def passes() -> Iterator[tuple[str, nn.Module, Tensor, int]]:
    """Name, model, input, and how many passes one reading is made of."""
    torch.manual_seed(0)
    yield "digits_cnn, 512 images of 8x8", networks.build("digits_cnn", 10, 1), torch.rand(512, 1, 8, 8), 40
    yield "ResNet-20, 64 images of 32x32", networks.build("resnet20", 10), torch.rand(64, 3, 32, 32), 6
    small = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    llama: nn.Module = LlamaForCausalLM(LlamaConfig(**small, vocab_size=1500))
    yield "Llama of two layers, 8 texts of 64 tokens", llama, torch.randint(1500, (8, 64)), 20
    yield "the same, one text of 16 tokens", llama, torch.randint(1500, (1, 16)), 60


def ratios(model: nn.Module, inputs: Tensor, count: int, repeats: int) -> list[float]:
    """Time in inference mode over that without gradients, a ratio for each turn."""
    model.eval()
    found = []
    for _ in range(repeats):
        took = {}
        for name, mode in MODES.items():
            start = time.process_time()
            with mode():
                for _ in range(count):
                    model(inputs)
            took[name] = time.process_time() - start
        found.append(took["inference_mode"] / took["no_grad"])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=30)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    for name, model, inputs, count in passes():
        found = ratios(model, inputs, count, repeats)
        low, _, high = quantiles(found, n=4)
        print(f"{name}: {median(found):.3f} of no_grad (middle half {low:.3f} to {high:.3f})", flush=True)


if __name__ == "__main__":
    main()
