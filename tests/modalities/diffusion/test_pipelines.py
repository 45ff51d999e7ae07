"""Pipelines of texts and latents: a recipe goes all the way, and plain diffusers has what it left."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from tests.modalities.diffusion._pictures import pictures as shapes
from tests.modalities.diffusion._pipeline import PROMPTS, RECIPE, captioned, pipeline
from unweave.cli import main
from unweave.errors import ConfigurationError
from unweave.losses import AdaptersOff, reference
from unweave.modalities import job, read
from unweave.modalities.diffusion import folders, frozen
from unweave.modalities.diffusion.evaluation.search import Attack, attacks, condition_search, searched
from unweave.modalities.diffusion.frozen import Frozen

pytestmark = [
    pytest.mark.filterwarnings("ignore::unweave.guards.GuardWarning"),  # of weights that are random
    pytest.mark.slow,  # a run on a pipeline, which all of them look at, takes ten seconds
]
Told = pytest.CaptureFixture[str]
UNJUDGED = RECIPE.replace("looks: 2", "looks: 2, judge: none")
ADAPTED = (
    UNJUDGED.replace("{weights: pipeline}", "{weights: pipeline, lora: {rank: 2, alpha: 8}}")
    .replace("{name: relabel_condition, to: a square}", "{name: esd}\nstep: {name: adam, lr: 1.0e-2}")
    .replace("guidance: 1.0", "guidance: 2.0")
)
RECIPES = Path(__file__).parents[3] / "examples" / "recipes"
CPU = torch.device("cpu")


def command(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(each) for each in arguments])
    return int(caught.value.code or 0)


def result(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline, pictures, and what two runs left: of all weights, and of adapters."""
    folder = tmp_path_factory.mktemp("world")
    pipeline(folder / "pipeline"), captioned(folder / "pictures")
    (folder / "pipeline" / "v1.ckpt").write_bytes(b"the original's weights, once more")
    for name, text in (("whole", RECIPE), ("adapted", ADAPTED)):
        (folder / f"{name}.yaml").write_text(text)
        assert command("run", folder / f"{name}.yaml", "-o", folder / name) == 0
    return folder


@pytest.fixture
def write(world: Path) -> Callable[[str], Path]:
    def written(text: str) -> Path:
        (world / "recipe.yaml").write_text(text)
        return world / "recipe.yaml"

    return written


def asked(model: torch.nn.Module, embeddings: torch.Tensor) -> torch.Tensor:
    x = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model(x, torch.tensor([500]), encoder_hidden_states=embeddings[None]).sample


def test_a_run_on_captions_is_judged_and_shown(world: Path) -> None:
    scores = result(world / "whole", "scores.json")["models"]
    assert {"UA_drawn", "RA_drawn", "forget_denoising"} <= scores["unlearned"].keys()
    assert scores["unlearned"]["UA_drawn"]["n"] == 20
    assert "prompt a top bar" in (world / "whole" / "report.html").read_text()
    assert (world / "whole" / "grid.png").is_file()


def test_without_a_judge_nothing_is_judged_and_pictures_are_shown(world: Path) -> None:
    scores = result(world / "adapted", "scores.json")["models"]["unlearned"]
    assert "forget_denoising" in scores and not {"UA_drawn", "RA_drawn", "frechet", "KID", "leak"} & scores.keys()
    assert (world / "adapted" / "grid.png").is_file()


def test_plain_diffusers_in_another_process_has_the_same_models(world: Path, tmp_path: Path) -> None:
    code = f"""
import sys, torch, safetensors.torch
from diffusers import StableDiffusionPipeline
assert "unweave" not in sys.modules
torch.set_num_threads(1)  # as here: the last digits follow the threads
x = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
def asked(pipe):
    with torch.no_grad():
        embeddings = pipe.encode_prompt("a top bar", "cpu", 1, False)[0]
        return embeddings, pipe.unet(x, torch.tensor([500]), encoder_hidden_states=embeddings).sample
whole = StableDiffusionPipeline.from_pretrained({str(world / "whole" / "model")!r}, use_safetensors=True)
plain = StableDiffusionPipeline.from_pretrained({str(world / "pipeline")!r}, use_safetensors=True)
found = {{"whole": asked(whole)[1], "plain": asked(plain)[1], "embeddings": asked(plain)[0]}}
plain.load_lora_weights({str(world / "adapted" / "model")!r})
found["adapted"] = asked(plain)[1]
with torch.no_grad():
    picture = torch.linspace(-1, 1, 192).view(1, 3, 8, 8)
    latent = plain.vae.encode(picture).latent_dist.mean * plain.vae.config.scaling_factor
    found |= {{"latent": latent, "picture": plain.vae.decode(latent / plain.vae.config.scaling_factor).sample}}
found["drawn"] = torch.tensor(plain("a top bar", num_inference_steps=2, output_type="np").images).contiguous()
safetensors.torch.save_file(found, {str(tmp_path / "out.safetensors")!r})
"""
    ran = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert not ran.returncode, ran.stderr[-2000:]
    told, own = safetensors.torch.load_file(tmp_path / "out.safetensors"), {}
    around = Frozen(world / "pipeline", vae=True, texts=True, device=CPU)
    (embeddings,) = around.embedded(["a top bar"])
    torch.testing.assert_close(told["embeddings"][0], embeddings, rtol=1e-5, atol=1e-6)
    for name, folder in (("whole", "whole"), ("plain", "pipeline"), ("adapted", "adapted")):
        own[name] = asked(folders.opened(*folders.read(world / folder)), embeddings)
        torch.testing.assert_close(told[name], own[name], rtol=1e-4, atol=1e-5)
        assert name == "plain" or not torch.allclose(own[name], told["plain"], atol=1e-4)
    assert told["drawn"].shape == (1, 8, 8, 3)
    torch.testing.assert_close(told["picture"], around.pictures(told["latent"]), rtol=1e-4, atol=1e-5)


