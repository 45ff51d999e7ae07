"""Pictures of concepts for which there are no data: the original draws them, from noise whose seed is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from unweave.data.draws import numbers
from unweave.modalities.diffusion import folders
from unweave.modalities.diffusion.evaluation.generate import generate
from unweave.modalities.diffusion.frozen import Frozen
from unweave.modalities.diffusion.networks import Network
from unweave.modalities.images.tensors import Source, TensorImages
from unweave.store import cache_folder, file_sha256, keep_tensors, kept_tensors, place_of
from unweave.tasks import Diffusion

TESTED = 5  # one in so many pictures of a prompt is for tests
_APART = 2**50  # place of the number whose stream is theirs: what is judged starts from other noise
_BATCH = 8  # pictures of one pass
_VERSION = 1


@dataclass(frozen=True)
class Drawing:
    """How pictures are drawn.

    Args:
        images: of each prompt.
        steps: of the sampler.
        guidance: 1 is none.
        seed: of the noise; picture i of prompt p starts at place `p images + i` of the stream `numbers(seed, 2^50)`.
    """

    images: int = 100
    steps: int = 50
    guidance: float = 7.5
    seed: int = 0


def labels(prompts: Sequence[str], images: int) -> tuple[Tensor, Tensor]:
    """Of the training and of the test pictures, the place of each one's prompt."""
    tested = max(1, images // TESTED)
    every = torch.arange(len(prompts))
    return every.repeat_interleave(images - tested), every.repeat_interleave(tested)


def drawn(network: Network, folder: Path, frozen: Frozen, prompts: Sequence[str], how: Drawing) -> Source:
    """Pictures that a text-conditional model draws for each prompt, from the user's cache if it drew them before.

    Args:
        network: the model.
        folder: of its pipeline.
        frozen: what is around it.
        prompts: two at least.
        how: they are drawn.

    Raises:
        ConfigurationError: the weights cannot be read.
    """
    weights = [folders.weights_of(network, folder)]
    weights += [] if network.adapters is None else [network.adapters / folders.ADAPTERS]
    about = {"version": _VERSION, **asdict(how), "prompts": list(prompts), "network": network.about()}
    about |= {"weights": [file_sha256(file) for file in weights], "frozen": frozen.digest()}
    place = place_of(about, cache_folder("concepts"))
    if (kept := kept_tensors(place)) is None:
        kept = {"pictures": _drawn(network, folder, frozen, prompts, how)}
        keep_tensors(place, kept, about)
    pixels = kept["pictures"].unflatten(0, (len(prompts), how.images))
    trained, tested = labels(prompts, how.images)
    seen = len(trained) // len(prompts)
    train, test = pixels[:, :seen].flatten(0, 1), pixels[:, seen:].flatten(0, 1)
    return Source("concepts", TensorImages(train, trained), TensorImages(test, tested), tuple(prompts))


def _drawn(network: Network, folder: Path, frozen: Frozen, prompts: Sequence[str], how: Drawing) -> Tensor:
    """Bytes `[prompts images, channels, height, width]`, prompt by prompt."""
    model = folders.opened(network, folder).to(frozen.device)
    task, table = Diffusion(network.schedule, null=frozen.nothing), frozen.embedded(prompts)
    found, rows = list[Tensor](), torch.arange(len(prompts) * how.images)
    seed = int(numbers(how.seed, torch.tensor(_APART)))
    for part in rows.split(64):
        conditions = table[part // how.images]
        x = generate(model, task, conditions, part, network.shape, how.steps, how.guidance, seed, batch=_BATCH)
        found.append(((frozen.pictures(x).clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8))
    return torch.cat(found)
