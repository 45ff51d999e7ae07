"""Forget sides of diffusion models: another condition's prediction, none's, or noise in the place of what is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from unweave.arguments import check_fields, fault
from unweave.data.draws import gaussian, numbers, uniform
from unweave.errors import ConfigurationError
from unweave.execution import bare, draws, reshard
from unweave.losses._base import Batch, denoiser
from unweave.losses.original import Reference, standing
from unweave.modules import still
from unweave.tasks import Diffusion, Noised, Task
from unweave.tasks.diffusion import OTHER, TARGET

_DRAWN = ("next", "random")
_RELABELLING, _GUIDANCE = "Relabelling a condition", "Negative guidance"


@dataclass(frozen=True, eq=False)
class Relabel:
    """What is predicted for another condition: `w_t mean_d (f(x_t, t, c) - g(x_t, t, c'))^2`, no gradient to g.

    x_t is a noised forget image, and no condition is dropped on either side. With "random" the best f is the *mean* of
    the others' predictions, which draws blurred mixtures; "next" and a given condition draw clean images of it.

    Args:
        task: `tasks.Diffusion`.
        reference: g, the original model or what stands for it; None is the model that moves, as it is at each step.
        to: c': "random" is any other class, drawn for each example as its timestep is; "next" is `(c + 1) mod classes`;
            or one condition for all, a class, embeddings `[L, D]`, or the name of one (`task.named`). Where the task
            says what may stand for others (`task.others`: what is kept), another is one of these, and the next class is
            the next of these; of embeddings there is no next.
        classes: for "random" and "next": classes there are, null not counted; None is the null class, which comes after
            them.

    Raises:
        ConfigurationError: a value that cannot be, nobody says the number of classes, or there is no other class that
            is kept; of a call: "random" or "next" and the conditions are no classes, or `to` is none of their kind.
        UnsupportedError: the task is not that of a diffusion model.

    SalUn, Fan et al., ICLR 2024 (arXiv:2310.12508), equation 7; concept ablation, Kumari et al., ICCV 2023
    (arXiv:2303.13516), whose anchor is `to`. Differs from the authors' code: the target is the original's, not the
    current model's in training mode (None is the current model, in the mode it is in), conditions are dropped nowhere,
    and both sides are means.
    """

    task: Task
    reference: Reference | None
    to: int | str | Tensor = "random"
    classes: int | None = None

    def __post_init__(self) -> None:
        check_fields(self, to=_condition, classes="[2, inf)")
        task = denoiser(self.task, _RELABELLING)
        _check_known(task, "to", self.to)
        _check_kept(task, self.to)
        if self._drawn and self.classes is None and task.others is None:
            if not isinstance(task.null, int):
                raise ConfigurationError(
                    f"classes must be given for to={self.to!r}, as the task has no null class that comes after them: "
                    "pass classes=, or one condition as to=."
                )
            object.__setattr__(self, "classes", task.null)

    @property
    def _drawn(self) -> bool:
        return isinstance(self.to, str) and self.to in _DRAWN

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Of each example, `[b]`."""
        task = denoiser(self.task, _RELABELLING)
        noised = task.draw(batch, dropout=False)
        other = self._other(noised)
        with torch.no_grad():
            if self.reference is not None:
                with standing(self.reference, model) as original:
                    target = task.predict(original, noised, other)
            else:
                with still(model):
                    target = task.predict(bare(model), noised, other)
                reshard(model)
        return task.distance(model, noised, target)

    def _other(self, noised: Noised) -> Tensor:
        own, task = noised.condition, denoiser(self.task, _RELABELLING)
        if not self._drawn:
            other = task.conditions(self.to, own)
            if other.equal(own):
                raise ConfigurationError(
                    "to is the very condition that is to be forgotten, so that nothing would be: give another."
                )
            return other
        if own.is_floating_point() and task.others is not None and task.others.is_floating_point():
            return _another(task.others.to(own), own, noised.seeds)
        classes = self.classes or 0
        if own.is_floating_point():
            raise ConfigurationError(
                f"to={self.to!r} is for classes, and the conditions are embeddings: pass those of another text as to=."
            )
        if task.others is None and bool((own >= classes).any()):
            raise ConfigurationError(
                f"classes={classes}, and the batch has conditions up to {int(own.max())}: pass classes=, one more than "
                "the highest class."
            )
        others = torch.arange(classes, device=own.device) if task.others is None else task.others.to(own.device)
        if len(others) == 1 and bool((own == others).any()):
            raise ConfigurationError(
                f"to={self.to!r} needs another class than an example's own, and class {int(others)}, which examples to "
                "be forgotten have, is the only one that is kept: give a condition, or ask for whole classes."
            )
        after = torch.searchsorted(others, own, right=True)
        if self.to == "next":
            return others[after % len(others)]
        count = len(others) - torch.isin(own, others).long()  # its own comes last in this order, and is not drawn
        drawn = numbers(noised.seeds, torch.full_like(noised.seeds, OTHER)).to(own.device)
        return others[(after + drawn % count) % len(others)]


