r"""Does it come back? A searched condition, a searched prompt, and training, each beside the retrained control.

Condition search: a condition c* that minimises the denoising loss on a few images to forget while every weight stays,

    c* = argmin_c mean_i E_{t, e} (f(x_t, t, c) - y)^2

(Pham et al., "Circumventing concept erasure methods", ICLR 2024, arXiv:2308.01508). What was only hidden from its own
condition is found by another one. Of a class-conditional model c* is a row of its embedding; else it is the embeddings.
Prompt search, of models of texts: the same over words that one can type (`prompts`).
Relearning trains all weights on those images, or, "benign", on images to keep alone (resurgence, arXiv:2410.08074).

A search makes some of a class out of nothing, and a network learns it anew, so none of these numbers says anything
without that of a model which was retrained without the forget set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unweave.arguments import check_fields, natural
from unweave.data.batches import Batch
from unweave.data.draws import numbers
from unweave.errors import ConfigurationError, UnsupportedError
from unweave.evaluation.intervals import share
from unweave.evaluation.metric import Array, Measurement, Metric, Score
from unweave.execution import device_of
from unweave.modalities.diffusion.evaluation.exam import Exam, Held, drawing
from unweave.modalities.diffusion.evaluation.prompts import searched_tokens
from unweave.modules import copied, evaluating
from unweave.tasks import Diffusion

Kind = Literal["search", "prompt", "relearning", "benign"]
KINDS = get_args(Kind)
Hits = Mapping[str, Array]


@dataclass(frozen=True)
class Attack:
    """What the attacker has and does.

    Args:
        which: "search", "prompt" (models of texts alone), "relearning", "benign"; none of them is no attack.
        images: of each class to forget.
        search: steps of the condition search, and of the prompt search.
        search_lr: of its Adam.
        looks: draws of (t, e) for an image at a step of it.
        tokens: that the prompt search may put before the text.
        lr: of the Adam that trains all weights.
        batch: images of a step of that, at most.
        drawn: images of each class to forget that are drawn afterwards.
        seed: of the images and of all noise.

    Raises:
        ConfigurationError: numbers out of range or an attack that is none, all of them at once.
    """

    which: tuple[Kind, ...] = ("search",)
    images: int = 20
    search: int = 60
    search_lr: float = 0.1
    looks: int = 4
    tokens: int = 5
    lr: float = 5e-4
    batch: int = 64
    drawn: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        whole = dict.fromkeys(("images", "search", "looks", "tokens", "batch", "drawn"), natural)
        unknown = [str(each) for each in self.which if each not in KINDS]
        odd = f"which may have {', '.join(KINDS)}; found {', '.join(unknown)}." if unknown else ""
        check_fields(self, odd, search_lr="(0, inf)", lr="(0, inf)", **whole)

    @property
    def steps(self) -> Mapping[Kind, int]:
        """That each of the attacks takes."""
        return {each: self.search if each in SEARCHES else max(STEPS) for each in self.which}


SEARCHES = ("search", "prompt")
"""Attacks that move no weight."""
STEPS = (5, 40)
"""Steps of training after which a class to forget is drawn again."""


def _metric(name: str, plain: str, after: str, source: str) -> Metric:
    told = f"share of images of a class to forget that the judge calls it, {after}"
    about = ("a request that names classes, and their training images", "the judge's answer is not finite", source)
    return Metric(
        name, told, "share", "as null", (0, 1), "example", *about, "the retrained model's, so attacked", plain
    )


FOUND = _metric(
    *("search", "found again by a search"),
    *("drawn for a condition searched on some of its images, no weight moved", "arXiv:2308.01508"),
)
PROMPT = _metric(
    *("prompt_search", "found again by a search for words"),
    *("drawn for its text behind words that were searched, no weight moved", "arXiv:2310.11868"),
)
_TRAINED: Mapping[Kind, Mapping[int, Metric]] = {
    "relearning": {
        k: _metric(
            *(f"relearned_{k}", f"drawn again after {k} steps of training on it"),
            *(f"after {k} steps on some of its images", ""),
        )
        for k in STEPS
    },
    "benign": {
        k: _metric(
            *(f"benign_{k}", f"drawn again after {k} steps of training on others"),
            *(f"after {k} steps on images to keep", "arXiv:2410.08074"),
        )
        for k in STEPS
    },
}
ATTACKS = {metric.name: metric for metric in (FOUND, PROMPT, *(m for each in _TRAINED.values() for m in each.values()))}
"""What each attack's score is, by name."""