def test_all_else_of_the_pipeline_is_kept(world: Path) -> None:
    files = [path.relative_to(world / "pipeline") for path in (world / "pipeline").rglob("*") if path.is_file()]
    moved = Path("unet") / "diffusion_pytorch_model.safetensors"
    assert moved in files
    for each in files:
        if each.name == "v1.ckpt":
            assert not (world / "whole" / "model" / each).exists()
            continue
        same = (world / "pipeline" / each).read_bytes() == (world / "whole" / "model" / each).read_bytes()
        assert same or each == moved or each == Path("unet") / "config.json", each
    assert (world / "pipeline" / moved).read_bytes() != (world / "whole" / "model" / moved).read_bytes()


def test_only_adapters_move_and_stand_for_the_original_when_off(world: Path) -> None:
    made = job(read(world / "adapted.yaml"))
    model = made.opened(None)
    moving = [name for name, p in model.named_parameters() if p.requires_grad]
    assert moving and all("lora_" in name for name in moving)
    assert isinstance(reference(model), AdaptersOff)
    again = made.opened(None)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), again.parameters(), strict=True))


def test_a_run_with_adapters_is_evaluated_again_and_gone_on_with(world: Path, capsys: Told) -> None:
    before = result(world / "adapted", "scores.json")["models"]["unlearned"]
    capsys.readouterr()
    assert command("evaluate", world / "adapted", "--json") == 0
    assert json.loads(capsys.readouterr().out)["models"]["unlearned"] == before
    further = ["-s", "model={weights: adapted}"]
    assert command("run", world / "adapted.yaml", "-o", world / "further", *further) == 0
    summary = result(world / "further", "summary.json")
    assert summary["model_after"] != result(world / "adapted", "summary.json")["model_after"]
    files = sorted(path.name for path in (world / "further" / "model").iterdir())
    assert files == ["pytorch_lora_weights.safetensors", "unweave.json"]
    assert result(world / "further" / "model", "unweave.json")["base"] == str((world / "pipeline").resolve())
    again = ["-s", "model={weights: adapted, lora: {}}"]
    assert command("run", world / "adapted.yaml", "-o", world / "no", *again) == 2
    assert "leave lora out" in capsys.readouterr().err


