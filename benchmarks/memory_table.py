"""Memory of a step on Llamas of three sizes, by the library's own arithmetic (`unweave.footprint`).

    python benchmarks/memory_table.py

Peaks in GB (10^9 bytes) on the device, and what lies elsewhere. All passes are float32, blocks are recomputed, and a
micro-batch has four texts of 128 tokens, half of them answers. Full: all weights move. LoRA: rank 16, on a frozen base
in bfloat16. "Default": a trust region under a contract, with its repair; "SGD": neither.
"""

from __future__ import annotations

from transformers import LlamaConfig

from unweave.footprint import MEMORIES, kept
from unweave.gramian import Memory
from unweave.modalities.texts.memory import activations
from unweave.rules import EUPMU, HAMU, Rule

GB = 1e9
TEXTS, TOKENS, ANSWER, VOCABULARY = 4, 128, 64, 128256
SHAPES = {  # numbers; layers, width, feed-forward, heads, key heads; numbers of adapters of rank 16
    "1B": (1.236e9, (16, 2048, 8192, 32, 8), 11.3e6),
    "8B": (8.030e9, (32, 4096, 14336, 32, 8), 41.9e6),
    "70B": (70.554e9, (80, 8192, 28672, 64, 8), 207.1e6),
}
RULES: dict[str, Rule] = {
    "HAMU, by tensor": HAMU(),
    "HAMU, whole model": HAMU(blocks="model"),
    "EUPMU, NPO, GradDiff": EUPMU(),
}
RUNS = {"default": (None, True, 2.0), "SGD": (0, False, None)}


def passes(shape: tuple[int, ...], memory: Memory) -> int:
    """Bytes of what is kept for the backward pass."""
    layers, width, inner, heads, keys = shape
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=keys,
    )
    tokens = {"tokens": TEXTS * TOKENS, "answers": TEXTS * ANSWER}
    return (2 if memory == "least" else 1) * activations(config, **tokens, width=4, checkpointing=True)


def peak(size: str, lora: bool, rule: Rule, run: str, memory: Memory) -> tuple[float, float]:
    """GB on the device, and elsewhere."""
    numbers, shape, adapters = SHAPES[size]
    moving = adapters if lora else numbers
    states, judged, averages = RUNS[run]
    place = "device" if memory == "fast" else "host"
    sizes = kept(rule, memory, place, states=states, judged=judged, averages=averages)
    weights = 2 * numbers + 4 * moving if lora else 4 * numbers
    largest = 0 if memory == "fast" else 4 * max(shape[1], shape[2]) * 16 if lora else 4 * VOCABULARY * shape[1]
    return (weights + 4 * moving * sizes.here + largest + passes(shape, memory)) / GB, 4 * moving * sizes.elsewhere / GB


def main() -> None:
    print("| | memory | " + " | ".join(SHAPES) + " |")
    print("|---|---|" + "---:|" * len(SHAPES))
    for lora in (False, True):
        for run in RUNS:
            for name, rule in RULES.items():
                for memory in MEMORIES[: MEMORIES.index(rule.leanest) + 1]:
                    cells = [peak(size, lora, rule, run, memory) for size in SHAPES]
                    told = [f"{here:.1f}" + (f" + {off:.1f}" if off else "") for here, off in cells]
                    kind = "LoRA" if lora else "full"
                    print(f"| {name}, {kind}, {run} | {memory} | " + " | ".join(told) + " |")


if __name__ == "__main__":
    main()