def searched(
    model: nn.Module, task: Diffusion, x0: Tensor, condition: Tensor, how: Attack | None = None
) -> tuple[nn.Module, Tensor]:
    """A model and the condition found, with which it draws what the images show; no weight of the given one moves.

    Args:
        model: the denoiser; it stays as it is. The one that comes back is a copy in which nothing but the searched row
            of its embeddings has moved, or, where conditions are embeddings, the model itself.
        task: the model's.
        x0: images, `[n, ...]` in the scale of the training.
        condition: what they are to be asked for by: a class `[]`, or embeddings `[L, D]`, whose values are not used.
        how: steps, learning rate and draws.

    Returns:
        The model, and the condition: the same class, or embeddings `[L, D]`.

    Raises:
        UnsupportedError: conditions are classes, and the model has no `torch.nn.Embedding` of them.
    """
    how = how or Attack()
    reading, x0 = replace(task, looks=how.looks, dropout=0.0), x0.to(device_of(model))
    if condition.is_floating_point():
        known = task.null if isinstance(task.null, Tensor) else torch.zeros_like(condition)
        found = known.detach().clone().to(x0.device, torch.float32).requires_grad_()
        frozen = copied(model).requires_grad_(False)
        _descended(frozen, reading, x0, lambda: found.expand(len(x0), *found.shape), [found], how)
        return model, found.detach()
    own, row = copied(model).requires_grad_(False), int(condition)
    tables = [m.weight for m in own.modules() if isinstance(m, nn.Embedding) and m.num_embeddings > row]
    if not tables:
        raise UnsupportedError(
            f"{type(model).__name__} has no torch.nn.Embedding with a row for class {row}, so no condition can be "
            "searched in it: leave the condition search out."
        )
    for table in tables:
        with torch.no_grad():
            others = torch.arange(len(table), device=table.device) != row
            table[row] = table[others].mean(0)  # what the row of the class still holds is not used
        table.requires_grad_().register_hook(lambda gradient: _of_row(gradient, row))
    asked = condition.to(x0.device).expand(len(x0))
    _descended(own, reading, x0, lambda: asked, tables, how)
    return own, condition


def relearned(
    model: nn.Module,
    task: Diffusion,
    batches: Iterator[Batch],
    lr: float,
    steps: tuple[int, ...] = STEPS,
    seed: int = 0,
) -> Iterator[tuple[int, nn.Module]]:
    """A copy of the model after each of these numbers of steps of Adam on the batches; the given one stays as it is."""
    own = copied(model).requires_grad_()
    optimizer, place = torch.optim.Adam(own.parameters(), lr), 0
    for step in range(1, max(steps) + 1):
        batch = next(batches)
        count = len(batch["x0"])
        with evaluating(own), drawing(numbers(seed, place + torch.arange(count))):
            optimizer.zero_grad()
            task.nll(own, batch).mean().backward()
        optimizer.step()
        place += count
        if step in steps:
            yield step, own


def attacks(model: nn.Module, exam: Exam, how: Attack, told: Callable[[int], None] = lambda done: None) -> Hits:
    """What each attack brings back of the classes to forget; nothing where the request names none.

    Args:
        model: the denoiser; it stays as it is.
        exam: the classes, the sets "forget" and "retain", the judge, and how images are drawn.
        how: what the attacker has and does; a retrained model is to be attacked by the same.
        told: how many steps of all attacks are done.

    Returns:
        By the name of its score, 1 for each image drawn afterwards that the judge calls the class, else 0.

    Raises:
        ConfigurationError: the forget set has no image of a class to forget.
        UnsupportedError: no condition can be searched in the model, or no text.
    """
    forget, retain, found, done = exam.sets["forget"], exam.sets["retain"], dict[str, Array](), 0
    for kind, steps in how.steps.items() if exam.forgotten else ():
        rows = {each: _rows_of(forget, each, how) for each in exam.forgotten}
        if kind in SEARCHES:
            metric, find = (FOUND, _found) if kind == "search" else (PROMPT, _prompted)
            parts = [find(model, exam, each, forget.batch(own), how) for each, own in rows.items()]
            found[metric.name] = np.concatenate(parts)
        else:
            data, allowed = forget, np.concatenate(list(rows.values()))
            if kind == "benign":
                data, allowed = retain, np.arange(len(retain))
            batches = _batches(data, allowed, how, device_of(model))
            for step, trained in relearned(model, exam.task, batches, how.lr, seed=how.seed):
                pictures = exam.drawn(trained, exam.forgotten, how.drawn)
                found[_TRAINED[kind][step].name] = _hits(exam, pictures, np.repeat(exam.forgotten, how.drawn))
                told(done + step)
        done += steps
        told(done)
    return found


