"""What closed-form edits leave of a digit that a model draws by its text. `python benchmarks/drawn_texts.py`.

A small UNet with cross-attention learns to draw digits by texts ("a three"), which an encoder of random weights reads,
and a second one without the threes. UCE moves the matrices that read the embeddings, the other rows all weights. On
three seeds of the models, the batches and the noise. One line of JSON for a row in results/drawn-texts.jsonl; what is
there is skipped. `--table` prints the table of what is there and runs nothing. Each of the six trainings takes ten
minutes of one core, which is why no table of it is in the documentation yet.
"""

from __future__ import annotations

import argparse
import base64
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unweave.demos.compare import Entry, compared
from unweave.demos.drawn import ADAM, BATCHES, CLASS, STEPS
from unweave.execution import one_thread
from unweave.modalities.diffusion.build import request
from unweave.modalities.diffusion.evaluation.scores import score
from unweave.modalities.diffusion.evaluation.search import condition_search
from unweave.modalities.diffusion.job import DiffusionJob
from unweave.modalities.diffusion.recipe import DiffusionData, DiffusionEvaluation, DiffusionForget, DiffusionRecipe
from unweave.modalities.diffusion.sources import digits
from unweave.modalities.images.image_folder import png
from unweave.recipe.sections import OpenSection

RESULTS = Path(__file__).parent / "results" / "drawn-texts.jsonl"
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
LENGTH, WIDTH = 8, 32  # tokens of a text, its letters and two ends; numbers of an embedding
HEADS = {"UA_drawn": "UA %", "RA_drawn": "RA %", "search": "threes found by search %", "frechet": "Fréchet"}
EIGHT = {"guide": "a eight"}
RECE = {"rounds": 3, "lamb": 0.1, "preserve_scale": 0.1}  # as its paper has them
ENTRIES = (
    Entry("UCE, guide: nothing", "uce"),
    Entry("UCE, guide: an eight", "uce", EIGHT),
    Entry("UCE, 3 rounds", "uce", {**EIGHT, "rounds": 3}),
    Entry("RECE, as its paper sets it", "uce", {**EIGHT, **RECE}),
    Entry("relabel", "relabel_condition", {}, ADAM),
    Entry("HAMU-Q", "hamu_q", {}, ADAM),
)
ENDS = ("original", "retrained")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--table", action="store_true", help="print the table of what is there")
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    rows = [json.loads(line) for line in chosen.results.read_text().splitlines()] if chosen.results.exists() else []
    with tempfile.TemporaryDirectory() as folder, one_thread():
        for seed in [] if chosen.table else chosen.seeds:
            there = {row["name"] for row in rows if row["seed"] == seed}
            if there >= {*ENDS, *(entry.name for entry in ENTRIES)}:
                continue

            def keep(row: dict[str, Any]) -> None:
                rows.append(row)
                with chosen.results.open("a") as file:
                    print(json.dumps(row, allow_nan=False), file=file)

            run(job_of(Path(folder) / str(seed), seed), seed, there, keep)
            print(table([row for row in rows if row["seed"] == seed]), flush=True)
    print(table(rows))


def run(job: DiffusionJob, seed: int, there: set[str], keep: Callable[[dict[str, Any]], None]) -> None:
    """All rows of a seed that are not there."""

    def measure(name: str, model: nn.Module) -> dict[str, Any]:
        sheet = {**score(model, job.exam).scores, "search": condition_search(model, job.exam, None)}
        share = {key: None if (value := sheet[key].value) is None else 100 * value for key in list(HEADS)[:3]}
        return {**share, "frechet": sheet["frechet"].value, "n": {key: sheet[key].n for key in list(HEADS)[:3]}}

    original, retrained = job.opened(None, told), job.reference(1, told)
    assert retrained is not None, "it is known how the original was trained"
    for name, model in zip(ENDS, (original, retrained), strict=True):
        if name not in there:
            keep({"seed": seed, "name": name, **measure(name, model), "judge": job.judge.accuracy.value})
    batches = {"forget_batch": BATCHES[0], "retain_batch": BATCHES[1]}
    call = {"task": job.task, "forget": job.forget, "retain": job.retain, "steps": STEPS, "seed": seed, **batches}
    for entry in ENTRIES:
        if entry.name in there:
            continue
        [(row, _)] = compared(original, {}, measure, call, [entry], told)
        keep({"seed": seed, **{key: row[key] for key in ("name", *HEADS, "n", "steps", "seconds")}})


