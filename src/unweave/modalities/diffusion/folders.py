"""Folders of diffusers' pipelines: which network one holds, what is refused of it, and its weights."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import nn

from unweave.errors import ConfigurationError, gathered, shown
from unweave.extras import require
from unweave.modalities.diffusion import lora
from unweave.modalities.diffusion.frozen import ENCODER, TOKENIZER, VAE, WEIGHTS, line
from unweave.modalities.diffusion.networks import PARTS, TRAINED, WEIGHTS_FILE, Network, place_of, unet
from unweave.modalities.diffusion.training import Training
from unweave.store import file_sha256, model_in
from unweave.tasks import Schedule
from unweave.tasks.schedule import SAYS

_SCHEDULER = "scheduler_config.json"
ADAPTERS = lora.FILE
_PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
_UNKNOWN = {
    "vqvae": "an autoencoder with a codebook is not known here, AutoencoderKL (vae/) is",
    "text_encoder_2": "models with two text encoders (SDXL, SD 3, Flux) are not known here",
    "prior": "models with a prior are not known here",
}
_SHARD = re.compile(r"-\d+-of-\d+|\.index\.json$")
_CONDITIONS = ("class_embed_type", "addition_embed_type", "encoder_hid_dim_type", "num_class_embeds")


def read(folder: Path) -> tuple[Network, Path]:
    """The network of a pipeline's folder, or of a run's, and that folder; no weights are read.

    Of a run that left adapters it is the network that they are for, in the folder that this came from.

    Raises:
        ConfigurationError: no such folder, no network or no scheduler in it, a kind that is not known,
            parts that are missing, flow matching, or weights that are pickles; all of them at once.
    """
    folder = model_in(folder)
    if not folder.is_dir():
        raise ConfigurationError(
            f"{folder} must be a folder of diffusers, with unet/ (or transformer/) and scheduler/: fetch it first "
            "(hf download OWNER/NAME --local-dir FOLDER); nothing is fetched here"
            + (f". {_pickled(folder)}" if folder.suffix in _PICKLES else "")
        )
    if _adapters_alone(folder):
        network, base = read(_base(folder))
        if broken := _unreadable(folder / ADAPTERS):
            raise ConfigurationError(broken)
        return replace(network, adapters=folder), base
    part = next((name for name in PARTS if (folder / name / "config.json").is_file()), None)
    faults = []
    weights = folder if part is None else place_of(folder, part)
    if part is None:
        pickles = [path.name for path in sorted(folder.iterdir()) if path.suffix in _PICKLES]
        faults.append(f"{folder} must hold unet/config.json or transformer/config.json, and holds neither")
        faults += [f"{folder / name}: {_pickled(folder / name)}" for name in pickles]
    else:
        faults += _without_weights(weights, WEIGHTS_FILE)
    faults += [f"{folder} holds {name}: {why}" for name, why in _UNKNOWN.items() if (folder / name).is_dir()]
    if not (folder / "scheduler" / _SCHEDULER).is_file():
        faults.append(
            f"{folder} must hold scheduler/{_SCHEDULER}: the schedule is part of the model, and a wrong one is silent"
        )
    if faults or part is None:
        raise ConfigurationError(faults)
    vae = folder / VAE / "config.json"
    config, scheduler, latents = gathered(
        lambda: _json(weights / "config.json"),
        lambda: _json(folder / "scheduler" / _SCHEDULER),
        lambda: _json(vae) if vae.parent.is_dir() else None,
    )
    network = Network(part, config, scheduler, _trained(folder / TRAINED), latents)
    if faults := [*_misfits(network, weights / "config.json", vae), *_schedule(folder, scheduler)]:
        raise ConfigurationError(faults)
    if faults := _frozen(network, folder):
        raise ConfigurationError(faults)
    return network, folder


def _adapters_alone(folder: Path) -> bool:
    return (folder / ADAPTERS).is_file() and not any((folder / part).is_dir() for part in PARTS)


def _base(folder: Path) -> Path:
    """The folder of the model that adapters are for, as a run wrote it beside them."""
    place = folder / TRAINED
    base = _json(place).get("base") if place.is_file() else None
    if not isinstance(base, str) or not Path(base).is_dir() or _adapters_alone(Path(base)):
        found = "it does not" if base is None else f"it names {shown(base)}, which is no folder of a model"
        raise ConfigurationError(
            f"{folder} holds adapters alone ({ADAPTERS}), and {TRAINED} beside them must name the folder of the model "
            f'that they are for, {{"base": "FOLDER"}}; {found}'
        )
    return Path(base)


def _check_base(adapters: Path, weights: Path) -> None:
    """Refuses adapters whose base was changed since they were written."""
    noted = _json(adapters / TRAINED).get("sha256")
    if noted is not None and noted != (now := file_sha256(weights)):
        raise ConfigurationError(
            f"{adapters} holds adapters for weights that were changed since: {weights} has sha256 {now}, and it was "
            f"{noted}. Put them back, or name the folder where they are in {adapters / TRAINED}"
        )


def _trained(place: Path) -> Training | None:
    """How it was trained, where a run wrote that beside it."""
    how = _json(place).get("training") if place.is_file() else None
    try:
        return None if how is None else Training(**how)
    except TypeError as error:
        known = ", ".join(field.name for field in fields(Training))
        raise ConfigurationError(
            f"{place}: training must be a mapping of {known}; found {shown(how)} ({error}). It is of another version: "
            "write it anew with this one, or delete the file"
        ) from error


def _schedule(folder: Path, scheduler: dict[str, Any]) -> list[str]:
    if not {"_class_name", *SAYS} & scheduler.keys():
        return [f"{folder / 'scheduler' / _SCHEDULER} must say the schedule, as diffusers writes it, and says nothing"]
    try:
        Schedule.of(scheduler)
    except ConfigurationError as error:
        return [f"{folder / 'scheduler' / _SCHEDULER}: {fault}" for fault in error.faults]
    return []


def _counts(given: object) -> bool:
    return type(given) is int and given > 0


def _no_number(given: object) -> bool:
    return given is not None and not _counts(given)


def _misfits(network: Network, place: Path, vae: Path) -> list[str]:
    """What is not known of a network and its autoencoder."""
    known, found = PARTS[network.part], []
    if network.kind not in known:
        return [f"{place}: expected {' or '.join(known)}, found {network.config.get('_class_name')}"]
    size = network.config.get("sample_size")
    sizes = size if isinstance(size, list | tuple) else [size, size]
    if len(sizes) != 2 or not all(map(_counts, sizes)):
        return [f"{place}: sample_size must say how large images (or latents) are; found {size!r}: write it there"]
    if not _counts(channels := network.config.get("in_channels")):
        return [f"{place}: in_channels must say how many channels images (or latents) have; found {channels!r}"]
    rows = {key: network.config.get(key) for key in ("num_class_embeds", "num_embeds_ada_norm")}
    if wrong := [f"{place}: {key} must be a number; found {each!r}" for key, each in rows.items() if _no_number(each)]:
        return wrong
    if network.texts:
        more = [key for key in _CONDITIONS if network.config.get(key) is not None]
        found += [f"{place}: {key}={network.config[key]}: conditions beside the text are not known" for key in more]
    if network.vae is None:
        return found
    if network.vae.get("_class_name") != "AutoencoderKL":
        return [*found, f"{vae}: expected AutoencoderKL, found {network.vae.get('_class_name')}"]
    blocks = network.vae.get("block_out_channels")
    if not (isinstance(blocks, list) and blocks and _counts(network.vae.get("in_channels"))):
        return [*found, f"{vae} must say in_channels and block_out_channels, as diffusers writes them"]
    for key in ("scaling_factor", "shift_factor"):
        if not isinstance(value := network.vae.get(key) or 0.0, int | float):
            found.append(f"{vae}: {key} must be a number, found {value!r}")
    if (channels := network.vae.get("latent_channels")) != network.shape[0]:
        found.append(f"{place}: the network denoises {network.shape[0]} channels, and a latent has {channels} ({vae})")
    return found


def _frozen(network: Network, folder: Path) -> list[str]:
    """What is missing of autoencoder, text encoder and tokenizer."""
    found = [] if network.vae is None else _without_weights(folder / VAE, WEIGHTS[VAE])
    if not network.texts:
        return found
    for name, file in ((ENCODER, "config.json"), (TOKENIZER, "tokenizer_config.json")):
        if not (folder / name / file).is_file():
            found.append(f"{folder} must hold {name}/{file}: the model's conditions are embeddings of texts")
    if (folder / ENCODER).is_dir():
        found += _without_weights(folder / ENCODER, WEIGHTS[ENCODER])
        kinds = _json(folder / ENCODER / "config.json").get("architectures") or ["CLIPTextModel"]
        found += [] if "CLIPTextModel" in kinds else [f"{folder / ENCODER}: expected CLIPTextModel, found {kinds[0]}"]
    return found


def _without_weights(place: Path, name: str) -> list[str]:
    if (place / name).is_file():
        return _unreadable(place / name)
    files = sorted(place.iterdir()) if place.is_dir() else []
    if pickled := [path for path in files if path.suffix in _PICKLES]:
        return [f"{path}: {_pickled(path)}" for path in pickled]
    stem = name.removesuffix(".safetensors")
    others = [path.name for path in files if path.name.startswith(stem) and ".safetensors" in path.name]
    if any(_SHARD.search(each) for each in others):
        return [
            f"{place} holds {name} in parts ({others[0]}), and one file is read: save the pipeline in one, "
            "save_pretrained(folder, max_shard_size='100GB')"
        ]
    if others:
        return [
            f"{place} holds {others[0]}, a variant, and {name} is read: fetch that, or load the pipeline with this "
            "variant and save it without one; weights that move are kept in float32"
        ]
    return [f"{place} holds no {name}: was the download cut off?"]


def _unreadable(file: Path) -> list[str]:
    """What is no safetensors file, by its header."""
    try:
        with safe_open(file, "pt"):
            return []
    except (OSError, SafetensorError) as error:
        with file.open("rb") as content:
            start = content.read(2)
        if start == b"PK" or start[:1] == b"\x80":  # an archive of torch.save, or an older one
            return [f"{file} is named so and is {_pickled(file)}"]
        return [f"{file} cannot be read: {line(error)}"]


def described(file: Path, classes: int, shape: tuple[int, ...], how: Training) -> Network:
    """The untrained network of a configuration as diffusers writes it, with a linear schedule.

    Raises:
        ConfigurationError: it is none of a class-conditional network of such images.
    """
    network = replace(unet(classes, (1, 8, 8), (8,), how), config=_json(file))
    if network.kind != PARTS["unet"][0]:
        raise ConfigurationError(f"{file}: expected {PARTS['unet'][0]}, found {network.config.get('_class_name')}")
    if network.shape != shape:
        raise ConfigurationError(
            f"{file} is of a network for images of {' x '.join(map(str, network.shape))} (channels, height, width), "
            f"and the data are {' x '.join(map(str, shape))}"
        )
    network.null(classes)
    return network


def weights_of(network: Network, folder: Path) -> Path:
    """The file of the network's weights."""
    return place_of(folder, network.part) / WEIGHTS_FILE


