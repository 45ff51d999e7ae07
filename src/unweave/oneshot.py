"""Methods without steps: one pass over the data, one change of the weights.

To the loop such a method is its only step (`Once`), so that a contract, the guards and the record see it as any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset

from unweave.arguments import check, faults, kind, refuse, value
from unweave.contract.keeper import ONLY
from unweave.data.batches import in_batches
from unweave.data.protocol import indexed
from unweave.edit import TAKES, uce, unknown
from unweave.errors import ConfigurationError, shown, suggest
from unweave.execution import as_first, bare, seeded
from unweave.gramian import real
from unweave.losses import Ascent
from unweave.losses._base import denoiser
from unweave.methods import METHODS, Method
from unweave.methods import PAPERS as WITH_STEPS
from unweave.modules import check_memory, joined
from unweave.objectives import Objectives
from unweave.parameters import batch_gradients
from unweave.results import Record
from unweave.rules import Fixed
from unweave.rules._base import Rule, Step
from unweave.tasks import Task

Data = Dataset[Any] | Iterable[Any]
_POSITIVE = "(0, inf)"
_TAKES = {
    "ssd": {**dict.fromkeys(("selection", "dampening"), value(float, _POSITIVE)), "batch": value(int, _POSITIVE)},
    "uce": TAKES,
}
_OF_DIFFUSION = {"uce"}
_NAMED = ("erase", "guide", "preserve")  # conditions


@dataclass(frozen=True)
class Dampened:
    """What `ssd` changed.

    Attributes:
        changed: number of dampened entries of each parameter, by name; parameters without any are left out.
        total: number of entries that could have been.
    """

    changed: dict[str, int]
    total: int

    @property
    def share(self) -> float:
        """The dampened part of all entries, in [0, 1]."""
        return sum(self.changed.values()) / self.total


def ssd(
    model: nn.Module,
    task: Task,
    forget: Data,
    retain: Data,
    *,
    selection: float = 10.0,
    dampening: float = 1.0,
    batch: int = 64,
) -> Dampened:
    """Shrinks, in place, the weights that matter much more to the forget set than to the retain set.

    `theta_i <- min(lambda I_r,i / I_f,i, 1) theta_i`  where  `I_f,i > alpha I_r,i`, with the importance `I_i
    = mean over batches of (d nll / d theta_i)^2`, the squared gradient of each batch's mean nll, in eval
    mode, batches weighted by their size. Only parameters with `requires_grad` are touched; a complex one counts as its
    real and imaginary parts.

    Args:
        model: changed in place.
        task: its `nll` is differentiated.
        forget: a torch Dataset, or batches.
        retain: the same; batches must be as large as forget's, or the two importances are not comparable.
        selection: alpha, how much more a weight must matter to the forget set. Larger dampens fewer weights.
        dampening: lambda, how much of a selected weight is left. Smaller dampens more.
        batch: examples in a batch where a Dataset is given.

    Raises:
        ConfigurationError: alpha, lambda or the batch is not positive, all parameters are frozen, a set is empty, or a
            gradient is not finite.

    Foster et al., "Fast machine unlearning without retraining through selective synaptic dampening", AAAI
    2024 (arXiv:2308.07707), equations 8 to 10; alpha = 10 and lambda = 1 are the paper's for ResNet-18.
    Differs from the paper: it takes the second importance over the whole training set, forget set included.
    """
    found = list(faults(_TAKES["ssd"], locals()).values())
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    if not named:
        found.append("All parameters are frozen: nothing can be dampened. Set requires_grad_(True) on some.")
    refuse(found)
    with joined(model):
        check_memory(model)
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        parameters = [p for _, p in named]
        sides = [("forget", forget), ("retain", retain)]
        forgotten, retained = (_importance(model, task, name, data, batch, parameters) for name, data in sides)
        changed = {}
        for (name, parameter), f, r in zip(named, forgotten, retained, strict=True):
            if count := _dampen(real(parameter), f, r, selection, dampening):
                changed[name] = count
        return Dampened(changed, sum(real(p).numel() for p in parameters))


def _importance(
    model: nn.Module, task: Task, name: str, data: Data, size: int, parameters: Sequence[nn.Parameter]
) -> list[Tensor]:
    total, examples, broken = [torch.zeros_like(real(p)) for p in parameters], 0, list[Tensor]()
    batches = in_batches(data, size, parameters[0].device)
    for found, count in batch_gradients(model, task.nll, batches, parameters):
        gradients = [real(g) for g in found]
        torch._foreach_addcmul_(total, gradients, gradients, value=1 / count)  # count * (gradient / count)^2
        examples += count
        broken.append(torch.stack([~t.isfinite().all() for t in total]).any())
    if lost := torch.stack(broken).nonzero()[:, 0].tolist():
        raise ConfigurationError(
            f"{name}: the gradient of batch {lost[0] + 1} of {len(broken)} is not finite, so nothing can be weighed. "
            "Look for NaN or infinity in its examples, and take them out."
        )
    return [t / examples for t in total]


@torch.no_grad()
def _dampen(parameter: Tensor, forget: Tensor, retain: Tensor, selection: float, dampening: float) -> int:
    selected = forget > selection * retain
    factor = (dampening * retain / forget).clamp(max=1.0)
    parameter.mul_(torch.where(selected, factor, 1.0))
    return int((selected & (factor < 1)).sum())


ONESHOT: dict[str, Callable[..., object]] = {"ssd": ssd, "uce": uce}
"""Every function takes model, task, forget and retain set, and its own hyperparameters with our defaults."""

CATALOGUE: dict[str, Callable[..., Any]] = {**METHODS, **ONESHOT}
"""All that a recipe or the one call knows by a name, with steps or without."""

PAPERS = {
    **WITH_STEPS,
    "ssd": "Foster et al., AAAI 2024, arXiv:2308.07707",
    "uce": "Gandikota et al., WACV 2024, arXiv:2308.14761; its rounds: Gong et al., ECCV 2024, arXiv:2407.12383",
}


@dataclass(frozen=True)
class OneShot:
    """A method without steps and its hyperparameters, where they are not the defaults: `OneShot("ssd", {"batch": 32})`.

    Args:
        name: of `ONESHOT`.
        arguments: what its function takes beside model, task and data.

    Raises:
        ConfigurationError: there is no such method, or it takes no such argument, or not that value; all at once.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (isinstance(self.name, str) and self.name in ONESHOT):
            raise ConfigurationError(
                f"There is no method without steps {shown(self.name)}.{suggest(shown(self.name), ONESHOT)} Known: "
                f"{', '.join(ONESHOT)}."
            )
        check({"arguments": kind("a mapping of names to values", Mapping)}, vars(self))
        takes = _TAKES[self.name]
        odd = (
            f"{name} is nothing that {self.name} takes.{suggest(name, takes)} It takes: {', '.join(takes)}."
            for name in self.arguments
            if name not in takes
        )
        refuse([*odd, *faults(takes, self.arguments).values()])

    def read(self, task: Task) -> Method:
        """Both objectives as the loop reads them before and after the change; the rule is never asked.

        Raises:
            UnsupportedError: it is about diffusion models, and the task is another.
            ConfigurationError: it names a class that the model does not know, or what stands for it is not known.
        """
        if self.name in _OF_DIFFUSION:
            does = denoiser(task, self.name)
            refuse([text for name in _NAMED if (text := unknown(does, name, self.arguments.get(name)))])
            if self.arguments.get("guide") is None and does.null is None:
                raise ConfigurationError(
                    f"{self.name} without a guide takes what is forgotten for the condition that means none, and this "
                    "model has no such condition: give guide."
                )
        return Method(Ascent(task.nll), task.nll, Fixed(), PAPERS[self.name])

    def step(self, task: Task, forget: Data, retain: Data) -> Once:
        """The change as the loop's only step.

        Several processes make the same change, each of its own whole weights.
        """
        sides = [Subset(d, range(len(d))) if indexed(d) else d for d in (forget, retain)]  # type: ignore[arg-type]
        return Once(lambda model: ONESHOT[self.name](model, task, *sides, **self.arguments))


@dataclass
class Once:
    """The stepper of a method without steps: changes the weights once, and ends the run.

    The record has both losses on its pair before the change, and what the change did to them. Where something is not
    finite afterwards, the weights are put back.

    Args:
        change: changes a model in place.
    """

    change: Callable[[nn.Module], object]

    def take(self, number: int, rule: Rule, objectives: Objectives) -> Record:
        """The whole method."""
        before, losses = objectives.snapshot(), objectives.losses()
        objectives.lr, objectives.radius = 0.0, None
        try:
            with seeded(objectives.pair.seed):
                self.change(bare(objectives.model))
            as_first(objectives.parameters)
        except BaseException:
            objectives.restore(before)
            raise
        after, none = objectives.losses(), torch.zeros(1, 2)
        finite = all(bool(t.isfinite().all()) for t in (losses, after, *objectives.parameters))
        if not finite:
            objectives.restore(before)
            why = "non-finite loss or weight"
            return Record(number, Step(losses, none, stop=why), 0.0, False, note=why)
        return Record(number, Step(losses, none, stop=ONLY), 0.0, True, after - losses)

    def shrink(self, factor: float, reach: float | None = None) -> None:
        """There is no next step to be shorter."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing: after the step the run is over."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing."""