def job_of(folder: Path, seed: int) -> DiffusionJob:
    """The digits as captioned pictures, an untrained pipeline, and the request of threes."""
    source = digits()
    for name, part in (("train", source.train), ("test", source.test)):
        place, lines = folder / "pictures" / name, []
        place.mkdir(parents=True)
        for row, (image, label) in enumerate(zip(part.images, part.labels.tolist(), strict=True)):
            (place / f"{row}.png").write_bytes(base64.b64decode(png(image)))
            lines.append(json.dumps({"file_name": f"{row}.png", "text": f"a {NAMES[label]}"}))
        (place / "metadata.jsonl").write_text("\n".join(lines) + "\n")
    pipeline(folder / "pipeline")
    recipe = DiffusionRecipe(
        data=DiffusionData(source="picture_folder", path=folder / "pictures", size=8),
        forget=DiffusionForget(prompts=f"a {NAMES[CLASS]}"),
        model={"weights": folder / "pipeline"},
        method={"name": "uce"},
        training=OpenSection(seed=seed, steps=4000),
        evaluation=DiffusionEvaluation(seed=seed, looks=1, attacks=None),
    )
    return request(recipe).seeded(seed)


def pipeline(folder: Path) -> None:
    """UNet, text encoder, tokenizer of letters and scheduler, as plain diffusers writes them."""
    from diffusers import DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    place = folder / "tokenizer"
    place.mkdir(parents=True)
    (place / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (place / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer(str(place / "vocab.json"), str(place / "merges.txt"), model_max_length=LENGTH).save_pretrained(place)
    torch.manual_seed(0)
    text = CLIPTextConfig(
        hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=1, num_attention_heads=2,
        vocab_size=len(tokens), max_position_embeddings=LENGTH, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    CLIPTextModel(text).save_pretrained(folder / "text_encoder", safe_serialization=True)
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=3, out_channels=3, layers_per_block=1, norm_num_groups=8,
        block_out_channels=(16, 32), attention_head_dim=8, cross_attention_dim=WIDTH,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )  # fmt: skip
    unet.save_pretrained(folder / "unet", safe_serialization=True)
    DDPMScheduler().save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "scheduler": ["diffusers", "DDPMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    print(f"{sum(p.numel() for p in unet.parameters()):,} weights", flush=True)


def told(what: str, done: int, of: int) -> None:
    """When something begins or ends."""
    if done in (0, of):
        print(f"{time.strftime('%X')} {what} {done}/{of}", flush=True)


def table(rows: list[dict[str, Any]]) -> str:
    """A line for each model, seeds side by side."""
    found = {(row["name"], row["seed"]): row for row in rows}
    seeds = sorted({row["seed"] for row in rows})
    lines = [f"| | {' | '.join(HEADS.values())} |", f"|---|{'---:|' * len(HEADS)}"]
    for name in (*ENDS, *(entry.name for entry in ENTRIES)):
        of = [found[name, seed] for seed in seeds if (name, seed) in found]
        cells = [" / ".join(_number(row[key], key) for row in of) for key in HEADS]
        lines += [f"| {f'*{name}*' if name in ENDS else name} | {' | '.join(cells)} |"] if of else []
    return "\n".join(lines)


def _number(value: float | None, key: str) -> str:
    return "" if value is None else f"{value:.{1 if key == 'frechet' else 0}f}"


if __name__ == "__main__":
    main()
