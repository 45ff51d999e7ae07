"""A recipe of a diffusion model becomes a job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from unweave import devices
from unweave.data.splits import Split, by_class, without
from unweave.errors import ConfigurationError, gathered, suggest
from unweave.modalities import by_row
from unweave.modalities.diffusion import concepts, fitting, folders, letters
from unweave.modalities.diffusion.captions import has_captions
from unweave.modalities.diffusion.frozen import Frozen
from unweave.modalities.diffusion.job import DiffusionJob
from unweave.modalities.diffusion.lora import Lora
from unweave.modalities.diffusion.memory import estimate
from unweave.modalities.diffusion.networks import Network, place_of, unet
from unweave.modalities.diffusion.recipe import DiffusionForget, DiffusionRecipe
from unweave.modalities.diffusion.sources import CONCEPTS, SOURCES, Pictures, load
from unweave.modalities.diffusion.view import View, gone

_TOLD = 3  # classes that a request's words name


@dataclass(frozen=True)
class Around:
    """What there is before any image is read.

    Attributes:
        network: of the recipe's folder; None where one is trained here.
        folder: of a pipeline; None where there is none around the network.
        frozen: what of that never moves.
    """

    network: Network | None = None
    folder: Path | None = None
    frozen: Frozen | None = None

    @property
    def texts(self) -> bool:
        """Whether conditions are texts."""
        return self.frozen is not None and self.frozen.texts


def request(recipe: DiffusionRecipe, pictures: Pictures | None = None) -> DiffusionJob:
    """Looks at the model's folder and at the images of a recipe, if they are not given, and splits them as it asks.

    Raises:
        ConfigurationError: the data or the model cannot be read, or do not fit each other or the request.
    """
    wanted = recipe.forget
    assert wanted is not None, "a sequence asks for one request at a time"
    around = around_of(recipe)
    pictures = pictures_of(recipe, around) if pictures is None else pictures
    prompts = prompts_of(recipe, pictures, around)
    splits = [partial(split_of, each, pictures, prompts) for each in (wanted, *recipe.already)]
    (text, split), *others, network = gathered(*splits, partial(_network, recipe, pictures, around))
    if others:
        split = without(split, [row for _, each in others for row in each.forget])
    training, given = network.trained, recipe.training.arguments
    if training is not None or given:
        training = replace(training or SOURCES[recipe.data.source].training, **given)
    if network.trained is not None or "dropout" in given:  # else others can be trained so, and nobody says this one was
        network = replace(network, trained=training)
    adapters = recipe.model.lora
    made = DiffusionJob(
        text,
        pictures,
        split,
        gone(pictures.labels, split),
        View(network, pictures.classes, prompts, around.frozen),
        None if around.network is None else around.folder,
        around.folder,
        None if adapters is None else (Lora(**adapters.model_dump()), recipe.run.seed),
        training,
        recipe.evaluation,
        needed=partial(_needed, recipe, network, around, len(pictures.classes)),
        notes=tuple(_notes(recipe, network, around, prompts)),
    )
    fitting.check(recipe, made)
    return made


def split_of(wanted: DiffusionForget, pictures: Pictures, prompts: Sequence[str] | None) -> tuple[str, Split]:
    """The request in words, and the training rows to forget and to keep.

    Raises:
        ConfigurationError: a class, a prompt or a row that is not there.
    """
    if wanted.prompts is not None:
        names = pictures.classes if prompts is None else prompts
        trained = {*pictures.labels.tolist()}  # texts of few pictures may all be in the test part
        asked = _like(wanted.prompts, names)
        classes, word = [each for each in asked if each in trained], "prompt"
        if asked and not classes:
            raise ConfigurationError(
                "forget.prompts: all pictures with these texts are in the test part: none to forget"
            )
    elif wanted.class_ is not None:
        names = pictures.classes
        classes, word = by_row.class_numbers(wanted.class_, names), "class"
    else:
        return by_row.split_of(wanted, len(pictures.labels))
    split = by_class(pictures.labels, classes)
    told = ", ".join(names[each] for each in classes[:_TOLD]) + (", ..." if len(classes) > _TOLD else "")
    return f"{word} {told}", split


def _like(wanted: str | tuple[str, ...], names: Sequence[str]) -> list[int]:
    """The places of names that are these, or like these patterns.

    Raises:
        ConfigurationError: nothing is.
    """
    found, missing = set[int](), list[str]()
    for each in (wanted,) if isinstance(wanted, str) else wanted:
        own = [row for row, name in enumerate(names) if name == each or fnmatchcase(name.lower(), each.lower())]
        found.update(own)
        missing += [] if own else [each]
    if missing:
        raise ConfigurationError(
            f"forget.prompts: no prompt is {each!r}, or like it.{suggest(each, names)} There are "
            f"{len(names)}, such as {', '.join(map(repr, names[:3]))}."
            for each in missing
        )
    return sorted(found)


def around_of(recipe: DiffusionRecipe) -> Around:
    """What the recipe's folder holds, or what goes with a network that is trained here.

    Raises:
        ConfigurationError: it cannot be read.
    """
    recipe.check_models()
    device = devices.chosen(recipe.run.device)
    if recipe.model.weights is None:
        if not recipe.model.texts:
            return Around()
        folder = letters.folder()
        return Around(None, folder, Frozen(folder, False, True, device))
    network, folder = folders.read(recipe.model.weights)
    if recipe.model.lora is not None and network.adapters is not None:
        raise ConfigurationError(
            "model.lora makes new adapters, and model.weights holds some to go on with: leave lora out"
        )
    if recipe.model.lora is not None and not network.texts:
        raise ConfigurationError(
            f"model.lora: diffusers puts adapters on UNet2DConditionModel, and not on {network.kind}: leave it out"
        )
    return Around(network, folder, Frozen(folder, network.vae is not None, network.texts, device))


def pictures_of(recipe: DiffusionRecipe, around: Around) -> Pictures:
    """The recipe's images, of the model's size where nothing else is said.

    Raises:
        ConfigurationError: they cannot be read, or are to be drawn by a model that knows no texts.
    """
    data = recipe.data
    if data.source == CONCEPTS:
        network, folder, frozen = around.network, around.folder, around.frozen
        assert network and folder and frozen and data.prompts is not None, "the recipe has seen to it"
        if not network.texts:
            raise ConfigurationError(f"{CONCEPTS} are drawn for texts, and {network.kind} knows none: give images")
        how, prompts = data.drawing(), data.prompts
        sides = concepts.labels(prompts, how.images)
        drawn = partial(concepts.drawn, network, folder, frozen, prompts, how)
        return Pictures(prompts, *sides, drawn, captions=True)
    size = data.size
    if size is None and around.network is not None:
        size = around.network.pixels[1]
    source = load(data.source, data.path, size)
    return Pictures.of(source, captions=data.path is not None and has_captions(data.path))


def prompts_of(recipe: DiffusionRecipe, pictures: Pictures, around: Around) -> tuple[str, ...] | None:
    """What asks a model of texts for each class: its caption, or its name in the recipe's words; None of another model.

    Raises:
        ConfigurationError: captions, or the classes of a model that knows no texts, are to be put in words.
    """
    texts, form = around.texts, recipe.data.prompt
    if form is not None and (pictures.captions or not texts):
        trained = " (model.texts: true trains one that does)" if around.network is None else ""
        why = "the pictures have captions" if pictures.captions else f"the model knows no texts{trained}"
        raise ConfigurationError(f"data.prompt makes texts of classes, and {why}: leave it out")
    return tuple((form or "{class}").replace("{class}", each) for each in pictures.classes) if texts else None


def _network(recipe: DiffusionRecipe, pictures: Pictures, around: Around) -> Network:
    """What is unlearned.

    Raises:
        ConfigurationError: it is for other classes or images.
    """
    usual = SOURCES[recipe.data.source]
    if recipe.data.source == CONCEPTS:
        assert around.network is not None, "the recipe has seen to it"
        return around.network
    source = pictures.load()
    height, width = source.train.images.shape[2:]
    shape = source.channels, height, width
    if around.network is None:
        how = replace(usual.training, **recipe.training.arguments)
        if recipe.model.config is not None:
            return folders.described(recipe.model.config, len(pictures.classes), shape, how)
        widths, embedding = recipe.model.widths or usual.widths, letters.WIDTH if around.texts else None
        return unet(len(pictures.classes), shape, widths, how, embedding)
    network = around.network
    if not network.texts:
        network.null(len(pictures.classes))
    if network.pixels != shape:
        raise ConfigurationError(
            f"the model in {around.folder} draws images of {' x '.join(map(str, network.pixels))} (channels, height, "
            f"width), and the data are {' x '.join(map(str, shape))}: give data.size, or other data"
        )
    return network


def _notes(recipe: DiffusionRecipe, network: Network, around: Around, prompts: tuple[str, ...] | None) -> list[str]:
    found = []
    if recipe.evaluation.judge == "none":
        found.append(
            "Nobody judges what is drawn (evaluation.judge: none): shares, distances and attacks are left out."
        )
    if prompts is not None and around.frozen is not None and (cut := around.frozen.cut(prompts)):
        found.append(
            f"{len(cut)} of {len(prompts)} texts have more tokens than the encoder reads, and lose their ends, as in "
            f"diffusers: {cut[0]!r} is one."
        )
    if around.network is None or around.folder is None:
        return found
    if (place := place_of(around.folder, network.part)).name != network.part:
        found.append(f"{place} holds the averaged weights, which are what is sampled: they are unlearned.")
    if network.trained is None and recipe.evaluation.retrained:
        found.append(
            "There is no retrained model to compare with: nobody says how the one in model.weights was trained. Give "
            "the recipe a training section, or set evaluation.retrained: 0."
        )
    if recipe.data.source == CONCEPTS:
        found.append(
            "The model itself drew the images, of what is to be forgotten and of what is to be kept: scores say how "
            "far it is from what it was, and nothing of real images."
        )
    return found


def _needed(recipe: DiffusionRecipe, network: Network, around: Around, classes: int) -> str | None:
    """The memory of a step, in words; None of small networks that are trained here, unless a file describes one."""
    if around.network is None and recipe.model.config is None:
        return None
    found = estimate(recipe, network, around.frozen, classes)
    ways = "model.lora, model.parameters" if network.texts else "model.parameters"
    return found.text(devices.memory(devices.chosen(recipe.run.device)), ways, "docs/diffusion.md")
