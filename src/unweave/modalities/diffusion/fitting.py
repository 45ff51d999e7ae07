"""Whether images, request, model and what is asked of them fit each other, before anything is trained or written."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from unweave.data.checks import check_overlap
from unweave.errors import ConfigurationError, gathered
from unweave.methods import divided
from unweave.modalities.diffusion.job import DiffusionJob
from unweave.modalities.diffusion.recipe import DiffusionRecipe
from unweave.modalities.diffusion.sources import CONCEPTS
from unweave.modalities.diffusion.view import View
from unweave.modalities.images.tensors import TensorImages, check_shared, check_unseen

_CONDITIONS = ("to", "erase", "guide", "preserve", "at")  # what a method's arguments say of conditions
_GUIDED, _EDITED = "esd", "uce"  # the method that guides away from a condition, to none; the one that edits
_EACH = 5  # training images of a class that a judge is trained on, at least


def check(recipe: DiffusionRecipe, job: DiffusionJob) -> None:
    """Refuses what does not fit.

    Raises:
        ConfigurationError: all that does not, at once.
    """
    gathered(
        partial(_apart, recipe, job),
        partial(_target, recipe, job),
        partial(_null, recipe, job),
        partial(_sampling, job),
        partial(_judge, job),
        partial(_attacks, job),
    )


def _apart(recipe: DiffusionRecipe, job: DiffusionJob) -> None:
    """Sides that share an image, or a test image that is a training image; of concepts none can."""
    if recipe.data.source != CONCEPTS:
        source, split = job.pictures.load(), job.split
        sides = source.train.subset(split.forget), source.train.subset(split.retain)
        gathered(partial(_sides, *sides), partial(check_unseen, source.test, source.train))


def _sides(forget: TensorImages, retain: TensorImages) -> None:
    check_overlap(forget, retain)
    check_shared(forget, retain)


def _target(recipe: DiffusionRecipe, job: DiffusionJob) -> None:
    """What takes the place of a condition that is to be forgotten is another one, and of a text a text."""
    named, texts, view = _named(recipe), job.view.prompts, job.view
    numbers = {name: next((one for one in each if isinstance(one, int)), None) for name, each in named.items()}
    faults = [
        f"method.{name} is {number}, and this model knows texts: give one, such as {texts[0]!r}"
        for name, number in numbers.items()
        if texts is not None and number is not None
    ]
    if faults:
        raise ConfigurationError(faults)
    found = {name: {place for one in each for place in _places(view, one)} for name, each in named.items()}
    labels = job.pictures.labels  # those of `job.train` would have concepts drawn
    forget, retain = ({*labels[rows].tolist()} for rows in (job.split.forget, job.split.retain))
    faults += _alike(view, forget - retain, retain, named.get("to", []))
    if recipe.method.name == _EDITED:
        erased = found.get("erase", forget)
        for name, others in (("guide", found.get("guide", set())), ("preserve", found.get("preserve", retain))):
            if same := erased & others:
                what = (texts or view.classes)[min(same)]
                whose = f"method.{name}" if name in found else "the retain set"
                faults.append(
                    f"{whose} has {what!r}, which is to be forgotten: uce edits what asks for images, and tells no two "
                    "images of one condition apart. Give another, or choose a method with steps"
                )
    if faults:
        raise ConfigurationError(faults)


def _alike(view: View, forget: set[int], retain: set[int], to: list[object]) -> Iterator[str]:
    """Texts to keep, or to take the place of others, that the encoder reads as it does one to be forgotten."""
    if (texts := view.prompts) is None:
        return
    gone = {view.tokens(texts[each]): texts[each] for each in sorted(forget)}
    for each in filter(lambda one: isinstance(one, str), to):
        if (one := gone.get(view.tokens(view.text(str(each))))) is not None:
            same = "which" if one == each else f"which is to the text encoder what {one!r} is, and that"
            yield f"method.to is {each!r}, {same} is to be forgotten: give another condition"
    for kept in (texts[each] for each in sorted(retain)):
        if (one := gone.get(view.tokens(kept))) is not None:
            yield (
                f"{kept!r} is to be kept, and to the text encoder it is what {one!r} is, which is to be forgotten: ask "
                "for both, or put them in other words"
            )


def _listed(given: object) -> list[object]:
    return list(given) if isinstance(given, list | tuple) else [given]


def _named(recipe: DiffusionRecipe) -> dict[str, list[object]]:
    """What the method's arguments say of conditions."""
    own, other = divided(recipe.method.arguments)
    given = own | (other[1] if other else {})
    return {name: _listed(given[name]) for name in _CONDITIONS if given.get(name) is not None}


