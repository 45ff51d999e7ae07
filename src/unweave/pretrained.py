"""Language models of `transformers`, from a folder or the hub, whole or with LoRA, ready to unlearn."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from unweave.errors import ConfigurationError, suggest
from unweave.extras import require
from unweave.parameters import UNTRAINED

NO_CODE = {"trust_remote_code": False}  # left out, transformers asks on stdin whether to run what a folder brings
Quantised = Literal["int8", "nf4"]
_WEIGHTS = ("*.safetensors", "*.bin")

_WHEREABOUTS = ("transformers_version", "dtype", "base_model_name_or_path", "inference_mode", "peft_version")
"""Of a configuration: where and how it was written, not what it is."""


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters made on the fly; they start at zero, so that the model is the same until they move.

    Args:
        rank: of each update.
        alpha: its scale is `alpha / rank`.
        dropout: on the adapters' inputs, in training mode.
        targets: names of the linear layers, or "all-linear".

    Hu et al., ICLR 2022 (arXiv:2106.09685); defaults are those of HAMU's experiments on texts, but for their dropout.
    """

    rank: int = 8
    alpha: float = 16
    dropout: float = 0.0
    targets: str | tuple[str, ...] = "all-linear"


def load(
    source: str | Path,
    *,
    lora: Lora | None = None,
    adapter: str | Path | None = None,
    dtype: torch.dtype = torch.float32,
    quantised: Quantised | None = None,
    checkpointing: bool = False,
    revision: str | None = None,
) -> tuple[Any, Any]:
    """A causal language model in eval mode, and its tokenizer.

    What may move is in float32: all of it, or the adapters alone. For speed let accelerate run the passes in bfloat16
    (`Accelerator(mixed_precision="bf16")`).

    Args:
        source: a folder, or a name on the hub.
        lora: adapters to make; the model itself is then frozen.
        adapter: adapters that were trained before, to go on with: a folder or a name.
        dtype: of the frozen weights under adapters.
        quantised: linear layers under adapters, all but the head, are kept as "int8" (torchao, one scale a row) or
            "nf4" (bitsandbytes, 4 bits and one scale for 64, as QLoRA has it: Dettmers et al., NeurIPS 2023,
            arXiv:2305.14314) and read in `dtype`.
        checkpointing: recompute each block in the backward pass instead of keeping what it made: slower, and the memory
            for activations no longer grows with depth.
        revision: of the hub.

    Raises:
        ConfigurationError: nothing to load there, a folder without weights or tokenizer, a model or a tokenizer that
            needs code of its own (none is ever run), a hub that does not answer or asks for a login, a LoRA target that
            no layer has, or a model in which nothing can move.
        UnsupportedError: the extra `language` is not installed.
    """
    transformers = require("transformers", "language")
    if lora is not None and adapter is not None:
        raise ConfigurationError("lora makes new adapters and adapter loads old ones: give one of them.")
    adapted = lora is not None or adapter is not None
    if dtype != torch.float32 and not adapted:
        raise ConfigurationError(
            f"weights that move are kept in float32, found dtype={dtype}: in half precision small steps are rounded "
            "away. Use lora=..., or Accelerator(mixed_precision='bf16')."
        )
    if quantised is not None and not adapted:
        raise ConfigurationError(
            f"quantised={quantised!r} is for frozen weights: those that move cannot be integers. Pass lora=Lora() (in "
            "a recipe: model.lora: {})."
        )
    config = read_config(source, revision)
    if getattr(config, "quantization_config", None) is not None and not adapted:
        raise ConfigurationError(
            f"{source} is quantised: its weights cannot move. Pass lora=Lora() (in a recipe: model.lora: {{}})."
        )
    more = {} if quantised is None else {"quantization_config": _QUANTISED[quantised](dtype)}
    model = _read("model", source, transformers.AutoModelForCausalLM.from_pretrained, revision, dtype=dtype, **more)
    for module in model.modules():  # bitsandbytes' fast path on such processors has no gradient, and does not say so
        if hasattr(module, UNTRAINED):
            setattr(module, UNTRAINED, False)
    tokenizer = read_tokenizer(source, revision)
    if checkpointing:
        enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    if lora is not None:
        model = adapt(model, lora)
    elif adapter is not None:
        peft = require("peft", "language")
        with _without_old_name():
            model = _read(
                "adapters", adapter, lambda name, **_: peft.PeftModel.from_pretrained(model, name, is_trainable=True)
            )
    return model.eval(), tokenizer


def _int8(dtype: torch.dtype) -> Any:
    torchao = require("torchao.quantization", "quantised")
    return require("transformers", "language").TorchAoConfig(torchao.Int8WeightOnlyConfig())


