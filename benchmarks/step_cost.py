"""What a method's step costs, in units of the plain passes that it needs; every ratio from one run, interleaved.

    python benchmarks/step_cost.py [--model resnet18|stack|smollm2|smollm2-lora|digits] [--repeats N] [--threads N]

`resnet18` is ResNet-18 on 32x32 images, batch 64 + 64; `stack` is a language-model-sized stack of 400 tensors and
100 M parameters, 512 + 512 rows; `smollm2` is a Llama of SmolLM2-135M's size with random weights, 4 + 4 texts of 64
tokens, all of it or LoRA; `digits` is the UNet of `unweave demo --drawn`, 64 + 128 images, with what drawing the noise
of both batches costs beside two passes, and how long 1,000 images take. "trust region" is the default step, two in a
turn, as it looks at the forget side at every second one, and "repair" two of a `repair.Repair`; the others move by SGD.
Both sides of a ratio include the optimizer step (SGD without momentum). They are measured in turns, in processor time
with `--cpu-time`: on a machine that others use too, it changes less than the clock.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import resource
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unweave import Objectives, Pair, rules
from unweave.loop import OptimizerStep, Stepper
from unweave.losses import END, NPO, Ascent, Remembered, Until
from unweave.modalities.diffusion import networks as denoisers
from unweave.modalities.diffusion.evaluation.generate import generate
from unweave.modalities.diffusion.training import Training
from unweave.modalities.images import networks
from unweave.objectives import Loss
from unweave.pretrained import Lora, adapt
from unweave.repair import Repair
from unweave.tasks import Diffusion, Language, Schedule, Task, Vision
from unweave.trust import EVERY, TrustRegion

MODELS = ("resnet18", "stack", "smollm2", "smollm2-lora", "digits")
WIDTH = 706  # 200 layers of 706 x 706 weights and 706 biases: 99.8 M parameters


class Stack(nn.Module):
    """200 linear layers with residual connections: 400 tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(200))

    def forward(self, x: Tensor) -> Tensor:
        """Logits [b, WIDTH]."""
        for layer in self.layers:
            x = x + F.relu(layer(x)) * 0.05
        return x


