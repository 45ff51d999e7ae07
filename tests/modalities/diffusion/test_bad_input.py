"""What bad input gets, from the command line: one clear message, exit code 2, and nothing is trained or written."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.modalities.diffusion._pipeline import RECIPE, captioned, pipeline
from unweave.cli import main
from unweave.modalities.diffusion import folders, job

Spoil = Callable[[Path], object]
UNJUDGED = RECIPE.replace("looks: 2", "looks: 2, judge: none")
RELABELLED = "{name: relabel_condition, to: a square}"
CONCEPTS = "{source: drawn_concepts, prompts: [a top bar, a square]}"


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pristine")
    pipeline(folder / "pipeline"), captioned(folder / "pictures", each=8)
    return folder


def edit(name: str, **changes: object) -> Spoil:
    def spoil(folder: Path) -> None:
        file = folder / "pipeline" / name
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return spoil


def holds(name: str, **what: object) -> Spoil:
    return lambda folder: (folder / "pipeline" / name).write_text(json.dumps(what))


def pickled(name: str) -> Spoil:
    return lambda folder: (folder / "pipeline" / name).rename((folder / "pipeline" / name).with_suffix(".bin"))


def renamed(name: str, word: str) -> Spoil:
    def spoil(folder: Path) -> None:
        file = folder / "pipeline" / name
        file.rename(file.with_name(f"{file.stem}{word if word.startswith('-') else f'.{word}'}.safetensors"))

    return spoil


def removed(name: str) -> Spoil:
    return lambda folder: shutil.rmtree(folder / "pipeline" / name)


def torn(name: str) -> Spoil:
    return lambda folder: (folder / "pipeline" / name).write_bytes(b"torn")


def adapters(written: str | None) -> Spoil:
    """In the place of the model a file of adapters, and what stands beside it of their base."""

    def spoil(folder: Path) -> None:
        shutil.rmtree(folder / "pipeline")
        (folder / "pipeline").mkdir()
        (folder / "pipeline" / "pytorch_lora_weights.safetensors").write_bytes(b"torn")
        if written is not None:
            (folder / "pipeline" / "unweave.json").write_text(written)

    return spoil


UNET, VAE = (f"{part}/diffusion_pytorch_model.safetensors" for part in ("unet", "vae"))
ENCODER, SCHEDULER = "text_encoder/model.safetensors", "scheduler/scheduler_config.json"
FOLDERS: dict[str, tuple[Spoil, str]] = {
    "no scheduler": (removed("scheduler"), "must hold scheduler/scheduler_config.json"),
    "unknown prediction": (edit(SCHEDULER, prediction_type="score"), "prediction_type must be one of"),
    "zero-terminal SNR": (edit(SCHEDULER, rescale_betas_zero_snr=True), "epsilon cannot be learned"),
    "flow matching": (edit(SCHEDULER, _class_name="FlowMatchEulerDiscreteScheduler"), "flow matching"),
    "a pickled UNet": (pickled(UNET), "diffusion_pytorch_model.bin: a pickle"),
    "a pickled autoencoder": (pickled(VAE), "diffusion_pytorch_model.bin: a pickle"),
    "a pickled encoder": (pickled(ENCODER), "model.bin: a pickle"),
    "half precision alone": (renamed(UNET, "fp16"), "fp16.safetensors, a variant, and diffusion_pytorch_model.safet"),
    "a network in parts": (renamed(UNET, "-00001-of-00002"), "in parts (diffusion_pytorch_model-00001-of-00002"),
    "an encoder in parts": (renamed(ENCODER, "-00001-of-00002"), "one file is read: save the pipeline in one"),
    "a pickle that is called safetensors": (
        lambda folder: (folder / "pipeline" / UNET).write_bytes(pickle.dumps([1])),
        "diffusion_pytorch_model.safetensors is named so and is a pickle",
    ),
    "a torn network": (torn(UNET), "unet/diffusion_pytorch_model.safetensors cannot be read"),
    "a scheduler of nothing": (holds(SCHEDULER), "scheduler_config.json must say the schedule, as diffusers writes it"),
    "betas in words": (
        edit(SCHEDULER, trained_betas="linear"),
        "trained_betas must be a list of numbers in (0, 1); fo",
    ),
    "adapters of nobody": (adapters(None), "must name the folder of the model that they are for"),
    "adapters of a model that is not there": (adapters('{"base": "gone"}'), "it names 'gone', which is no folder"),
    "adapters of themselves": (
        lambda folder: adapters(json.dumps({"base": str(folder / "pipeline")}))(folder),
        "pipeline', which is no folder of a model",
    ),
    "captions in another file": (
        lambda folder: (folder / "pictures" / "metadata.jsonl").rename(folder / "pictures" / "metadata.csv"),
        "captions are read from metadata.jsonl, and",
    ),
    "no tokenizer": (removed("tokenizer"), "must hold tokenizer/tokenizer_config.json"),
    "no encoder": (removed("text_encoder"), "must hold text_encoder/config.json"),
    "a torn autoencoder": (torn(VAE), "vae/diffusion_pytorch_model.safetensors cannot be read"),
    "a torn encoder": (torn(ENCODER), "text_encoder/model.safetensors cannot be read"),
    "two encoders": (lambda folder: (folder / "pipeline" / "text_encoder_2").mkdir(), "two text encoders"),
    "other latents": (edit("vae/config.json", latent_channels=3), "denoises 4 channels, and a latent has 3"),
    "more conditions": (edit("unet/config.json", addition_embed_type="text_time"), "beside the text are not known"),
    "another noise": (holds(SCHEDULER, _class_name="EDMEulerScheduler", sigma_min=0.002), "says nothing of betas"),
    "betas of one timestep": (edit(SCHEDULER, trained_betas=[0.1]), "sampling_steps must be at most the 1 timesteps"),
    "no channels": (edit("unet/config.json", in_channels=None), "in_channels must say how many channels"),
    "channels in words": (edit("unet/config.json", in_channels="4"), "in_channels must say how many channels"),
    "a size of three": (edit("unet/config.json", sample_size=[4, 4, 4]), "sample_size must say how large"),
    "classes in words": (edit("unet/config.json", num_class_embeds="four"), "num_class_embeds must be a number"),
    "an autoencoder of nothing": (edit("vae/config.json", block_out_channels=None), "must say in_channels and block"),
    "an autoencoder of no images": (edit("vae/config.json", in_channels=None), "must say in_channels and block_out"),
    "training of another version": (holds("unweave.json", training={"nope": 1}), "training must be a mapping of"),
    "training that is none": (holds("unweave.json", training=3), "training must be a mapping of"),
    "no size": (edit("unet/config.json", sample_size=None), "sample_size must say how large"),
    "a scale in words": (edit("vae/config.json", scaling_factor="x"), "scaling_factor must be a number"),
    "another autoencoder": (edit("vae/config.json", _class_name="VQModel"), "expected AutoencoderKL"),
    "a caption without a file": (lambda folder: (folder / "pictures" / "top-1.png").unlink(), "there is no file"),
    "a file without a caption": (
        lambda folder: shutil.copy(folder / "pictures" / "top-1.png", folder / "pictures" / "new.png"),
        "new.png has no caption",
    ),
    "a shared picture": (
        lambda folder: shutil.copy(folder / "pictures" / "top-0.png", folder / "pictures" / "square-0.png"),
        "must share no picture",
    ),
}
RECIPES = {
    "a pickle": (RECIPE.replace("weights: pipeline", "weights: model.ckpt"), "a pickle (.ckpt)"),
    "no such prompt": (RECIPE.replace("a top*", "a tip"), "no prompt is 'a tip', or like it."),
    "no such class": (RECIPE.replace('prompts: "a top*"', "class: tip"), "no class is named 'tip'"),
    "another size": (RECIPE.replace("path: pictures", "path: pictures, size: 16"), "give data.size, or other data"),
    "a text that is another when it is cut": (
        UNJUDGED.replace("to: a square", "to: a  Top bar"),
        "which is to the text encoder what 'a top bar' is",
    ),
    "a null that was never trained": (
        RECIPE.replace("looks: 2", "looks: 2, guidance: 2").replace("run:", "training: {dropout: 0.0}\nrun:"),
        "evaluation.guidance is 2 (1 is without), and the model always had a condition",
    ),
    "more passes than timesteps": (
        RECIPE.replace("sampling_steps: 2", "sampling_steps: 2000"),
        "sampling_steps must be at most the",
    ),
    "the next text": (RECIPE.replace("to: a square", "to: next"), "to='next' is for classes"),
    "a class of texts": (UNJUDGED.replace("to: a square", "to: 1"), "method.to is 1, and this model knows texts: give"),
    "a class to guide texts": (UNJUDGED.replace(RELABELLED, "{name: uce, guide: 1}"), "method.guide is 1, and this"),
    "a guide to itself": (
        UNJUDGED.replace(RELABELLED, "{name: uce, guide: a top bar}"),
        "method.guide is 'a top bar', which is to be forgotten",
    ),
    "erased and kept": (
        UNJUDGED.replace(RELABELLED, "{name: uce, guide: a bird}").replace('{prompts: "a top*"}', "{random: 0.3}"),
        "the retain set has",
    ),
    "adapters and weights": (
        UNJUDGED.replace("weights: pipeline", 'weights: pipeline, lora: {}, parameters: ["*attn2*"]'),
        "model.parameters: adapters are what moves",
    ),
    "a text to itself": (UNJUDGED.replace("to: a square", "to: a top bar"), "'a top bar', which is to be forgotten"),
    "recognised by nobody": (
        UNJUDGED.replace("contract: none", "contract: {keep: [{metric: recognised, absolute: .1}], forget: []}"),
        "'recognised' is of models that draw",
    ),
    "still drawn, says nobody": (
        UNJUDGED.replace("contract: none", "contract: {forget: [{metric: generated, at_most: .1}]}"),
        "'generated' is of models that draw",
    ),
    "no forget clause": (UNJUDGED.replace("contract: none\n", ""), "has no forget clause of its own"),
    "no target": (
        UNJUDGED.replace("weights: pipeline", "weights: pipeline, lora: {targets: []}"),
        "model.lora.targets: expected at least 1, found []",
    ),
    "as many images as nobody has": (RECIPE.replace("images: 20", "images: 100000000000"), "or equal to 100000"),
    "no text, of a model that always had one": (
        UNJUDGED.replace("to: a square", 'to: ""').replace("run:", "training: {dropout: 0.0}\nrun:"),
        "method.to is '', which stands for none",
    ),
    "an edit to nothing, of a model that always had a text": (
        UNJUDGED.replace(RELABELLED, "{name: uce}").replace("run:", "training: {dropout: 0.0}\nrun:"),
        "uce without a guide makes it what the model knows for none",
    ),
    "guided drawing by a model that always had a text": (
        RECIPE.replace("{source: picture_folder, path: pictures}", CONCEPTS) + "training: {dropout: 0.0}\n",
        "data.guidance is 7.5 (1 is without)",
    ),
    "a guide that reads the same": (
        UNJUDGED.replace(RELABELLED, "{name: uce, guide: A Top Bar}"),
        "method.guide is 'A Top Bar', which is to the text encoder what 'a top bar' is",
    ),
    "an edit of something else": (
        UNJUDGED.replace(RELABELLED, "{name: uce, erase: [a dog], guide: a bird}"),
        "method.erase leaves out 'a top bar', which is to be forgotten",
    ),
    "a text that was forgotten before": (
        UNJUDGED.replace("run:", "already: [{prompts: a square}]\nrun:"),
        "method.to is 'a square', which is to be forgotten",
    ),
    "a target that is not there": (
        UNJUDGED.replace("weights: pipeline", "weights: pipeline, lora: {targets: [to_x]}"),
        "no linear layer is named to_x",
    ),
    "adapters on nothing": (RECIPE.replace("weights: pipeline", "lora: {}"), "adapters are for pretrained models"),
    "one concept": (
        RECIPE.replace("{source: picture_folder, path: pictures}", CONCEPTS.replace(", a square", "")),
        "needs 'prompts', two at least",
    ),
    "concepts without a model": (
        RECIPE.replace("{source: picture_folder, path: pictures}", CONCEPTS).replace("{weights: pipeline}", "{}"),
        "drawn by the original",
    ),
    "concepts in a row": (
        RECIPE.replace("{source: picture_folder, path: pictures}", CONCEPTS).replace(
            'forget: {prompts: "a top*"}', "requests: [{prompts: a top bar}]"
        ),
        "give one request of drawn_concepts",
    ),
    "a prompt for captions": (
        RECIPE.replace("path: pictures", 'path: pictures, prompt: "a {class}"'),
        "the pictures have captions",
    ),
}  # fmt: skip


def test_texts_to_keep_and_to_forget_that_the_encoder_reads_alike(
    pristine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(pristine, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "pictures" / "metadata.jsonl"
    file.write_text(
        file.read_text().replace("a top bar", "a square that stands").replace("a left bar", "a square that lies")
    )
    told = refused(tmp_path, RECIPE.replace("a top*", "a square that stands"), capsys)
    assert "'a square that lies' is to be kept, and it is one which is to the text encoder what 'a square" in told


def refused(folder: Path, text: str, capsys: pytest.CaptureFixture[str]) -> str:
    (folder / "recipe.yaml").write_text(text)
    (folder / "model.ckpt").write_bytes(b"x")
    with pytest.raises(SystemExit) as caught:
        main(["run", str(folder / "recipe.yaml"), "-o", str(folder / "out")])
    told = capsys.readouterr().err
    assert caught.value.code == 2 and not (folder / "out").exists(), told
    return " ".join(told[told.index("error:") :].split())


@pytest.mark.parametrize("name", FOLDERS)
def test_folders(name: str, pristine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil, words = FOLDERS[name]
    shutil.copytree(pristine, tmp_path, dirs_exist_ok=True)
    spoil(tmp_path)
    told = refused(tmp_path, RECIPE, capsys)
    assert words in told and "faults" not in told, told


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.filterwarnings("ignore::unweave.guards.GuardWarning")  # of weights that are random
def test_recipes(
    name: str, pristine: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "trained", lambda *_: pytest.fail("a model was trained"))
    text, words = RECIPES[name]
    told = refused(pristine, text, capsys)
    assert words in told and "faults" not in told, told


def test_a_judge_that_does_not_know_the_pictures(
    pristine: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "opened", lambda *_: pytest.fail("the model was read first"))
    monkeypatch.setattr("unweave.modalities.diffusion.evaluation.judge.LEAST", 1.1)
    assert "the judge must recognise" in refused(pristine, RECIPE, capsys)
