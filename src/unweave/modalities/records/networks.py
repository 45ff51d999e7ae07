"""What a recipe of records trains and unlearns: a small network for tables, or what a factory makes; and weights."""

from __future__ import annotations

import inspect
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from unweave.errors import ConfigurationError, shown
from unweave.modalities.records.encoding import Encoding
from unweave.modalities.records.factories import about, call
from unweave.modalities.records.recipe import RecordsModel
from unweave.modalities.weights import read, with_tensors
from unweave.store import file_sha256

_GIVEN: WeakValueDictionary[int, nn.Parameter] = WeakValueDictionary()
"""Parameters that factories have given, by `id`: two models that share one would be trained as one."""


class Network(Protocol):
    """A network before it has weights."""

    @property
    def name(self) -> str:
        """In messages."""
        ...

    def about(self) -> dict[str, Any]:
        """All that decides it, ready for JSON."""
        ...

    def build(self, seed: int = 0) -> nn.Module:
        """It; the initial weights depend on the seed alone."""
        ...


class Scaled(nn.Module):
    """`y = center + spread x`, for targets that are far from 0 or wide."""

    def __init__(self, center: tuple[float, ...], spread: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("center", torch.tensor(center))
        self.register_buffer("spread", torch.tensor(spread))

    def forward(self, x: Tensor) -> Tensor:
        """`[b, k]`, as the input."""
        return torch.addcmul(self.get_buffer("center"), self.get_buffer("spread"), x)


@dataclass(frozen=True)
class Mlp:
    """Linear layers with ReLU between them.

    Attributes:
        inputs: columns.
        outputs: classes, or targets.
        hidden: units of each hidden layer.
        scaled: mean and standard deviation of each target in the training rows; None of classes.
    """

    inputs: int
    outputs: int
    hidden: tuple[int, ...]
    scaled: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    name: str = "mlp"

    def about(self) -> dict[str, Any]:
        """Its sizes."""
        return asdict(self)

    def build(self, seed: int = 0) -> nn.Module:
        """`[b, inputs]` to `[b, outputs]`."""
        sizes = (self.inputs, *self.hidden)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers: list[nn.Module] = []
            for before, after in pairwise(sizes):
                layers += [nn.Linear(before, after), nn.ReLU()]
            layers.append(nn.Linear(sizes[-1], self.outputs))
        return nn.Sequential(*layers, *([] if self.scaled is None else [Scaled(*self.scaled)]))


@dataclass(frozen=True, eq=False)
class Own:
    """What a factory makes, called anew for every model.

    Attributes:
        model: the recipe's section.
        inputs, outputs: columns of the table, and classes or targets: given to a factory that takes them.
    """

    model: RecordsModel
    inputs: int | None = None
    outputs: int | None = None

    @property
    def name(self) -> str:
        """The function's."""
        return str(self.model.factory).rpartition(":")[2]

    def about(self) -> dict[str, Any]:
        """Its file by content, what it is called with, and what it makes."""
        return {**about(self.model, "model"), "sizes": self._sizes, **self._made}

    @cached_property
    def _made(self) -> dict[str, Any]:
        """Of what the function makes: layers, shapes, and the files of classes that are not torch's, by content."""
        made = self.build()
        kinds = {type(each) for each in made.modules() if type(each).__module__.partition(".")[0] != "torch"}
        files = {Path(file) for kind in kinds if (file := _file(kind)) is not None}
        state = made.state_dict().items()
        shapes = {name: [] if is_lazy(each) else list(each.shape) for name, each in state if isinstance(each, Tensor)}
        layers = re.sub(r"0x[0-9a-f]+", "", repr(made))
        return {"layers": layers, "shapes": shapes, "classes": sorted(map(file_sha256, files))}

    def build(self, seed: int = 0) -> nn.Module:
        """Made under this seed.

        Raises:
            ConfigurationError: it is no module, or what making it raised.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            made = call(self.model, "model", self._sizes)
        if not isinstance(made, nn.Module):
            raise ConfigurationError(
                f"model.factory: {self.name}() must return a torch.nn.Module, it returned {shown(made)}"
            )
        own = [each for each in made.parameters() if each.requires_grad]
        if any(_GIVEN.get(id(each)) is each for each in own):
            raise ConfigurationError(
                f"model.factory: {self.name}() returned a network that it had returned before, or parameters of it: "
                "the original, the retrained and the unlearned model would be one. Let it make a new one at every call"
            )
        _GIVEN.update((id(each), each) for each in own)
        return made

    @property
    def _sizes(self) -> dict[str, int]:
        sizes = {"inputs": self.inputs, "outputs": self.outputs}
        return {name: size for name, size in sizes.items() if size is not None}


def _file(kind: type) -> str | None:
    try:
        return inspect.getsourcefile(kind)
    except (TypeError, OSError):  # made in a session, or built in
        return None


def opened(network: Network, path: Path, model: RecordsModel) -> nn.Module:
    """The network with the weights of a file, of a folder that holds `model.safetensors`, or of a run's.

    Args:
        network: whose weights they are.
        path: of them.
        model: the recipe's section, which says how the file of that name is read.

    Raises:
        ConfigurationError: no such file, not of this network, or not finite.
    """
    made = network.build()
    if model.format == "checkpoint" and path == model.weights:
        return with_tensors(made, _checkpoint(path, model.prefix, made), path, network.name)
    try:
        file, tensors = read(path)
    except ConfigurationError as error:
        if path.suffix == ".safetensors" or not path.is_file():
            raise
        raise ConfigurationError(f"{error}. If torch.save wrote it, write format: checkpoint") from error
    return with_tensors(made, tensors, file, network.name)


def predictor(folder: str | Path) -> tuple[nn.Module, Encoding]:
    """The small network that a run left, and how it sees a table: `model(encoding.rows(table))` are its outputs.

    Args:
        folder: of the run, or of the model in it.

    Raises:
        ConfigurationError: there is no such model, or a factory made it, which alone can make it again.
    """
    encoding = Encoding.read(folder)
    if encoding.hidden is None:
        raise ConfigurationError(
            f"{folder}: a factory made this model: call it, load model.safetensors into what it returns, and read rows "
            "with Encoding.read(folder)"
        )
    file, tensors = read(Path(folder))
    outputs = len(encoding.classes) or len(encoding.targets)
    scaled = ((0.0,) * outputs, (1.0,) * outputs) if any(name.endswith(".center") for name in tensors) else None
    made = Mlp(encoding.inputs, outputs, encoding.hidden, scaled).build()
    return with_tensors(made, tensors, file, "mlp"), encoding


def _checkpoint(path: Path, prefix: str, model: nn.Module) -> Mapping[str, Tensor]:
    """The state dict in a file that torch wrote, of tensors and plain data alone: no code of it is run.

    Raises:
        ConfigurationError: it holds something else, or no state dict.
    """
    advice = "Save its tensors alone: torch.save(model.state_dict(), file), or as safetensors"
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError, ValueError, KeyError, IndexError) as error:
        said = str(error).strip().splitlines()
        why = said[0][:160] if isinstance(error, OSError) and said else "torch.save did not write it, or it is damaged"
        if isinstance(error, pickle.UnpicklingError) and zipfile.is_zipfile(path):  # which torch.save writes
            why = "it holds other objects than tensors and plain data, whose code would be run"
        raise ConfigurationError(
            f"model.weights: {path} cannot be read with weights_only=True: {why}. {advice}"
        ) from error
    inner = found.get("state_dict", found) if isinstance(found, Mapping) else None
    if not isinstance(inner, Mapping) or not inner or not all(isinstance(each, Tensor) for each in inner.values()):
        holds = shown(found) if inner is None else ", ".join(map(str, list(found)[:5])) or "nothing"
        raise ConfigurationError(
            f"model.weights: {path} must hold a state dict, names and tensors, or one as its 'state_dict'; it holds "
            f"{holds}. {advice}"
        )
    tensors = {name.removeprefix(prefix): each for name, each in inner.items() if name.startswith(prefix)}
    own, first = model.state_dict().keys(), {name.partition(".")[0] for name in inner}
    if not own & tensors.keys() and (fits := [each for each in first if own <= _without(inner, f"{each}.")]):
        raise ConfigurationError(f"model.weights: the names in {path} begin with {fits[0]}.: write prefix: {fits[0]}.")
    return tensors


def _without(tensors: Mapping[str, Tensor], prefix: str) -> set[str]:
    return {name.removeprefix(prefix) for name in tensors if name.startswith(prefix)}
