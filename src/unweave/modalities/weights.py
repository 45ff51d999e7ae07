"""Weights from a file into a network, and in what they do not fit: for every modality whose models are one module."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from unweave.errors import ConfigurationError
from unweave.store import model_in


def read(path: Path) -> tuple[Path, dict[str, Tensor]]:
    """A safetensors file, of a folder that holds `model.safetensors`, or of a run's; and what is in it.

    Raises:
        ConfigurationError: not a safetensors file.
    """
    path = model_in(path)
    file = path / "model.safetensors" if path.is_dir() else path
    try:
        return file, safetensors.torch.load_file(file)
    except (OSError, SafetensorError) as error:
        raise ConfigurationError(f"{file}: cannot be read as safetensors: {' '.join(str(error).split())}") from error


def with_tensors(model: nn.Module, weights: Mapping[str, Tensor], file: Path, name: str) -> nn.Module:
    """The network with these weights, in evaluation mode.

    Args:
        model: takes them.
        weights: by name.
        file: where they are from.
        name: of the network.

    Raises:
        ConfigurationError: not of this network, or not finite.
    """
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ConfigurationError(
            f"{file}: these weights are not of network '{name}': {_misfit(model, weights)}"
        ) from error
    broken = [name for name, tensor in weights.items() if not bool(tensor.isfinite().all())]
    if broken:
        raise ConfigurationError(
            f"{file}: weights are not finite in {len(broken)} of {len(weights)} tensors ({broken[0]}, ...)"
        )
    return model.eval()


def _misfit(model: nn.Module, weights: Mapping[str, Tensor]) -> str:
    """How the names and shapes of the weights differ from the model's, the first of each kind."""
    own = model.state_dict()
    common = sorted(own.keys() & weights.keys())
    kinds = {
        "missing": sorted(own.keys() - weights.keys()),
        "unknown": sorted(weights.keys() - own.keys()),
        "of another shape": [name for name in common if own[name].shape != weights[name].shape],
    }
    found = [f"{len(n)} {kind} ({n[0]}{', ...' if n[1:] else ''})" for kind, n in kinds.items() if n]
    return ", ".join(found)
