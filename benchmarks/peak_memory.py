"""Peak memory of one step: losses that look at the original model, with LoRA, and rules, with all weights.

    python benchmarks/peak_memory.py [--of losses rules kept drawn] [--rows N] [--tokens N] [--latents N] [--threads N]

The model is a Llama of SmolLM2-135M's size with random weights; of `drawn` it is a UNet of the shape of Stable
Diffusion 1.4, with LoRA of rank 4, one latent image of so many pixels a side and its text on each side, and Adam.
Losses are given beside ascent and retain in one pass, rules beside the two plain passes that they need, the first
gradient kept. The optimizer of rules is SGD, which has no state; AdamW has two more sizes of the model; the trust
region has no state, and keeps the weights from before the step. `kept` has some rules under each `memory`; with less
than "fast" the trust region's copy lies elsewhere (`place`), and is not counted.
Bytes are counted, not sampled: every storage that an operator returns counts from then until it is freed, the model's
own from the start. So the numbers are the same on every machine and in every run; what a kernel allocates and frees
inside is not seen.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
from collections.abc import Callable

import torch
from live_bytes import Live
from step_cost import smollm2, texts
from torch import Tensor, nn

from unweave import Diffusion, Objectives, Pair, rules
from unweave.footprint import MEMORIES
from unweave.gramian import Memory
from unweave.loop import OptimizerStep, Stepper
from unweave.losses import NPO, Ascent, Divergence, Remembered, frozen, reference
from unweave.modalities.diffusion.lora import Lora, adapted
from unweave.objectives import Loss
from unweave.tasks import Language, Schedule, Task
from unweave.trust import TrustRegion

Losses = tuple[Loss, Loss]


def _ascent(task: Language, model: nn.Module) -> Losses:
    return Ascent(task.nll), task.nll


def _npo_remembered(task: Language, model: nn.Module) -> Losses:
    return NPO(task, Remembered(torch.full((64,), -300.0))), task.nll


def _npo_off(task: Language, model: nn.Module) -> Losses:
    return NPO(task, reference(model)), task.nll


def _kl_off(task: Language, model: nn.Module) -> Losses:
    return Ascent(task.nll), Divergence(task, reference(model))


def _npo_copy(task: Language, model: nn.Module) -> Losses:
    return NPO(task, frozen(copy.deepcopy(model))), task.nll


def _kl_copy(task: Language, model: nn.Module) -> Losses:
    return Ascent(task.nll), Divergence(task, frozen(copy.deepcopy(model)))


ROWS: dict[str, Callable[[Language, nn.Module], Losses]] = {
    "ascent + retain": _ascent,
    "NPO, remembered": _npo_remembered,
    "NPO, adapters off": _npo_off,
    "KL, adapters off": _kl_off,
    "NPO, a second model": _npo_copy,
    "KL, a second model": _kl_copy,
}


EXACT = "OFMU, exact"  # left out unless it is asked for: it takes more than 15 GiB
RULES: dict[str, Callable[[], rules.Rule]] = {
    "joint pass": lambda: rules.Fixed(1.0, 1.0),
    "HAMU-Q, tensor": lambda: rules.HAMU("forget", blocks="tensor"),
    "HAMU-Q, model": lambda: rules.HAMU("forget", blocks="model"),
    "PCGrad": rules.PCGrad,
    "UnilateralSurgery": rules.UnilateralSurgery,
    "EUPMU, next_batch": lambda: rules.EUPMU(dual_lr=0.1),
    "OFMU": rules.OFMU,
    "OFMU, finite": lambda: rules.OFMU(curvature="finite"),
    EXACT: lambda: rules.OFMU(curvature="exact"),
}


def peak_of_losses(name: str, rows: int, tokens: int) -> int:
    """Bytes at the highest point of one step with LoRA and AdamW, model and optimizer included."""
    model, task, pair = _setting(True, rows, tokens)
    losses = ROWS[name](task, model)
    stepper = OptimizerStep(torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4))
    return peak(model, stepper, rules.Fixed(1.0, 1.0), Objectives(model, losses).at(pair), losses)


KEPT = ("HAMU-Q, tensor", "HAMU-Q, model", "UnilateralSurgery", "EUPMU, next_batch")
"""Rules that are counted under each memory."""


def peak_of_rule(name: str, region: bool, rows: int, tokens: int, memory: Memory = "fast") -> int:
    """Bytes at the highest point of one step on all weights, with SGD or in a trust region."""
    model, task, pair = _setting(False, rows, tokens)
    losses = _ascent(task, model)
    stepper: Stepper = TrustRegion() if region else OptimizerStep(torch.optim.SGD(model.parameters(), lr=1e-9))
    if isinstance(stepper, TrustRegion) and memory != "fast":
        stepper.place = "disk"
    return peak(model, stepper, RULES[name](), Objectives(model, losses, memory=memory).at(pair), losses)


DRAWN = ("joint pass", "EUPMU, next_batch", "HAMU-Q, tensor", "HAMU-Q, model", "UnilateralSurgery")
"""Rules that are counted on the UNet."""


def peak_of_drawn(name: str, latents: int) -> int:
    """Bytes at the highest point of one step on adapters of a UNet, with Adam."""
    model, task, pair = _drawn(latents)
    losses = (Ascent(task.nll), task.nll)
    stepper = OptimizerStep(torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-4))
    return peak(model, stepper, RULES[name](), Objectives(model, losses).at(pair), losses)


def _drawn(latents: int) -> tuple[nn.Module, Diffusion, Pair]:
    """Stable Diffusion 1.4's UNet is what diffusers builds where nothing but these two is said."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    model = adapted(UNet2DConditionModel(sample_size=latents, cross_attention_dim=768), Lora(rank=4)).eval()
    schedule = Schedule.of({"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012})
    sides = [{"x0": torch.randn(1, 4, latents, latents), "condition": torch.randn(1, 77, 768)} for _ in range(2)]
    return model, Diffusion(schedule), Pair([sides[0]], [sides[1]])


def two_passes(model: nn.Module, task: Task, pair: Pair) -> int:
    """Bytes at the highest point of the two passes alone, the first gradient kept."""
    live = _alive(model)
    with live:
        (-task.nll(model, pair.forget[0]).mean()).backward()
        kept = [p.grad for p in model.parameters()]
        model.zero_grad()
        task.nll(model, pair.retain[0]).mean().backward()
    del kept
    return live.peak


def peak(model: nn.Module, stepper: Stepper, rule: rules.Rule, objectives: Objectives, losses: Losses) -> int:
    """Bytes at the highest point of one step."""
    live = _alive(model)
    live.add([p for loss in losses for p in _models(loss)])
    with live:
        stepper.take(1, rule, objectives)
    return live.peak


def _setting(lora: bool, rows: int, tokens: int) -> tuple[nn.Module, Language, Pair]:
    torch.manual_seed(0)
    return smollm2(lora=lora).eval(), Language(), Pair([texts(rows, tokens)], [texts(rows, tokens)])


def _alive(model: nn.Module) -> Live:
    live = Live()
    live.add([*model.parameters(), *model.buffers()])
    return live


def _models(loss: Loss) -> list[Tensor]:
    """Weights of a second model, if the loss holds one."""
    other = getattr(loss, "reference", None)
    return list(other.parameters()) if isinstance(other, nn.Module) else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--of", nargs="+", choices=("losses", "rules", "kept", "drawn"), default=["losses", "rules"])
    parser.add_argument("--rules", nargs="+", choices=tuple(RULES), default=[name for name in RULES if name != EXACT])
    parser.add_argument("--rows", type=int, default=4, help="texts on each side")
    parser.add_argument("--tokens", type=int, default=64, help="of each text")
    parser.add_argument("--latents", type=int, default=64, help="pixels a side of a latent image; 64 is one of 512")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", help="write the numbers to this file")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    size = (options.rows, options.tokens)
    found: dict[str, dict[str, int]] = {}
    if "losses" in options.of:
        found["losses"] = {}
        for name in ROWS:
            told(found["losses"], name, peak_of_losses(name, *size), "ascent + retain")
    if "rules" in options.of:
        found["rules"] = {}
        told(found["rules"], "two passes", two_passes(*_setting(False, *size)), "two passes")
        for name in options.rules:
            for region in (False, True):
                place = f"{name}, {'trust region' if region else 'SGD'}"
                told(found["rules"], place, peak_of_rule(name, region, *size), "two passes")
    if "kept" in options.of:
        found["kept"] = {}
        whole = _setting(False, *size)[0]
        told(found["kept"], "weights", sum(p.numel() * p.element_size() for p in whole.parameters()), "weights")
        for name in KEPT:
            for memory in MEMORIES:
                for region in (False, True):
                    if MEMORIES.index(memory) <= MEMORIES.index(RULES[name]().leanest):
                        place = f"{name}, {memory}, {'trust region' if region else 'SGD'}"
                        told(found["kept"], place, peak_of_rule(name, region, *size, memory), "weights")
    if "drawn" in options.of:
        found["drawn"] = {}
        told(found["drawn"], "two passes", two_passes(*_drawn(options.latents)), "two passes")
        for name in DRAWN:
            told(found["drawn"], name, peak_of_drawn(name, options.latents), "two passes")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(found, file, indent=2)


def told(found: dict[str, int], name: str, bytes_: int, unit: str) -> None:
    """Notes a row and prints it."""
    found[name] = bytes_
    gc.collect()
    print(f"{name:32s} {bytes_ / 2**20:8.1f} MiB, {bytes_ / found[unit]:.3f} of {unit}", flush=True)


if __name__ == "__main__":
    main()