def opened(network: Network, folder: Path) -> nn.Module:
    """The network with the weights of its folder, in float32 and eval mode.

    Raises:
        ConfigurationError: they cannot be read, do not fit, or are not finite.
    """
    kind: Any = getattr(require("diffusers", "diffusion"), network.kind)
    place = place_of(folder, network.part)
    try:
        model, told = kind.from_pretrained(
            place, local_files_only=True, use_safetensors=True, output_loading_info=True, low_cpu_mem_usage=False
        )
    except Exception as error:  # whatever diffusers and safetensors raise for a damaged folder
        raise ConfigurationError(f"{place} cannot be read: {line(error)}") from error
    misfits = [*told["missing_keys"], *told["unexpected_keys"], *told["mismatched_keys"]]
    broken = [name for name, tensor in model.state_dict().items() if not bool(tensor.isfinite().all())]
    if misfits or broken:
        what = f"{len(misfits)} do not fit its config.json" if misfits else f"{len(broken)} are not finite"
        raise ConfigurationError(f"{place / WEIGHTS_FILE}: of its tensors {what} ({(misfits or broken)[0]}, ...)")
    if network.adapters is not None:
        _check_base(network.adapters, place / WEIGHTS_FILE)
    made: nn.Module = model.float()
    return (made if network.adapters is None else lora.loaded(made, network.adapters)).eval()


def _pickled(path: Path) -> str:
    return (
        f"a pickle ({path.suffix}) can run code and is not read: save it as safetensors (diffusers: "
        "scripts/convert_original_stable_diffusion_to_diffusers.py --to_safetensors for .ckpt, "
        "save_pretrained(safe_serialization=True) for .bin)"
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} cannot be read: {line(error)}") from error
    if not isinstance(found, dict):
        raise ConfigurationError(f"{path} must hold a mapping, found {type(found).__name__}")
    return found
