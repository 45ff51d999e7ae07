"""The recipes that come with the project: each is read, and fits the GPU that its first line names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from unweave import modalities
from unweave.errors import ConfigurationError
from unweave.modalities import read
from unweave.modalities.texts.data import Text, TextRows
from unweave.modalities.texts.memory import estimate

FOLDER = Path(__file__).parents[3] / "examples" / "recipes"
GPUS = sorted(path.name for path in FOLDER.glob("llama-*.yaml"))
LONGEST, ANSWER = 200, 120  # tokens of TOFU's longest example in a Llama template, and of its answer
SIZES: dict[str, dict[str, Any]] = {
    "llama-3.2-1b": {
        **{"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32},
        **{"num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": True},
    },
    "llama-3.2-3b": {
        **{"hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 28, "num_attention_heads": 24},
        **{"num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": True, "head_dim": 128},
    },
    "llama-2-7b": {
        **{"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32},
        **{"num_key_value_heads": 32, "vocab_size": 32000},
    },
}


def rows(n: int = 64) -> TextRows:
    starts, bounds = torch.full((n,), LONGEST - ANSWER), torch.arange(n + 1) * LONGEST
    texts = tuple(Text(str(i), (("user", "q"),), "a") for i in range(n))
    return TextRows(texts, torch.zeros(n * LONGEST, dtype=torch.int32), bounds, starts, torch.arange(n))


@pytest.mark.parametrize("name", GPUS)
def test_a_recipe_fits_the_gpu_that_it_names(name: str) -> None:
    transformers = pytest.importorskip("transformers")
    path = FOLDER / name
    recipe, config = read(path), transformers.LlamaConfig(**SIZES[name.rpartition("-")[0]])
    found = re.search(r"a GPU of (\d+) GB", path.read_text().splitlines()[0])
    assert found is not None
    needed = estimate(recipe, config, rows(), rows()).total / 2**30
    assert 0.3 * int(found[1]) < needed < 0.93 * int(found[1]), f"{needed:.1f} GiB"


def test_all_are_read() -> None:
    elsewhere = ("ddpm-", "sd-")  # need data and models that are not here: tests/modalities/diffusion/test_recipes.py
    every = {path.name: read(path) for path in FOLDER.glob("*.yaml") if not path.name.startswith(elsewhere)}
    assert every.keys() > set(GPUS)
    assert every["smollm2-tofu.yaml"].model.base is not None and every["digits-to-draw.yaml"].forget is not None


def test_a_recipe_is_read_without_its_models_and_a_run_says_how_to_get_them(tmp_path: Path) -> None:
    """Nothing of them is loaded, and nothing of the data thrown away: what else is wrong is told with it."""
    named = "weights: ~/gone, base: nobody/nothing, adapter: here/and/not"
    (tmp_path / "texts.yaml").write_text(
        "data: {source: texts, path: texts.yaml}\nforget: {random: 0.1}\nevaluation: {reference: gone/for/good}\n"
        f"model: {{{named}}}\n"
    )
    (tmp_path / "images.yaml").write_text(
        "data: {source: digits}\nforget: {class: three}\nmodel: {weights: gone.safetensors}\n"
    )
    texts, images = read(tmp_path / "texts.yaml"), read(tmp_path / "images.yaml")
    assert texts.model.weights == Path.home() / "gone" and texts.model.base == Path("nobody/nothing")
    with pytest.raises(ConfigurationError) as caught:
        modalities.job(texts)
    told = [fault.split(": ")[0] for fault in caught.value.faults]
    assert told[:3] == ["model.weights", "model.adapter", "evaluation.reference"] and "texts.yaml" in told[3]
    assert "hf download" in caught.value.faults[0] and "scripts/smollm2.py" in caught.value.faults[0]
    with pytest.raises(ConfigurationError) as caught:
        modalities.job(images)
    assert "no class is named 'three'" in caught.value.faults[0] and len(caught.value.faults) == 2
    assert f"model.weights: no such file or folder: {tmp_path / 'gone.safetensors'}" in caught.value.faults[1]
    (tmp_path / "long.yaml").write_text((tmp_path / "images.yaml").read_text().replace("gone", "g" * 5000))
    with pytest.raises(ConfigurationError, match="File name too long"):
        read(tmp_path / "long.yaml")
