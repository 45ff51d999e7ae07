"""What a new user has: a model folder that knows some facts, the facts as JSONL, and ids to forget."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from tests._texts import llama, tokenizer
from unweave.modalities.texts.data import read_table, texts, tokenised
from unweave.modalities.texts.training import fit

NAMES = ["Ana", "Bela", "Caro", "Dana", "Enzo", "Fela", "Gita", "Hugo"]
PLACES = ["Lima", "Oslo", "Rome", "Cork", "Bern", "Kyiv", "Giza", "Nice"]
RECIPE = """\
data: {source: texts, path: facts.jsonl}
forget: {ids: request.txt}
model: {weights: model, lora: {rank: 4}}
method: {name: npo}
step: {name: adamw, lr: 3.0e-3}
contract: none
run: {steps: 4, forget_batch: 2, retain_batch: 4, checkpoint_every: 2}
evaluation: {quote: false, generate: 8, at_most: 6, relearning: {rows: 2, steps: 2, lr: 1.0e-3}}
"""


def facts() -> list[dict[str, str]]:
    found = []
    for i, (name, place) in enumerate(zip(NAMES, PLACES, strict=True)):
        answers = {"born": f"In {place}.", "work": f"As a {PLACES[i - 3]} guide.", "live": f"Near {place} {i}."}
        found += [
            {"id": f"{name}/{what}", "question": f"{what}: {name}?", "answer": answer}
            for what, answer in answers.items()
        ]
    return found


def made(folder: Path, **sizes: int) -> None:
    """Writes the files."""
    rows = facts()
    (folder / "facts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "request.txt").write_text("Ana/born\nAna/work\nAna/live\nBela/born\n")
    unseen = [{"question": f"{what}: Ines?", "answer": f"In {place}."} for what in ("born", "live") for place in PLACES]
    (folder / "holdout.jsonl").write_text("\n".join(map(json.dumps, unseen)))
    torch.manual_seed(0)
    own = tokenizer([f"{row['question']} {row['answer']}" for row in rows])
    model = llama(vocabulary=len(own), **({"hidden_size": 32} | sizes))
    for name in ("base", "model"):
        if name == "model":
            fit(model, tokenised(texts(read_table(folder / "facts.jsonl")), own), epochs=12, batch=8, lr=1e-2, seed=0)
        model.save_pretrained(folder / name)
        own.save_pretrained(folder / name)