def _places(view: View, one: object) -> list[int]:
    """The class that a number, a name or a text means; none of other texts, and of words such as "random"."""
    if isinstance(one, int):
        return [one]
    return [names.index(one) for names in (view.classes, view.prompts or ()) if one in names][:1]


def _null(recipe: DiffusionRecipe, job: DiffusionJob) -> None:
    """A condition that means none is used where the model was trained to be asked so, and where somebody says it."""
    if (why := _untrained(job)) is None:
        return
    own, over = divided(recipe.method.arguments)
    name, null = recipe.method.name, job.view.null
    asking = [
        f"method.{argument} is {null}, which stands for none (give a class)"
        for argument, each in _named(recipe).items()
        if isinstance(null, int) and null in each
    ]
    if job.how.guidance != 1:
        asking.append(f"evaluation.guidance is {job.how.guidance:g} (1 is without)")
    if _GUIDED in (name, over and over[0]):
        asking.append(f"{_GUIDED} trains towards what the model predicts for none (choose another method)")
    if name == _EDITED and own.get("guide") is None:
        asking.append(f"{_EDITED} without a guide makes it what the model knows for none (give method.guide)")
    if asking:
        raise ConfigurationError(f"{each}, and {why}" for each in asking)


def _untrained(job: DiffusionJob) -> str | None:
    """Why the condition that means none cannot be used; None where it can."""
    texts, training = job.view.prompts is not None, job.training
    if not texts and job.view.null is None:
        return "the model has no condition that means none"
    if training is not None:
        return "the model always had a condition (training.dropout: 0)" if training.dropout == 0 else None
    if texts or job.network.drops:
        return None
    return (
        "nobody says whether the model's last class stood for none in its training: a row that was never trained draws "
        "something else, and its loss does not show it. Or say how the model was trained, training: {dropout: 0.1} "
        "(with evaluation.retrained: 0 where the rest is not known)"
    )


def _sampling(job: DiffusionJob) -> None:
    steps, total = job.how.sampling_steps, len(job.network.schedule)
    if steps > total:
        raise ConfigurationError(
            f"evaluation.sampling_steps must be at most the {total} timesteps of the schedule; found {steps}"
        )


def _judge(job: DiffusionJob) -> None:
    """A judge needs some images of every class."""
    if job.how.judge == "none":
        return
    counts = job.pictures.labels.bincount(minlength=len(job.pictures.classes))
    rare = [job.pictures.classes[each] for each in (counts < _EACH).nonzero().flatten().tolist()]
    if rare:
        raise ConfigurationError(
            f"a judge of what is drawn needs {_EACH} training images of every class; found fewer of {len(rare)}, such "
            f"as {rare[0]!r}. Give more, fewer captions, or evaluation.judge: none, which shows what is drawn and does "
            "not judge it."
        )


def _attacks(job: DiffusionJob) -> None:
    """Only a model of texts has prompts to search."""
    if job.view.prompts is None and job.how.attacks is not None and "prompt" in job.how.attacks.which:
        raise ConfigurationError(
            "evaluation.attacks.which: 'prompt' searches words, and the model is asked by classes: leave it out; "
            "'search' looks for another condition"
        )