def smollm2(lora: bool) -> nn.Module:
    """A Llama with the sizes of SmolLM2-135M and random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    heads = {"num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True}
    sizes = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "vocab_size": 49152}
    model: nn.Module = LlamaForCausalLM(LlamaConfig(**sizes, **heads))
    return adapt(model, Lora()) if lora else model


def texts(rows: int, tokens: int) -> dict[str, Tensor]:
    """Random tokens; the second half of each text is the answer."""
    ids = torch.randint(1, 49152, (rows, tokens))
    labels = ids.clone()
    labels[:, : tokens // 2] = -100
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels, "index": torch.arange(rows)}


def setting(name: str) -> tuple[nn.Module, Pair, Task]:
    """Model, one pair of batches, and what the model does."""
    torch.manual_seed(0)
    if name.startswith("smollm2"):
        model = smollm2(name.endswith("lora")).eval()
        for key, p in model.named_parameters():  # adapters that start at zero send no gradient to their partners
            if "lora_B" in key:
                nn.init.normal_(p, std=0.01)
        return model, Pair([texts(4, 64)], [texts(4, 64)]), Language()
    if name == "digits":
        size, schedule = (1, 8, 8), Schedule.of({"num_train_timesteps": 1000})
        model = denoisers.unet(10, size, (16, 32), Training()).build(0)
        sides = [{"x0": torch.rand(n, *size) * 2 - 1, "condition": torch.randint(0, 10, (n,))} for n in (64, 128)]
        draws = [[torch.arange(n)] for n in (64, 128)]  # as `Pairs` says them: every look sees the same noise
        return model.eval(), Pair([sides[0]], [sides[1]], draws=draws), Diffusion(schedule, null=10, dropout=0.1)
    if name == "stack":
        model = Stack()
        sides = [(torch.randn(512, WIDTH), torch.randint(0, WIDTH, (512,))) for _ in range(2)]
    else:
        model = networks.build("resnet18", classes=10, channels=3)
        sides = [(torch.randn(64, 3, 32, 32), torch.randint(0, 10, (64,))) for _ in range(2)]
    return model.eval(), Pair([sides[0]], [sides[1]]), Vision()


# Rule, and the plain work that it needs: two passes kept apart, or one pass over both batches together. "NPO" is the
# forget loss in the place of ascent, its reference remembered; its plain work is ascent + retain in one pass.
ROWS: dict[str, tuple[Callable[[], rules.Rule], str, float]] = {
    "HAMU-Q, tensor": (lambda: rules.HAMU("forget", blocks="tensor"), "two passes", 1.03),
    "HAMU-Q, layer": (lambda: rules.HAMU("forget", blocks="layer"), "two passes", 1.03),
    "HAMU-Q, model": (lambda: rules.HAMU("forget", blocks="model"), "two passes", 1.03),
    "HAMU-U, tensor": (lambda: rules.HAMU("retain", blocks="tensor"), "two passes", 1.03),
    "PCGrad": (rules.PCGrad, "two passes", 1.03),
    "UnilateralSurgery": (rules.UnilateralSurgery, "two passes", 1.03),
    "EUPMU, next_batch": (lambda: rules.EUPMU(dual_lr=0.1), "joint pass", 1.03),
    "Fixed": (lambda: rules.Fixed(1.0, 1.0), "joint pass", 1.05),
    "NPO, remembered": (lambda: rules.Fixed(1.0, 1.0), "joint pass", 1.02),
    "HAMU-Q, trust region": (lambda: rules.HAMU("forget"), "two passes", 1.35),
    "repair": (lambda: rules.HAMU("forget"), "two passes", 1.35),
    "OFMU, inner step": (lambda: rules.OFMU(inner_lr=1e-9, curvature="finite", one_sided=True), "two passes", 2.3),
}


def plain(model: nn.Module, pair: Pair, task: Task, optimizer: torch.optim.Optimizer, work: str) -> None:
    """The passes alone, each with its own gradient, then one optimizer step."""
    forget, retain = pair.forget[0], pair.retain[0]
    optimizer.zero_grad()
    if work == "joint pass":
        (task.nll(model, retain).mean() - task.nll(model, forget).mean()).backward()
    else:
        (-task.nll(model, forget).mean()).backward()
        kept = [p.grad for p in model.parameters()]
        optimizer.zero_grad()
        task.nll(model, retain).mean().backward()
        del kept
    optimizer.step()
    optimizer.zero_grad()  # both sides free their gradients themselves


def main() -> None:
    """Prints one row a method: the median of the ratios of neighbouring measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, nargs="+", default=["resnet18", "stack"])
    parser.add_argument("--rows", nargs="+", choices=tuple(ROWS), help="those that the model can do")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu-time", action="store_true", help="processor time instead of the clock")
    parser.add_argument("--json", help="write the numbers to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found: list[dict[str, Any]] = []
    for name in options.model:
        model, pair, task = setting(name)
        clock = time.process_time if options.cpu_time else time.perf_counter
        size = sum(p.numel() for p in model.parameters())
        print(
            f"{name}: {len(list(model.parameters()))} tensors, {size / 1e6:.1f} M parameters, {options.threads} threads"
        )
        for row in options.rows or possible(task):
            found.append({"model": name, **measure(row, model, pair, task, options.repeats, clock)})
            print(
                "  {row:22s} {ratio:6.3f} x {work} ({low:.3f} to {high:.3f}), target {target}".format(**found[-1]),
                flush=True,
            )
        if isinstance(task, Diffusion):
            drawing(model, pair, task, options.repeats, clock)
        print(f"  peak memory so far {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB", end="")
        print(f"; parameters {size * 4 / 2**30:.2f} GiB")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(found, file, indent=2)


def possible(task: Task) -> list[str]:
    """NPO is for texts; OFMU's inner step is measured on the other models."""
    return [row for row in ROWS if row != ("OFMU, inner step" if isinstance(task, Language) else "NPO, remembered")]


def drawing(model: nn.Module, pair: Pair, task: Diffusion, repeats: int, clock: Callable[[], float]) -> None:
    """Prints what noise costs beside the passes that it is for, and how long 1,000 images take in 20 steps."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)
    shares, took = [], []
    for turn in range(repeats + 1):
        start = clock()
        plain(model, pair, task, optimizer, "two passes")
        middle = clock()
        task.draw(pair.forget[0])
        task.draw(pair.retain[0])
        end = clock()
        generate(model, task, torch.arange(1000) % 10, torch.arange(1000), (1, 8, 8))
        if turn:
            shares.append((end - middle) / (middle - start))
            took.append(clock() - end)
    print(f"  noise {100 * median(shares):.2f} % of two passes (target 2), 1,000 images in {median(took):.1f} s")


def measure(
    row: str, model: nn.Module, pair: Pair, task: Task, repeats: int, clock: Callable[[], float]
) -> dict[str, Any]:
    """Time of a method's step over that of the plain work, measured in turns."""
    build, work, target = ROWS[row]
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-9)
    forget: Loss = Ascent(task.nll)
    if row.startswith("NPO"):
        forget = NPO(task, Remembered(torch.full((4,), -300.0)))
    region = row in ("HAMU-Q, trust region", "repair")
    if region and not isinstance(task, Diffusion):  # as the call and recipes make it: where the loss is in nats
        forget = Until(forget, task, END)
    objectives = Objectives(model, (forget, task.nll)).at(pair)
    stepper: Stepper = TrustRegion(budget=math.inf, start=1e-7) if region else OptimizerStep(optimizer)
    repair = Repair(steps=1, share=0.99) if row == "repair" else None
    rule, ratios = build(), []

    def step() -> None:
        if repair is not None:
            assert repair.take(1, rule, stepper, objectives).accepted
        elif isinstance(rule, rules.OFMU):  # its inner step moves the parameters itself
            objectives.move(rule.inner_gradient(objectives)[1], -1e-9)
        else:
            stepper.take(1, rule, objectives)

    each = EVERY if region else 1
    for turn in range(repeats + 1):
        objectives.at(pair)
        times = []
        for job in (lambda: plain(model, pair, task, optimizer, work), step):
            gc.collect()
            start = clock()
            for _ in range(each):
                job()
            times.append(clock() - start)
        if turn:  # the first turn warms up
            ratios.append(times[1] / times[0])
    return {
        "row": row,
        "work": work,
        "ratio": median(ratios),
        "low": min(ratios),
        "high": max(ratios),
        "target": target,
    }


if __name__ == "__main__":
    main()
