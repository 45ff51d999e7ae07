"""`unweave export`: a run's model as a folder that other servers load, and what rounding its weights brings back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from unweave import modalities
from unweave.audit.evidence_parts.robustness import BITS
from unweave.audit.robustness import quantised
from unweave.commands.progress import say
from unweave.commands.tables import score_table
from unweave.errors import ConfigurationError
from unweave.extras import needed
from unweave.modalities import read
from unweave.pretrained import merged
from unweave.run import directory, outcome
from unweave.store import write_json
from unweave.watch import watching

FILE = "export.json"


def main(
    run: Path,
    output: Path,
    *,
    merge: bool,
    gguf_ready: bool,
    dtype: str | None,
    scores: bool,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Writes the model of a finished run, reads it again, and scores it as it is and in 8 and 4 bits.

    Args:
        run: a run directory.
        output: a new folder.
        merge: adapters are added into the weights under them.
        gguf_ready: the same, and what llama.cpp's converter asks for is checked.
        dtype: of the written weights; None leaves each as it is.
        scores: the sheet of the exported model, and of its weights in 8 and 4 bits.
        overwrite: replace what is in the folder.
        as_json: print what `export.json` holds.

    Raises:
        ConfigurationError: the run has not ended or was changed, the folder is not empty, or a converter would not
            read it.
    """
    if not (run / "recipe.yaml").is_file():
        raise ConfigurationError(f"{run}: expected a run directory, found no recipe.yaml in it")
    if (finished := directory.finished(run, also={"model"})) is None:
        raise ConfigurationError(f"{run}: the run has not ended: first go on, unweave run --resume {run}")
    if output.exists() and any(output.iterdir() if output.is_dir() else [output]) and not overwrite:
        raise ConfigurationError(f"{output}: expected a new folder, found files: choose another, or --overwrite")
    recipe = read(run / "recipe.yaml", ["run.device=auto"])  # not where it ran, but where it is exported
    job: Any = modalities.job(recipe)
    with watching() as watch:
        model = job.opened(run, watch)
        what = f"{run}: the model that this run left, what its adapters stand on included"
        directory.check_weights(model, finished["model_after"], what, run / directory.SUMMARY)
        made = merged(model) if merge or gguf_ready else model
        if dtype is not None:
            made = made.to(getattr(torch, dtype))
        job.save(made, output)
        if gguf_ready and (faults := list(_not_ready(output, made))):
            raise ConfigurationError([f"--gguf-ready: {fault}" for fault in faults])
        known = json.loads((run / "scores.json").read_text())["models"]
        shown = {name: known[name] for name in ("original", "unlearned", "retrained") if name in known}
        if scores:
            exported = made.float()
            sheets = {"exported": job.score(exported, "exported", None, watch)}
            for name, bits in BITS.items():
                sheets[name] = job.score(quantised(exported, bits), name, None, watch)
            shown |= outcome.scores(job, sheets)["models"]
    found = {"run": run.name, "merged": made is not model, "dtype": dtype, "models": shown}
    write_json(output / FILE, found)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    if scores:
        Console(highlight=False).print(score_table(shown, {}, everything=False))
        say("int8 and int4: weights rounded in groups, as servers do; what comes back there is not gone.")
    say(f"exported to {output}{', adapters merged' if made is not model else ''}")


def _not_ready(folder: Path, model: nn.Module) -> Iterator[str]:
    """What a converter to GGUF would miss."""
    config = json.loads((folder / "config.json").read_text()) if (folder / "config.json").is_file() else {}
    if not config.get("architectures"):
        yield "expected a folder of transformers whose config.json names its architecture; this model is none"
        return
    if not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        yield "expected tokenizer.json or tokenizer.model; the model came without one"
    if "quantization_config" in config:
        yield "the weights are quantised already: export the run of a model that is not"
    gguf, kind = needed("gguf", "gguf"), config.get("model_type", "")
    arch = next((arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == kind), None)
    if arch is None:
        yield f"GGUF has no architecture {kind!r}"
        return
    names = gguf.get_tensor_name_map(arch, config.get("num_hidden_layers", 0))
    unknown = [name for name in model.state_dict() if names.get_name(name, (".weight", ".bias")) is None]
    if unknown:
        yield f"GGUF's {kind!r} has no place for {len(unknown)} tensors, {', '.join(unknown[:3])} among them"