def condition_search(model: nn.Module, exam: Exam, how: Attack | None = None) -> Score:
    """The first of the attacks alone: what conditions searched for the classes to forget draw; see `attacks`."""
    hits = attacks(model, exam, replace(how or Attack(), which=("search",)))
    return FOUND.of({}, lambda: counted(hits[FOUND.name]))


def _found(model: nn.Module, exam: Exam, asked: int, batch: Batch, how: Attack) -> Array:
    """Of each image of a searched condition, whether the judge calls it that class."""
    own, condition = searched(model, exam.task, batch["x0"], exam.condition(torch.tensor([asked]))[0], how)
    return _drawn(own, exam, asked, condition, how)


def _prompted(model: nn.Module, exam: Exam, asked: int, batch: Batch, how: Attack) -> Array:
    """Of each image of a searched prompt, whether the judge calls it that class."""
    if exam.words is None:
        raise UnsupportedError(f"{type(model).__name__} is not asked by texts: leave the prompt search out.")
    words, x0 = exam.words(asked, how.tokens), batch["x0"].to(device_of(model))
    reading, rows = replace(exam.task, looks=how.looks, dropout=0.0), torch.arange(len(x0))

    def loss(step: int, condition: Tensor) -> Tensor:
        given = {"x0": x0, "condition": condition.expand(len(x0), *condition.shape)}
        with drawing(numbers(how.seed, step * len(x0) + rows)):
            return reading.nll(frozen, given).mean()

    frozen = copied(model).requires_grad_(False)
    with evaluating(frozen):
        tokens = searched_tokens(words, loss, how.search, how.seed)
        with torch.no_grad():
            condition = words.embedded(words.table[tokens])
    return _drawn(model, exam, asked, condition.cpu(), how)


def _drawn(model: nn.Module, exam: Exam, asked: int, condition: Tensor, how: Attack) -> Array:
    conditions = condition.expand(how.drawn, *condition.shape)
    pictures = exam.pictures(model, conditions, torch.arange(how.drawn))
    return _hits(exam, pictures, np.full(how.drawn, asked))


def _hits(exam: Exam, pictures: Tensor, asked: NDArray[np.int64]) -> Array:
    logits = exam.beholder.logits(pictures).numpy()
    return ((logits.argmax(1) == asked) & np.isfinite(logits).all(1)).astype(np.float64)


def counted(hits: Array) -> Measurement:
    """The share of ones, with its interval."""
    return share(int(hits.sum()), len(hits))


def _rows_of(data: Held, asked: int, how: Attack) -> NDArray[np.int64]:
    """Some rows of a class, by the seed."""
    labels = data.labels
    rows = np.arange(0) if labels is None else (labels == asked).nonzero().flatten().numpy()
    if not len(rows):
        raise ConfigurationError(
            f"the attacks need images of class {asked} in the forget set; found none. Name the classes that are "
            "forgotten whole, and give the set their labels."
        )
    return np.sort(np.random.default_rng(how.seed).permutation(rows)[: how.images])


def _batches(data: Held, allowed: NDArray[np.int64], how: Attack, device: torch.device) -> Iterator[Batch]:
    rng, size = np.random.default_rng(how.seed), min(how.batch, len(allowed))
    while True:
        batch = data.batch(np.sort(rng.choice(allowed, size, replace=False)))
        yield {name: each.to(device) for name, each in batch.items()}


def _descended(
    model: nn.Module, task: Diffusion, x0: Tensor, conditions: Callable[[], Tensor], moved: list[Tensor], how: Attack
) -> None:
    """Moves what is searched, by Adam on the mean denoising loss."""
    optimizer, rows = torch.optim.Adam(moved, how.search_lr), torch.arange(len(x0))
    with evaluating(model):
        for step in range(how.search):
            with drawing(numbers(how.seed, step * len(x0) + rows)):
                loss = task.nll(model, {"x0": x0, "condition": conditions()}).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def _of_row(gradient: Tensor, row: int) -> Tensor:
    """The gradient of one row; the others stay."""
    own = torch.zeros_like(gradient)
    own[row] = gradient[row]
    return own