@dataclass(frozen=True, eq=False)
class NegativeGuidance:
    """The original's prediction guided away from the condition: `w_t mean_d (f(x_t, t, c) - y)^2`.

        y = f_0(x_t, t, null) - eta (f_0(x_t, t, c) - f_0(x_t, t, null))

    The target does not depend on the weights that move, so the loss is bounded below by 0. x_t is a noised forget
    image.

    Args:
        task: `tasks.Diffusion` with null.
        reference: f_0, the original model, or what stands for it.
        eta: strength of the guidance.
        at: the condition for which f is trained, a class, embeddings or a name, and from whose prediction the
            original's is guided away: `y = f_0(x_t, t, at) - eta (f_0(x_t, t, c) - f_0(x_t, t, null))`. None is c, and
            the above.

    Raises:
        ConfigurationError: eta is not finite, or the task has no null; of a call: null is what is to be forgotten.
        UnsupportedError: the task is not that of a diffusion model.

    ESD, Gandikota et al., ICCV 2023 (arXiv:2303.07345), equation 7; SPM, Lyu et al., CVPR 2024 (arXiv:2312.16145), with
    a neutral condition as null. Differs from the authors' code, which denoises x_t from noise by the model itself.
    """

    task: Task
    reference: Reference
    eta: float = 1.0
    at: int | str | Tensor | None = None

    def __post_init__(self) -> None:
        check_fields(self, at=_place)
        task = denoiser(self.task, _GUIDANCE)
        _check_known(task, "at", self.at)
        if task.null is None:
            task.nothing(torch.zeros(1), _GUIDANCE)

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Of each example, `[b]`."""
        task = denoiser(self.task, _GUIDANCE)
        noised = task.draw(batch, dropout=False)
        nothing = task.nothing(noised.condition, _GUIDANCE)
        if nothing.equal(noised.condition):
            raise ConfigurationError(
                f"{_GUIDANCE} leads to what is predicted for none, and none (null) is the very condition that is to be "
                "forgotten, so that nothing would be: choose another method, or another null."
            )
        asked = [nothing, noised.condition]
        at = None if self.at is None else task.conditions(self.at, noised.condition)
        asked += [] if at is None else [at]
        x, t = torch.cat([noised.x_t] * len(asked)), torch.cat([noised.t] * len(asked))
        with torch.no_grad(), standing(self.reference, model) as original:
            none, known, *base = task.seen(original, x, t, torch.cat(asked)).chunk(len(asked))
        return task.distance(model, noised, (base[0] if base else none) - self.eta * (known - none), at)


def _another(others: Tensor, own: Tensor, seeds: Tensor) -> Tensor:
    """Of each example one of the others, all alike, but never its own; `[b, L, D]`.

    Raises:
        ConfigurationError: there is no other.
    """
    count = len(others)
    first, second = (numbers(seeds, torch.full_like(seeds, OTHER + n)).to(own.device) for n in range(2))
    found = first % count
    met = (others[found] == own).flatten(1).all(1)  # then any of the rest: each has 1 / (count - 1)
    if bool(met.any()):
        if count < 2:
            raise ConfigurationError("to='random' needs another condition than the one to be forgotten; found none.")
        found = torch.where(met, (found + 1 + second % (count - 1)) % count, found)
    return others[found]


def _check_known(task: Diffusion, name: str, given: int | str | Tensor | None) -> None:
    """Refuses a name that stands for nothing, and a class beyond the null class, which comes after all others."""
    if isinstance(given, str) and given not in _DRAWN:
        if task.named is None:
            known = int | Literal["next", "random"] if name == "to" else int | None
            raise ConfigurationError(fault(name, given, known, "[0, inf)"))
        task.condition(given)
    if isinstance(given, int) and isinstance(task.null, int) and given > task.null:
        raise ConfigurationError(
            f"{name} must be a class that the model knows, 0 to {task.null - 1}, or {task.null} for none; found {given}"
        )


def _check_kept(task: Diffusion, given: int | str | Tensor) -> None:
    """Refuses a class that is to be forgotten itself, and a request that leaves no other, where the task knows."""
    if task.others is None:
        return
    if task.others.is_floating_point():
        if given == "next":
            raise ConfigurationError("to='next' is for classes, and the conditions are texts: name one, to='...'.")
        return
    kept = task.others.tolist()
    meant = task.condition(given) if isinstance(given, str) and given not in _DRAWN else given
    if isinstance(meant, int) and meant != task.null and meant not in kept:
        raise ConfigurationError(
            f"to must be a class that is kept ({', '.join(map(str, kept))}), or {task.null} for none; found {given!r}, "
            "which is to be forgotten itself"
        )
    if isinstance(given, str) and given in _DRAWN and not kept:
        raise ConfigurationError(f"to={given!r} needs a class that is kept; found none: give a condition.")


@dataclass(frozen=True, eq=False)
class NoiseTarget:
    """Noise that is not the one in x_t: `w_t mean_d (f(x_t, t, c) - z)^2`, z drawn for each example.

    Args:
        task: `tasks.Diffusion`.
        kind: "uniform" is `z ~ U(0, 1)`, the paper's; "normal" is `z ~ N(0, I)`.

    Raises:
        ConfigurationError: the kind is neither.
        UnsupportedError: the task is not that of a diffusion model.

    EraseDiff, Wu et al. (arXiv:2401.05779).
    """

    task: Task
    kind: Literal["uniform", "normal"] = "uniform"

    def __post_init__(self) -> None:
        check_fields(self)
        denoiser(self.task, "A target of noise")

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Of each example, `[b]`."""
        task = denoiser(self.task, "A target of noise")
        noised = task.draw(batch, dropout=False)
        drawn = uniform if self.kind == "uniform" else gaussian
        return task.distance(model, noised, drawn(noised.seeds, noised.x_t.shape[1:], TARGET).to(noised.x_t))


