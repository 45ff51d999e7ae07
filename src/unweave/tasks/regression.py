"""Regression: one number for each target, wrong by a normal error."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from unweave.arguments import check, wrong
from unweave.data.batches import Batch, in_batches
from unweave.errors import ConfigurationError, shown
from unweave.execution import device_of
from unweave.modules import evaluating
from unweave.tasks._base import Value
from unweave.tasks._calls import OWN, output, parts
from unweave.tasks._doubts import held, no_better

_NAME = "regression"
_EXACT = 1e-6  # of the targets' spread: errors below it are rounding
_FEW = 8  # numbers of a scale that are written out
_FAR = 10.0  # times the scale, or part of it: errors that are not those that were stated


def _scale(name: str, given: Any) -> str:
    each = given if isinstance(given, tuple) and given else (given,)
    fine = all(isinstance(x, float) and 0 < x < float("inf") for x in each)
    return "" if fine else wrong(name, "a positive number, or a tuple of one for each target", given)


def _plain(given: Any) -> Any:
    """Numbers as Python has them, whoever made them: numpy's, torch's, a list or an array of them; else as it was."""
    if isinstance(given, Tensor | np.ndarray):
        given = given.tolist()
    if isinstance(given, list | tuple):
        return tuple(map(_plain, given))
    return float(given) if isinstance(given, Real) and not isinstance(given, bool) else given


@dataclass(frozen=True)
class Regression:
    """A model that predicts numbers, each with a normal error of a known scale: `y_k = f_k(x) + N(0, s_k^2)`.

    Batches are `(inputs, targets)`, or mappings as for `Classification`; targets are real numbers `[b]`, `[b, k]` or of
    any shape that the model returns (a size of 1 more or less does not matter). The loss of an example is

        nll = sum_k ((y_k - f_k(x)) / s_k)^2 / 2,

    the negative log-likelihood less that of an exact prediction: 0 at best, and independent of the targets' unit.

    Unit of the loss: nats. Membership signal: minus the loss. Contract, if nothing is said: mean loss (so the mean
    squared error over 2 s^2) within 5 % of the original's, and "unseen": the signal does not tell the forget set from
    examples that the model was never trained on. There is no accuracy, and so no "retrained" clause: ask for
    `Forget("loss", at_least=...)` of what a retrained model has.

    Args:
        scale: s, the standard deviation of the error on examples that the model was *not* trained on, in the targets'
            unit: one number, or one for each target, of any kind (a tuple, an array). `Regression.fitted` estimates it.

    Raises:
        ConfigurationError: the scale is no positive number; of a call: targets are no numbers, or the model returns
            another shape.
    """

    scale: float | tuple[float, ...]

    unit: ClassVar[str] = "nats"
    utility: ClassVar[str] = "loss"
    classed: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", _plain(self.scale))
        check({"scale": _scale}, vars(self))

    def __repr__(self) -> str:
        return f"Regression(scale={self._said})"

    @property
    def _said(self) -> str:
        """The scale in a few words: of many targets the first and the last."""
        if not isinstance(self.scale, tuple) or len(self.scale) <= _FEW:
            return repr(self.scale)
        first = ", ".join(f"{each:.4g}" for each in self.scale[:2])
        return f"({first}, ..., {self.scale[-1]:.4g}; {len(self.scale)} numbers)"

    @classmethod
    def fitted(cls, model: nn.Module, data: Dataset[Any] | Iterable[Batch], batch_size: int = 512) -> Regression:
        """With the root mean square error of a model on examples, one for each target.

        Take examples that it was not trained on: on its training set a model errs less, so that the loss of everything
        else seems too large.

        Args:
            model: in evaluation mode or not; its modes are afterwards as they were.
            data: a data set, or batches.
            batch_size: of a data set.

        Raises:
            ConfigurationError: there are no examples, or the model fits them exactly, or errors are not finite.
        """
        errors, targets = list[Tensor](), list[Tensor]()
        with evaluating(model), torch.no_grad():
            for batch in in_batches(data, batch_size, device_of(model)):
                found, right = _read(model, batch)
                errors.append((right - found).cpu().double())
                targets.append(right.cpu().double())
        count = sum(map(len, errors))
        if not count:
            raise ConfigurationError("the scale of a regression's errors needs examples; found none. State it: scale=.")
        scale, spread = torch.cat(errors).square().mean(0).sqrt(), torch.cat(targets).std(0, correction=0)
        if broken := (~torch.cat(errors).isfinite()).any(1).nonzero()[:, 0].tolist():
            raise ConfigurationError(
                f"the scale of a regression's errors cannot be estimated: they are not finite on {len(broken)} of "
                f"{count} examples. Look for NaN or infinity in the inputs, the targets and the weights.",
                broken,
            )
        if bool((scale <= _EXACT * spread).any()):
            raise ConfigurationError(
                f"the scale of a regression's errors must be a positive number; on these {count} examples it is "
                f"{shown([float(f'{x:.3g}') for x in scale.tolist()])}: the model fits them exactly. "
                "Pass examples that it was not trained on (holdout=...), or state the scale, task=Regression(scale)."
            )
        return cls(tuple(scale.tolist()) if len(scale) > 1 else float(scale))

    def answers(self, batch: Batch, classes: int) -> None:
        """Refuses targets that are no numbers, NaN and infinity among them."""
        right = _targets(batch)
        broken = (~right.isfinite()).reshape(len(right), -1).any(1).nonzero()[:, 0].tolist()
        if broken:
            raise ConfigurationError(
                f"targets must be finite; found NaN or infinity in {len(broken)} of {len(right)} examples. Mend these, "
                "or take them out.",
                broken,
            )

    def nll(self, model: nn.Module, batch: Batch) -> Tensor:
        """Half the squared error of each example in units of the scale, summed over its targets, `[b]`."""
        found, right = _read(model, batch)
        return self._half_square(right - found)

    def divergence(self, model: nn.Module, reference: nn.Module, batch: Batch) -> Tensor:
        """`KL(reference || model) = sum_k ((f_k - f_k^0) / s_k)^2 / 2` of the two normals, `[b]`."""
        with torch.no_grad():
            before, _ = _read(reference, batch)
        return self._half_square(before - _read(model, batch)[0])

    def absolute_error(self, model: nn.Module, batch: Batch) -> Tensor:
        """`|y - f(x)|`, the mean over an example's targets, `[b]`, in their unit."""
        found, right = _read(model, batch)
        return (right - found).abs().mean(1)

    def squared_error(self, model: nn.Module, batch: Batch) -> Tensor:
        """`(y - f(x))^2`, the mean over an example's targets, `[b]`, in their unit squared."""
        found, right = _read(model, batch)
        return (right - found).square().mean(1)

    @property
    def values(self) -> Mapping[str, Value]:
        """What is scored beside the loss."""
        return {
            "absolute_error": Value(self.absolute_error, "mean of |y - f(x)|", "the targets'"),
            "squared_error": Value(self.squared_error, "mean of (y - f(x))^2", "the targets' squared"),
        }

    def guess(self, model: nn.Module, batch: Batch) -> Tensor:
        """The loss of a model that always answers with the mean of the batch, `[b]`."""
        _, right = _read(model, batch)
        return self._half_square(right - right.mean(0))

    def doubts(self, model: nn.Module, batches: Sequence[Batch]) -> list[str]:
        """What does not look right on retain examples: no better than the mean, or errors of another scale."""
        pairs = [_read(model, batch) for batch in batches]
        found, right = (torch.cat([each[place].detach().cpu().double() for each in pairs]) for place in (0, 1))
        own, mean = (held([self._half_square(each)]) for each in (right - found, right - right.mean(0)))
        told = no_better(own, mean, "a mean loss of {:.3g}, {:.3g} for the mean of the targets", least=True)
        rms = float((2 * own.mean() / right.shape[1]).sqrt())
        if not told and rms > _FAR:
            told.append(
                f"the errors on {len(right)} examples are {rms:.3g} times the scale of {self._said}: state one in the "
                "unit of the targets, task=Regression(scale), or let it be estimated, task='regression'."
            )
        return told

    def _half_square(self, error: Tensor) -> Tensor:
        scale = torch.as_tensor(self.scale, dtype=error.dtype, device=error.device)
        if scale.ndim and len(scale) != error.shape[1]:
            raise ConfigurationError(
                f"scale must be one number, or one for each of the {error.shape[1]} targets; found {len(scale)}."
            )
        return (error / scale).square().sum(1) / 2


def _targets(batch: Batch) -> Tensor:
    """Targets as they stand in the batch.

    Raises:
        ConfigurationError: they are no numbers.
    """
    _, right = parts(batch, _NAME)
    if not isinstance(right, Tensor) or right.is_complex() or not right.ndim:
        what = f"{right.dtype}" if isinstance(right, Tensor) else type(right).__name__
        raise ConfigurationError(
            f"task {_NAME!r} expects a tensor of real numbers [b] or [b, k] as targets; found {what}."
        )
    return right


def _read(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Predictions and targets, both `[b, k]`.

    Raises:
        ConfigurationError: targets are no numbers, or the model returns others than there are.
    """
    right, found = _targets(batch), output(model, batch, _NAME)
    if len(found) != len(right) or _sizes(found) != _sizes(right):
        raise ConfigurationError(
            f"The model must return one number for each target, {list(right.shape)}; it returned {list(found.shape)}. "
            f"If these are class indices pass task='classification'; if it returns a mean and a scale, or quantiles, "
            f"pass {OWN}."
        )
    return found.reshape(len(found), -1), right.to(found.dtype).reshape(len(right), -1)


def _sizes(of: Tensor) -> list[int]:
    return [size for size in of.shape[1:] if size != 1]
