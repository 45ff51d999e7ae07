"""What a method is, and how a row of the catalogue, which is data, makes one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from inspect import Parameter, Signature, signature
from typing import Any, get_type_hints

from torch import nn

from unweave import rules
from unweave.arguments import at_once, callable_with, check, check_fields, kind, maybe, task, wrong
from unweave.losses import Ascent, Reference, reference
from unweave.losses._base import denoises
from unweave.objectives import Loss
from unweave.tasks import Task

SIDES = ("forget", "retain")
_LOSS = "a function (model, batch) -> [b], or None"
_RULES = {
    **{side: maybe(lambda name, given: "" if callable_with(given, 2) else wrong(name, _LOSS, given)) for side in SIDES},
    "rule": kind("a rule, such as rules.HAMU()", rules.Rule),
}
_GIVEN = {
    "task": task,
    "original": kind("the original model (a torch.nn.Module), or what stands for it", Reference),
}


@dataclass(frozen=True)
class Method:
    """What one paper does: two objectives, both minimised, and the rule that joins them.

    Attributes:
        forget: the forget side's loss, `(model, batch) -> [b]`; None is no forget side.
        retain: the retain side's loss; None is no retain side.
        rule: how two objectives become one direction.
        paper: where it comes from.
        saliency: share of the weights that may move, by `parameters.saliency_mask`; None is all of them.

    Raises:
        ConfigurationError: a loss is no function, a rule is no rule, or a share is out of range.
    """

    forget: Loss | None
    retain: Loss | None
    rule: rules.Rule
    paper: str
    saliency: float | None = None

    def __post_init__(self) -> None:
        check_fields(self, saliency="(0, 1]", **_RULES)


def ascent(task: Task) -> Loss:
    """The forget side where a row says nothing else."""
    return Ascent(task.nll)


def nll(task: Task) -> Loss:
    """The retain side where a row says nothing else."""
    return task.nll


Part = Callable[..., Any]


@dataclass(frozen=True)
class Row:
    """A row of the catalogue: the parts of which one paper's method is made.

    A part is a class or a function. It is given those of `task`, `original` and `reference` (`losses.reference` of the
    original) that it has parameters for. Its other parameters are hyperparameters of the row, and their types, defaults
    and ranges stand there alone; a name that two parts have is one hyperparameter. `functools.partial` gives a part
    another default by keyword, and by position a value that is no hyperparameter.

    Attributes:
        name: in METHODS and in recipes.
        about: one sentence that says what it does; then what is special about it.
        paper: where it comes from.
        rule: makes the rule.
        forget, retain: make the sides' losses; None is no such side.
        saliency: makes `Method.saliency`.
        hidden: parameters of its parts that keep their defaults and are no hyperparameters.
        denoising: defaults of hyperparameters where the task is that of a diffusion model.
    """

    name: str
    about: str
    paper: str
    rule: Part
    forget: Part | None = ascent
    retain: Part | None = nll
    saliency: Part | None = None
    hidden: tuple[str, ...] = ()
    denoising: Mapping[str, Any] = field(default_factory=dict)

    def function(self) -> Callable[..., Method]:
        """`(task, original, **hyperparameters) -> Method`, with a signature, hints and docstring of its own.

        Raises of it:
            ConfigurationError: every hyperparameter that has a value it cannot have, all at once.
        """
        takes = {part: _parameters(part) for part in (self.forget, self.retain, self.rule, self.saliency) if part}
        every = [p for own in takes.values() for p in own.values() if p.name not in ("reference", *self.hidden)]
        own = {p.name: p for p in reversed(every) if p.name not in _GIVEN}  # of two with a name, the first counts
        own = {p.name: own[p.name] for p in every if p.name in own}
        defaults = {name: p.default for name, p in own.items()}

        def make(task: Task, original: nn.Module, **given: Any) -> Method:
            check(_GIVEN, locals())
            usual = {**defaults, **(self.denoising if denoises(task) else {})}
            values = {**usual, **given, "task": task, "original": original}
            if any("reference" in names for names in takes.values()):
                values["reference"] = reference(original)
            made = {part: part(**{name: values[name] for name in own if name in values}) for part, own in takes.items()}
            forget, retain, saliency = (part and made[part] for part in (self.forget, self.retain, self.saliency))
            return Method(forget, retain, made[self.rule], self.paper, saliency)

        both = [Parameter(n, Parameter.POSITIONAL_OR_KEYWORD, annotation=a) for n, a in _ANNOTATED.items()]
        make.__name__ = make.__qualname__ = self.name
        make.__doc__ = self.about
        make.__signature__ = Signature([*both, *own.values()], return_annotation=Method)  # type: ignore[attr-defined]
        make.__annotations__ = {**_ANNOTATED, **{n: p.annotation for n, p in own.items()}, "return": Method}
        return at_once(make)


_ANNOTATED: dict[str, Any] = {"task": Task, "original": nn.Module}


def _parameters(part: Part) -> Mapping[str, Parameter]:
    """What a part takes by keyword, with its types."""
    hints = get_type_hints(part.func if isinstance(part, partial) else part)
    return {
        name: p.replace(kind=Parameter.KEYWORD_ONLY, annotation=hints[name])
        for name, p in signature(part).parameters.items()
    }
