"""A network with the weights of a file."""

from __future__ import annotations

from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from unweave.errors import ConfigurationError
from unweave.modalities.images.training import Network


def with_weights(network: Network, path: Path) -> nn.Module:
    """The network with the weights of a safetensors file, of a folder that holds `model.safetensors`, or of a run's.

    Raises:
        ConfigurationError: not a safetensors file, not of this network, or not finite.
    """
    path = path / "model" if (path / "model").is_dir() else path
    file = path / "model.safetensors" if path.is_dir() else path
    model = network.build()
    try:
        weights = safetensors.torch.load_file(file)
        model.load_state_dict(weights)
    except (OSError, SafetensorError) as error:
        raise ConfigurationError(f"{file}: cannot be read as safetensors: {' '.join(str(error).split())}") from error
    except RuntimeError as error:
        raise ConfigurationError(
            f"{file}: these weights are not of network '{network.name}': {_misfit(model, weights)}"
        ) from error
    broken = [name for name, tensor in weights.items() if not bool(tensor.isfinite().all())]
    if broken:
        raise ConfigurationError(
            f"{file}: weights are not finite in {len(broken)} of {len(weights)} tensors ({broken[0]}, ...)"
        )
    return model.eval()


def _misfit(model: nn.Module, weights: dict[str, Tensor]) -> str:
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
