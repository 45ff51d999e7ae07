"""Whether images, request, model and what is asked of them fit each other, before anything is trained or written."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial

from unweave.data.checks import check_overlap
from unweave.errors import ConfigurationError, gathered, suggest
from unweave.methods import divided
from unweave.modalities import by_row
from unweave.modalities.diffusion.evaluation.judge import SMALL, TINY
from unweave.modalities.diffusion.job import DiffusionJob
from unweave.modalities.diffusion.recipe import DiffusionRecipe
from unweave.modalities.diffusion.sources import CONCEPTS
from unweave.modalities.diffusion.view import View
from unweave.modalities.images.tensors import TensorImages, check_shared, check_unseen

_CONDITIONS = ("to", "erase", "guide", "preserve", "at")  # what a method's arguments say of conditions
_WORDS = ("next", "random")
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
        partial(_clauses, recipe, job),
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
    """What a method's arguments say of conditions: they are there, and none stands for another that is forgotten too.

    Raises:
        ConfigurationError: all that is not so, but for what cannot be looked at before the rest is mended.
    """
    named, view, labels = _named(recipe), job.view, job.pictures.labels  # those of `job.train` would draw concepts
    if faults := [*_unknown(view, named), *_numbered(recipe, view)]:
        raise ConfigurationError(faults)
    forget, retain = ({*labels[rows].tolist()} for rows in (job.split.forget, job.split.retain))
    lost = {*labels.tolist()} - retain  # by this request, or one before
    for name, gone in (("to", lost), ("guide", lost), ("at", lost - forget)):
        faults += [
            f"method.{name} is {each!r}, {same}: give another condition"
            for each in named.get(name, ())
            if (same := _among(view, gone, each))
        ]
    if view.prompts is not None:
        faults += [
            f"{text!r} is to be kept, and it is one {same}: ask for both, or put them in other words"
            for text in (view.prompts[each] for each in sorted(retain))
            if (same := _among(view, forget - retain, text))
        ]
    if recipe.method.name == _EDITED:
        faults += _edited(view, named, forget, retain)
    if faults:
        raise ConfigurationError(faults)


def _unknown(view: View, named: Mapping[str, Sequence[object]]) -> Iterator[str]:
    """Numbers for texts, and numbers and names that no class has; a text may be any."""
    classes, texts, null = view.classes, view.prompts, view.null if view.prompts is None else None
    for name, each in ((name, each) for name, every in named.items() for each in every):
        if texts is not None and isinstance(each, int):
            yield f"method.{name} is {each}, and this model knows texts: give one, such as {texts[0]!r}"
        elif texts is None and isinstance(each, int) and each != null and by_row.numeric(classes):
            yield (
                f"method.{name} is {each}, and the names of classes are numbers: write the name in quotes, '{each}', "
                "as a number without is a place among them"
            )
        elif texts is None and isinstance(each, int) and each not in {*range(len(classes)), null}:
            more = "" if null is None else f", and {null} for none"
            yield f"method.{name} is {each}, and the classes are 0 to {len(classes) - 1}{more}"
        elif texts is None and isinstance(each, str) and each not in {*classes, *(_WORDS if name == "to" else ())}:
            there = f"{suggest(each, classes)} There are: {', '.join(classes)}"
            yield f"method.{name} is {each!r}, and no class is named so.{there}"


def _numbered(recipe: DiffusionRecipe, view: View) -> Iterator[str]:
    """Another number of classes than the data have."""
    own, other = divided(recipe.method.arguments)
    given = (own | (other[1] if other else {})).get("classes")
    if given is not None and given != len(view.classes):
        yield f"method.classes is {given}, and the data have {len(view.classes)} classes: leave it out"


def _among(view: View, gone: Collection[int], given: object) -> str:
    """In words that a condition is one of these that are forgotten; of texts, that the encoder reads it as one."""
    if view.prompts is None:
        return "which is to be forgotten" if {*_places(view, given)} & {*gone} else ""
    read = {view.tokens(view.prompts[each]): view.prompts[each] for each in sorted(gone)}
    if (same := read.get(view.tokens(view.text(str(given))))) is None:
        return ""
    if same in (given, view.text(str(given))):
        return "which is to be forgotten"
    return f"which is to the text encoder what {same!r} is, and that is to be forgotten"


def _edited(view: View, named: Mapping[str, Sequence[object]], forget: set[int], retain: set[int]) -> Iterator[str]:
    """What uce cannot do: it edits what asks for images, and tells no two images of one condition apart."""
    found = {name: {place for one in each for place in _places(view, one)} for name, each in named.items()}
    words = view.prompts or view.classes
    if left := (forget - retain) - found.get("erase", forget):
        yield f"method.erase leaves out {words[min(left)]!r}, which is to be forgotten: name it too, or leave erase out"
    erased = found.get("erase", forget)
    for whose, others in (("method.preserve", found.get("preserve")), ("the retain set", retain)):
        if same := erased & (others or set()):
            yield (
                f"{whose} has {words[min(same)]!r}, which is to be forgotten: uce edits what asks for images, and "
                "tells no two images of one condition apart. Give another, or choose a method with steps"
            )
            return


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
        f"method.{argument} is {each!r}, which stands for none (give another)"
        for argument, every in _named(recipe).items()
        for each in every
        if (each == null if isinstance(null, int) else each == "")
    ]
    if recipe.data.source == CONCEPTS and recipe.data.guidance != 1:
        asking.append(f"data.guidance is {recipe.data.guidance:g} (1 is without)")
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
    texts, training = job.view.prompts is not None, job.network.trained
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


def _clauses(recipe: DiffusionRecipe, job: DiffusionJob) -> None:
    """What is still drawn is a question about classes that no kept image has."""
    asked = () if recipe.contract is None else recipe.contract.forget or ()
    if not job.gone and any(getattr(entry, "metric", None) == "generated" for entry in asked):
        raise ConfigurationError(
            "contract.forget: 'generated' is of requests that take whole classes, and here every class is kept too, "
            "and is to be drawn as before: leave the clause out (the default is 'unseen')"
        )


def _sampling(job: DiffusionJob) -> None:
    steps, total = job.how.sampling_steps, len(job.network.schedule)
    if steps > total:
        raise ConfigurationError(
            f"evaluation.sampling_steps must be at most the {total} timesteps of the schedule; found {steps}"
        )


def _judge(job: DiffusionJob) -> None:
    """A judge needs some images of every class, of a size that it reads."""
    if job.how.judge == "none":
        return
    if (side := min(job.network.pixels[1:])) != TINY and side < SMALL:
        raise ConfigurationError(
            f"a judge of what is drawn reads images of {TINY} pixels a side, or of {SMALL} and more; found {side}: "
            "give data.size, where the model allows it, or evaluation.judge: none"
        )
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