@dataclass(frozen=True, eq=False)
class Surrogate:
    """The denoising loss of the condition with uniform noise in the place of its images, `x0 ~ U(-1, 1)`.

    Args:
        task: `tasks.Diffusion`, over images or latents of about that range.

    Raises:
        UnsupportedError: the task is not that of a diffusion model.

    Selective Amnesia, Heng and Soh, NeurIPS 2023 (arXiv:2305.10120).
    """

    task: Task

    def __post_init__(self) -> None:
        denoiser(self.task, "A surrogate image")

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Of each example, `[b]`."""
        task = denoiser(self.task, "A surrogate image")
        if isinstance(batch, Mapping) and isinstance(x0 := batch.get("x0"), Tensor):
            drawn = 2 * uniform(draws(len(x0)), x0.shape[1:], TARGET) - 1
            batch = {**batch, "x0": drawn.to(x0)}
        noised = task.draw(batch, dropout=False)
        return task.distance(model, noised, noised.target)


def _condition(name: str, given: Any) -> str:
    """What `to` may be; a name is looked up."""
    if isinstance(given, Tensor | str):
        return ""
    return fault(name, given, int, "[0, inf)") and fault(name, given, int | Literal["next", "random"], "[0, inf)")


def _place(name: str, given: Any) -> str:
    """What `at` may be; a name is looked up."""
    return "" if isinstance(given, Tensor | str) else fault(name, given, int | None, "[0, inf)")
