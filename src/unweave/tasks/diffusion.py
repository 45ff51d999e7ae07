"""Diffusion models: a noised image or latent and a condition in, the noise (or what it is made of) out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from unweave.arguments import callable_with, check_fields, kind, maybe, natural, wrong
from unweave.data.batches import Batch
from unweave.data.draws import gaussian, numbers, uniform
from unweave.data.twins import on_host
from unweave.errors import ConfigurationError
from unweave.execution import draws
from unweave.tasks._denoisers import between, check_classes, native, prediction, read, words
from unweave.tasks.doubts import doubts
from unweave.tasks.schedule import Schedule

Call = Callable[[nn.Module, Tensor, Tensor, Tensor], Any]
Values = Callable[[nn.Module, Batch], Tensor]
Condition = int | Tensor
DROPPED, OTHER, TARGET, COPIES = 2**40, 2**41, 2**42, 2**43
"""First places in an example's stream: of what drops its condition, of another condition, of a target that is drawn, of
its copies (`looks`). Place 0 is the timestep, and the noise begins at place 1."""
READ = 8  # looks at an example whose loss is only read
_SCORED = 8  # looks at an example of which a membership score is made


@dataclass(frozen=True, eq=False)
class Noised:
    """What one pass sees; `n = b looks` rows, the looks of an example one after the other.

    Attributes:
        x_t: the noised images or latents, `[n, ...]`.
        t: timesteps, `[n]`, int64.
        condition: classes `[n]`, int64, or embeddings `[n, L, D]`.
        target: what the model's output is compared with, like x_t.
        seeds: each row's stream of random numbers (`data.draws.numbers`), `[n]`, int64, on the CPU.
    """

    x_t: Tensor
    t: Tensor
    condition: Tensor
    target: Tensor
    seeds: Tensor


@dataclass(frozen=True, eq=False)
class Diffusion:
    """A conditional diffusion model over batches `{"x0": [b, ...], "condition": [b] or [b, L, D]}`.

    `x0` is an image or latent in the scale of the training, a condition a class or the embeddings of a text. A batch
    is noised, `x_t = sqrt(a_t) x0 + sqrt(1 - a_t) e` with `e ~ N(0, I)` and `t ~ U{0..T-1}`, and the model's output is
    compared with the target that the schedule says (Ho et al., 2020, equation 14). t, e and what else is drawn for an
    example are functions of `execution.draws`: the same at every look, in any micro-batches and on any ranks.

    diffusers' `UNet2DModel`, `UNet2DConditionModel` and DiT are called by their own signature. Of a model with learned
    variance (twice the channels) the first half is the prediction; the rest is ignored. The nll is a squared error,
    the mean over the numbers of an example, and no likelihood.

    Args:
        schedule: the noise of each timestep, and what the model predicts.
        null: the condition that means none, a class or embeddings `[L, D]`; None of a model that knows none.
        dropout: share of conditions that are replaced by null in the nll and in the divergence, as in training for
            classifier-free guidance; losses that give a condition another meaning drop none.
        weighting: "min_snr" weighs each timestep as `Schedule.min_snr` says, "none" all alike.
        gamma: of min-SNR.
        looks: draws of (t, e) for each example, whose mean is the loss: copy j has `t = floor(T (j + u) / looks)`.
            1 is enough in steps; readings want 8 to 20.
        call: `(model, x_t, t, condition) -> prediction` of any other model.
        recognised: `(model, batch) -> [b]`, 1 where what the model draws for an example's condition is recognised as
            asked for, else 0; the contract's "recognised" and "generated" read it. It may have `passes`, how many
            forward passes one example takes, and `several(images, skip)`: the same of so many images for each example,
            `[b, images]`, after so many that are left out. Then a contract draws as many as its limit takes.
        named: what a name stands for where a condition is given by name: the class, or the embeddings `[L, D]` of the
            text. It refuses names that it does not know.
        others: what may be asked for in the place of a condition to forget: classes `[k]`, where None is all; or
            embeddings `[k, L, D]`.

    Raises:
        ConfigurationError: an argument has no possible value, or conditions shall be dropped and there is no null; of a
            call: a batch is not such a mapping, a class is out of range, or the output does not have the shape of x0.
    """

    schedule: Schedule
    null: int | Tensor | None = None
    dropout: float = 0.0
    weighting: Literal["none", "min_snr"] = "none"
    gamma: float = 5.0
    looks: int = 1
    call: Call | None = None
    recognised: Values | None = None
    named: Callable[[str], Condition] | None = None
    others: Tensor | None = None

    unit = "squared error"
    reading_batch = 64  # examples, of each of which a reading takes 8 looks

    def __post_init__(self) -> None:
        check_fields(
            self,
            "" if self.null is not None or not self.dropout else "dropout needs null, the condition that means none.",
            schedule=kind("a tasks.Schedule", Schedule),
            null=_null,
            dropout="[0, 1]",
            gamma="(0, inf)",
            looks=natural,
            call=maybe(_called),
            recognised=maybe(_recognised),
            named=maybe(_naming),
            others=maybe(_several),
        )
        if self.others is not None and not self.others.is_floating_point():
            object.__setattr__(self, "others", self.others.unique())  # in ascending order, as losses look them up

    def draw(self, batch: Batch, *, dropout: bool = True, shares: tuple[float, float] = (0.0, 1.0)) -> Noised:
        """The batch with noise.

        Args:
            batch: see above.
            dropout: whether conditions are dropped, where the task says so.
            shares: of the T timesteps, from where to where they are drawn.
        """
        x0, condition = read(batch)
        seeds, stratum = on_host(draws(len(x0))), None
        if self.looks > 1:
            stratum = torch.arange(self.looks).repeat(len(x0))
            seeds = numbers(seeds.repeat_interleave(self.looks), COPIES + stratum)
            x0, condition = (each.repeat_interleave(self.looks, 0) for each in (x0, condition))
        t = self._timesteps(seeds, stratum, shares).to(x0.device)
        noise = gaussian(seeds, x0.shape[1:]).to(x0)
        if dropout and self.dropout and self.null is not None:
            gone = (uniform(seeds, (), DROPPED) < self.dropout).to(condition.device)
            gone = gone.view(-1, *[1] * (condition.ndim - 1))
            condition = torch.where(gone, self.conditions(self.null, condition), condition)
        x_t, target = self.schedule.noised(x0, t, noise)
        return Noised(x_t, t, condition, target, seeds)

    def condition(self, given: int | str | Tensor) -> Condition:
        """The class or the embeddings that are meant.

        Raises:
            ConfigurationError: it is a name, and there are no names, or nothing is called so.
        """
        if not isinstance(given, str):
            return given
        if self.named is None:
            raise ConfigurationError(
                f"{given!r} is a name, and this task knows no names: give the class (an integer of at least 0), the "
                "embeddings, or Diffusion(schedule, named=...)."
            )
        return self.named(given)

    def conditions(self, given: int | str | Tensor, like: Tensor) -> Tensor:
        """One condition for every row of `like`, the conditions of a batch.

        Raises:
            ConfigurationError: it is a class and those are embeddings, or the other way round, or of another shape.
        """
        one = torch.as_tensor(self.condition(given), device=like.device)
        if one.shape != like.shape[1:] or one.is_floating_point() != like.is_floating_point():
            raise ConfigurationError(
                f"a condition must be what the batch's conditions are, {words(like[0])}; found {words(one)}."
            )
        return one.to(like.dtype).expand_as(like)

    def nothing(self, like: Tensor, what: str) -> Tensor:
        """The null condition for every row of `like`.

        Raises:
            ConfigurationError: there is none, and `what` needs it.
        """
        if self.null is None:
            raise ConfigurationError(
                f"{what} needs the condition that means none: Diffusion(schedule, null=...), the class (or the "
                "embeddings of the empty text) that stood for no condition when the model was trained."
            )
        return self.conditions(self.null, like)

    def predict(self, model: nn.Module, noised: Noised, condition: Tensor | None = None) -> Tensor:
        """The model's prediction, like x_t, in float32 or better; for another condition, where one is given."""
        return self.seen(model, noised.x_t, noised.t, noised.condition if condition is None else condition)

    def seen(self, model: nn.Module, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """The prediction for `x` `[n, ...]` at timesteps `t` `[n]`, in float32 or better."""
        weight = next((p for p in model.parameters() if p.is_floating_point()), x)
        entered = x.to(weight.dtype)
        if condition.is_floating_point():
            condition = condition.to(weight.dtype)
        check_classes(model, condition)
        try:
            output = (self.call or native)(model, entered, t, condition)
        except IndexError as error:  # an embedding that has no such row
            raise ConfigurationError(
                f"The model knows no such condition ({error}): {between(condition)}. Number the classes from 0, and "
                "take a model that was trained with as many."
            ) from error
        return prediction(output, x)

    def reduced(self, squares: Tensor, t: Tensor) -> Tensor:
        """`w_t` times the mean over each row's numbers, and over the looks of an example: `[n, ...] -> [b]`."""
        values = squares.flatten(1).mean(1)
        if self.weighting == "min_snr":
            values = values * self.schedule.min_snr(t, self.gamma).to(values)
        return values if self.looks == 1 else values.view(-1, self.looks).mean(1)

    def distance(self, model: nn.Module, noised: Noised, target: Tensor, condition: Tensor | None = None) -> Tensor:
        """`w_t mean_d (f - target)^2` of each example, `[b]`."""
        found = self.predict(model, noised, condition)
        return self.reduced((found - target.to(found)).square(), noised.t)

    def nll(self, model: nn.Module, batch: Batch) -> Tensor:
        """The denoising loss of each example, `w_t mean_d (f(x_t, t, c) - y)^2`, `[b]`."""
        noised = self.draw(batch)
        return self.distance(model, noised, noised.target)

    @property
    def reading_passes(self) -> int:
        """Forward passes of an example's reading."""
        return max(self.looks, READ)

    def reading(self, model: nn.Module, batch: Batch) -> Tensor:
        """The nll where it is only read, `[b]`: of 8 looks at least, no condition dropped."""
        own = replace(self, looks=self.reading_passes, dropout=0.0)
        return own.nll(model, batch)

    def divergence(self, model: nn.Module, reference: nn.Module, batch: Batch) -> Tensor:
        """`w_t mean_d (f - f_reference)^2` of each example, `[b]`; no gradient flows to the reference.

        It is the KL divergence of one reverse step up to a factor that depends on t alone, as both have one variance
        (Ho et al., 2020, equation 8).
        """
        noised = self.draw(batch)
        with torch.no_grad():
            target = self.predict(reference, noised)
        return self.distance(model, noised, target)

    @property
    def guess(self) -> float | None:
        """The loss of a model that always answers 0, about: noise has a variance of 1; None where timesteps weigh."""
        return 1.0 if self.weighting == "none" else None

    def doubts(self, model: nn.Module, batches: Sequence[Batch]) -> list[str]:
        """What does not look right of a model on retain examples (`tasks.doubts`)."""
        return doubts(self, model, batches)

    def score(self, model: nn.Module, batch: Batch) -> Tensor:
        """What a membership attack looks at, `[b]`: minus the loss at 8 timesteps below T / 2, one of each eighth."""
        own = replace(self, looks=_SCORED, weighting="none")
        noised = own.draw(batch, dropout=False, shares=(0.0, 0.5))
        return -own.distance(model, noised, noised.target)

    def _timesteps(self, seeds: Tensor, stratum: Tensor | None, shares: tuple[float, float]) -> Tensor:
        count, whole = len(self.schedule), shares == (0.0, 1.0)
        if stratum is None and whole:
            return numbers(seeds, torch.zeros_like(seeds)) % count
        u = uniform(seeds, (), 0)
        place = u if stratum is None else (stratum + u) / self.looks
        low, high = shares
        return ((low + (high - low) * place) * count).long()


def _null(name: str, given: Any) -> str:
    """What null may be."""
    known = given is None or isinstance(given, Tensor) or (type(given) is int and given >= 0)
    return "" if known else wrong(name, "a class (an integer of at least 0), embeddings [L, D], or None", given)


def _called(name: str, given: Any) -> str:
    """What call must be."""
    return "" if callable_with(given, 4) else wrong(name, "a function (model, x_t, t, condition) -> prediction", given)


def _naming(name: str, given: Any) -> str:
    """What named must be."""
    return "" if callable_with(given, 1) else wrong(name, "a function (name) -> class or embeddings", given)


def _several(name: str, given: Any) -> str:
    """What others must be."""
    known = isinstance(given, Tensor) and given.ndim == (3 if given.is_floating_point() else 1)
    return "" if known else wrong(name, "classes [k] or embeddings [k, L, D]", given)


def _recognised(name: str, given: Any) -> str:
    """What recognised must be."""
    return "" if callable_with(given, 2) else wrong(name, "a function (model, batch) -> [b]", given)