def test_latents_and_embeddings_are_computed_once(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = job(read(world / "whole.yaml"))
    assert first.train.x0.shape == (96, 4, 4, 4) and first.train.conditions(torch.tensor([0, 1])).shape == (2, 12, 16)
    monkeypatch.setattr(frozen.Frozen, "_encoded", lambda *_: pytest.fail("encoded again"))
    monkeypatch.setattr(frozen.Frozen, "_encoded_texts", lambda *_: pytest.fail("embedded again"))
    again = job(read(world / "whole.yaml"))
    assert torch.equal(again.train.x0, first.train.x0) and again.train.fingerprint() == first.train.fingerprint()
    assert torch.equal(again.task.null, first.task.null)


def test_another_text_is_never_its_own(world: Path) -> None:
    made = job(read(world / "whole.yaml"))
    others = made.task.others
    assert others is not None and len(others) == len(PROMPTS) - 1, "those to keep"
    assert torch.equal(made.task.named("a square"), made.train.conditions(torch.tensor([1]))[0])


def test_concepts_are_drawn_by_the_original_once(
    world: Path, write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = UNJUDGED.replace(
        "{source: picture_folder, path: pictures}",
        "{source: drawn_concepts, prompts: [a top bar, a square], images: 5, sampling_steps: 2, guidance: 2.0}",
    )
    made = job(read(write(text)))
    assert len(made.pictures.labels) == 8 and made.text == "prompt a top bar"
    unjudged, told = made.notes
    assert "Nobody judges what is drawn" in unjudged and "The model itself drew the images" in told
    long = job(read(write(text.replace("a square]", "a square or another one]").replace("to: a square", "to: a bar"))))
    assert "1 of 2 texts have more tokens than the encoder reads" in long.notes[1]
    drawn = made.source
    assert drawn.train.images.shape == (8, 3, 8, 8) and drawn.test.labels.tolist() == [0, 1]
    monkeypatch.setattr("unweave.modalities.diffusion.concepts._drawn", lambda *_: pytest.fail("drawn again"))
    again = job(read(write(text)))
    assert torch.equal(again.source.train.images, drawn.train.images)
    notes = [json.loads(each.read_text()) for each in frozen.cache_folder("concepts").glob("*.json")]
    assert [each["seed"] for each in notes if each["prompts"] == ["a top bar", "a square"]] == [0]


def test_embeddings_are_searched_and_what_they_draw_is_judged(world: Path) -> None:
    made = job(read(world / "whole.yaml"))
    model = folders.opened(*folders.read(world / "whole"))
    x0, condition = made.forget.x0[:4], made.train.conditions(torch.tensor([2]))[0]
    same, found = searched(model, made.task, x0, condition, Attack(search=2, looks=1))
    assert same is model and found.shape == condition.shape and not torch.allclose(found, made.task.null)
    score = condition_search(model, made.exam, Attack(images=4, search=1, looks=1, drawn=4))
    assert score.n == 4 and score.value is not None
    typed = attacks(model, made.exam, Attack(which=("prompt",), images=4, search=1, looks=1, drawn=4))
    assert len(typed["prompt_search"]) == 4


def test_uce_edits_the_text(world: Path, write: Callable[[str], Path]) -> None:
    text = UNJUDGED.replace("{name: relabel_condition, to: a square}", "{name: uce, guide: a square}")
    assert command("run", write(text), "-o", world / "uce", "--overwrite") == 0
    old, new = (
        safetensors.torch.load_file(world / each / "unet" / "diffusion_pytorch_model.safetensors")
        for each in ("pipeline", "uce/model")
    )
    moved = [name for name in old if not torch.equal(old[name], new[name])]
    assert moved and all("attn2.to_k" in name or "attn2.to_v" in name for name in moved)
    shutil.rmtree(world / "uce")


@pytest.mark.parametrize("name", ["sd-1.4-nudity-salun", "sd-1.4-nudity-eupmu", "sd-1.4-van-gogh-lora"])
def test_the_recipes_for_stable_diffusion_run_on_a_pipeline_of_the_same_parts(
    name: str, tmp_path: Path, capsys: Told
) -> None:
    text = (RECIPES / f"{name}.yaml").read_text()
    pipeline(tmp_path / "pipeline", length=77)  # as there: cut to fewer, the texts are one
    for old, new in (
        ("weights: stable-diffusion-v1-4", f"weights: {tmp_path / 'pipeline'}"),
        (r"(?m)^  images: \d+", "  images: 20\n  sampling_steps: 1"),
        (r"steps: \d+, forget", "steps: 1, forget"),
        (r"images: \d+, sampling_steps: 50", "images: 20, sampling_steps: 1, looks: 1, quote: false"),
    ):
        text, count = re.subn(old, new, text)
        assert count == 1, old
    text = text.replace("relative: 0.05", "relative: 0.9")  # what so few images can decide
    (tmp_path / "recipe.yaml").write_text(text)
    code = command("run", tmp_path / "recipe.yaml", "-o", tmp_path / "out")
    assert code in (0, 3), result(tmp_path / "out", "summary.json")
    told = capsys.readouterr().err
    assert told.index("memory          about") < told.index("scoring the original"), "said before anything is read"
    assert result(tmp_path / "out", "summary.json")["steps"] == 1
    adapted = (tmp_path / "out" / "model" / "pytorch_lora_weights.safetensors").is_file()
    assert adapted == ("lora" in name)


@pytest.mark.parametrize("name", ["ddpm-cifar10-salun", "ddpm-cifar10-eupmu"])
def test_the_recipes_for_cifar_run_with_a_small_network(name: str, tmp_path: Path) -> None:
    shapes(tmp_path / "shapes", each=40)
    small = json.loads((RECIPES / "ddpm-cifar10-unet.json").read_text())
    small |= {"sample_size": 8, "block_out_channels": [4, 4, 4, 4], "norm_num_groups": 2, "num_class_embeds": 4}
    (tmp_path / "ddpm-cifar10-unet.json").write_text(json.dumps(small))
    text = (RECIPES / f"{name}.yaml").read_text()
    for old, new in (
        ("cifar10_to_draw, path: cifar-10-batches-py", "picture_folder, path: shapes, size: 8"),
        ("class: airplane", "class: top"),
        ("steps: 400000, batch: 256", "steps: 2, batch: 8"),
        ("steps: 1000, forget", "steps: 1, forget"),
        ("steps: 500, forget", "steps: 1, forget"),
        ("images: 500, sampling_steps: 50", "images: 20, sampling_steps: 1, looks: 1, quote: false, judge: none"),
        ("retrained: 1", "retrained: 0"),
    ):
        text = text.replace(old, new)
    (tmp_path / "recipe.yaml").write_text(text)
    assert command("run", tmp_path / "recipe.yaml", "-o", tmp_path / "out") == 0
    assert (tmp_path / "out" / "model" / "unet" / "config.json").is_file()
    (tmp_path / "ddpm-cifar10-unet.json").write_text(json.dumps(small | {"sample_size": 16}))
    with pytest.raises(ConfigurationError, match="is of a network for images of 3 x 16 x 16"):
        job(read(tmp_path / "recipe.yaml"))