def _nf4(dtype: torch.dtype) -> Any:
    require("bitsandbytes", "quantised")
    kind = require("transformers", "language").BitsAndBytesConfig
    return kind(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


_QUANTISED: dict[str, Callable[[torch.dtype], Any]] = {"int8": _int8, "nf4": _nf4}


def read_config(source: str | Path, revision: str | None = None) -> Any:
    """The configuration of a model, without its weights.

    Raises:
        ConfigurationError: as `load`.
    """
    transformers = require("transformers", "language")
    _check_folder(source)
    return _read("configuration", source, transformers.AutoConfig.from_pretrained, revision)


def read_tokenizer(source: str | Path, revision: str | None = None) -> Any:
    """The tokenizer of a model.

    Raises:
        ConfigurationError: as `load`.
    """
    transformers = require("transformers", "language")
    _check_folder(source)
    return _read("tokenizer", source, transformers.AutoTokenizer.from_pretrained, revision)


def adapt(model: nn.Module, lora: Lora) -> Any:
    """The model with LoRA adapters, which alone may move.

    Raises:
        ConfigurationError: a target that no linear layer has.
    """
    peft = require("peft", "language")
    if not isinstance(lora.targets, str):
        names = sorted({n.rsplit(".", 1)[-1] for n, m in model.named_modules() if hasattr(m, "weight") and n})
        if missing := [t for t in lora.targets if t.rsplit(".", 1)[-1] not in names]:
            raise ConfigurationError(
                [f"no layer is named {t!r}.{suggest(t, names)} Layers: {', '.join(names)}" for t in missing]
            )
    settings = peft.LoraConfig(
        r=lora.rank,
        lora_alpha=int(lora.alpha) if lora.alpha == int(lora.alpha) else lora.alpha,  # 16 and 16.0 are one adapter
        lora_dropout=lora.dropout,
        target_modules=lora.targets if isinstance(lora.targets, str) else list(lora.targets),
        task_type="CAUSAL_LM",
    )
    try:
        with _without_old_name():
            return peft.get_peft_model(model, settings)
    except ValueError as error:
        raise ConfigurationError(f"LoRA cannot be put on {type(model).__name__}: {error}") from error


def merged(model: nn.Module) -> nn.Module:
    """The model with its adapters added into the weights under them, `W + (alpha / r) B A`; one without any as it is.

    The sum is formed in float32 and rounded once to the precision of W. Of a base that was quantised when it was loaded
    W is what its folder holds.
    """
    if not hasattr(model, "merge_and_unload"):
        return model
    base = model.get_base_model()  # type: ignore[operator]
    if getattr(base.config, "quantization_config", None) is not None:
        return _merged_anew(base)
    kinds = {name.replace(".base_layer", ""): p.dtype for name, p in base.named_parameters()}
    whole: nn.Module = model.float().merge_and_unload()  # type: ignore[operator]
    for name, parameter in whole.named_parameters():
        parameter.data = parameter.data.to(kinds.get(name, parameter.dtype))
    return whole


def _merged_anew(base: Any) -> nn.Module:
    """The same where the weights under the adapters are integers: into those that they were made of."""
    whole, _ = load(base.config._name_or_path, revision=getattr(base.config, "_commit_hash", None))
    deltas = {name: m for name, m in base.named_modules() if hasattr(m, "get_delta_weight")}
    with torch.no_grad():
        for name, module in deltas.items():
            weight = whole.get_submodule(name).weight
            for adapter in module.active_adapters:
                weight += module.get_delta_weight(adapter).to(weight)
    return whole


def form_sha256(model: nn.Module) -> str:
    """SHA-256 of what the tensors do not say: the architecture's numbers, and those of adapters, such as alpha.

    Of every configuration as transformers, diffusers and PEFT keep it, without where and how it was written; a module
    without one adds nothing.
    """
    told = {
        name: {key: each for key, each in part.items() if key not in _WHEREABOUTS and key[0] != "_"}
        for name, part in _configurations(model, "")
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=_written).encode()).hexdigest()


def _written(value: Any) -> Any:
    """The same in another process, too."""
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    text = str(value)
    return type(value).__qualname__ if f"at {id(value):#x}" in text else text  # an address in memory


def _configurations(module: nn.Module, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Those of the outermost modules that have one, with their adapters'."""
    own: Any = getattr(module, "config", None) if hasattr(module, "save_pretrained") else None
    if not (isinstance(own, Mapping) or hasattr(own, "to_dict")):
        for child, part in module.named_children():
            yield from _configurations(part, f"{name}.{child}")
        return
    for key, part in {name: own, **getattr(module, "peft_config", {})}.items():
        yield key, part if isinstance(part, Mapping) else part.to_dict()


@contextmanager
def without_bars() -> Iterator[None]:
    """Without the bars of transformers: whoever calls has a way of their own to say how far it is."""
    logging = require("transformers.utils.logging", "language")
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@contextmanager
def _without_old_name() -> Iterator[None]:
    """PEFT asks transformers by a name that is going away."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        yield


def _check_folder(source: str | Path) -> None:
    folder = Path(source)
    if not folder.exists():
        if folder.is_absolute() or str(source).count("/") != 1:
            raise ConfigurationError(f"there is no folder {source}, and a name on the hub is owner/name")
        return
    if not (folder / "config.json").is_file():
        raise ConfigurationError(f"{folder} is no model folder: it has no config.json")
    if not any(file for pattern in _WEIGHTS for file in folder.glob(pattern)):
        raise ConfigurationError(
            f"{folder} holds no weights: expected model.safetensors beside its config.json; was the download cut off?"
        )


def _read(part: str, source: str | Path, call: Callable[..., Any], revision: str | None = None, **more: Any) -> Any:
    try:
        return call(str(source), **({"revision": revision} if revision else {}), **NO_CODE, **more)
    except Exception as error:  # whatever transformers, safetensors and the hub's client raise
        words = f"{type(error).__name__} {error}".lower()
        if "gated" in words or "401" in words or "403" in words:
            what = "it is gated: accept its terms on its page and log in with `hf auth login`"
        elif "trust_remote_code" in words:
            what = (
                f"its {part} needs code that comes with it, and unweave runs no code of a model's: read that code, and "
                "if you trust it, load model and tokenizer yourself (trust_remote_code=True) and call unweave.unlearn "
                "from Python"
            )
        elif "tokenizer" in words:
            what = "its tokenizer cannot be read; a model folder holds tokenizer.json too"
        elif Path(source).exists():
            what = "the folder is there, its contents cannot be read as a causal language model"
        else:
            what = "check the name and the connection; without one, download it elsewhere and pass its folder"
        raise ConfigurationError(f"{source} could not be loaded: {what} ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no reason given'])[0][:200]}"
