"""What every method does on a small problem: it forgets, stays finite, resumes, and leaves the original alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from itertools import islice

import torch
from torch import nn
from torch.utils.data import TensorDataset

from unweave.arguments import callable_with, check, wrong
from unweave.data.pairs import Pairs
from unweave.loop import unlearn
from unweave.methods import METHODS, Method
from unweave.parameters import saliency_mask
from unweave.results import Result
from unweave.tasks import Classification
from unweave.testing.loss import check_loss, kept
from unweave.testing.rule import check_rule
from unweave.testing.violation import Checked, alike

Make = Callable[..., Method]
TASK = Classification()
STEPS, WHOLE, FIRST = 20, 6, 4
_RISE = 1e-3  # of the nll of the forget set, nats; the wrong sign lowers it
_STAYS = 0.5  # of a method without a forget loss
_MAKES = "a function (task, original) -> Method, or the name of a row of the catalogue"


@cache
def blobs() -> tuple[nn.Module, TensorDataset, TensorDataset]:
    """A small classifier with BatchNorm and dropout that learned three blobs, and a request: blob 0."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(240) % 3
    x = 2.5 * torch.eye(3, 5)[labels] + 0.7 * torch.randn(240, 5, generator=generator)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        hidden = nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1)
        model = nn.Sequential(*hidden, nn.Linear(16, 3))
        optimizer = torch.optim.SGD(model.parameters(), 0.5)
        for _ in range(60):
            optimizer.zero_grad()
            TASK.nll(model, (x, labels)).mean().backward()
            optimizer.step()
    model.zero_grad()
    forget, retain = (TensorDataset(x[chosen], labels[chosen]) for chosen in (labels == 0, labels != 0))
    return model, forget, retain


class Run:
    """A method on the blobs, with plain SGD, and where it is; in train mode statistics and dropout move as well."""

    def __init__(self, make: Make, training: bool = True) -> None:
        original, forget, retain = blobs()
        self.model, self.method = copy.deepcopy(original).train(training), make(TASK, original)
        self.pairs = Pairs(forget, retain, forget_batch=40, retain_batch=80)
        self.optimizer = torch.optim.SGD(self.model.parameters(), 0.05)

    def go(self, steps: int) -> Result:
        """So many steps, over the method's own share of the weights."""
        share, (original, forget, _) = self.method.saliency, blobs()
        mask = None if share is None else saliency_mask(original, TASK.nll, [forget.tensors], share)
        return unlearn(self.model, self.method, islice(self.pairs, steps), self.optimizer, mask=mask)

    def resumed(self, make: Make) -> Run:
        """Another run, from what a checkpoint has of this one."""
        other = Run(make)
        other.model.load_state_dict(self.model.state_dict())
        other.method.rule.load_state_dict(copy.deepcopy(self.method.rule.state_dict()))
        other.pairs.load_state_dict(self.pairs.state_dict())
        return other


def check_method(make: Make | str, *, seed: int = 7) -> Checked:
    """Checks a method, its rule and its losses, on a small classifier that is to forget one of three classes.

    Args:
        make: `(task, original) -> Method`, as a row of `METHODS` is, or the name of one.
        seed: of what its rule and its losses are asked with.

    Returns:
        How many cases of each property held, by its name in `PROPERTIES`.

    Raises:
        Violation: the first property that does not hold; an AssertionError.
        ConfigurationError: no such function, and no such name.
    """
    check({"make": _makes}, {"make": make})
    own: Make = METHODS[make] if isinstance(make, str) else make
    found = Checked(seed)
    original, forget, _ = blobs()
    before, state = kept(original), torch.random.get_rng_state()
    run = Run(own, training=False)
    _steps(found, run)
    _resumes(found, own)
    same = alike(before, kept(original)) and torch.equal(state, torch.random.get_rng_state())
    advice = "losses.frozen and losses.reference keep a copy of the original; draw with a generator of your own"
    found.holds("no trace", same, "two runs", "the original and torch's random state as they were", "another", advice)
    found.holds("paper", bool(run.method.paper.strip()), "the method", "a text", repr(run.method.paper), "name it")
    method = own(TASK, copy.deepcopy(original).eval())
    found.add(check_rule(method.rule, seed=seed))
    for loss in (method.forget, method.retain):
        if loss is not None:
            found.add(check_loss(loss, TASK, model=copy.deepcopy(original).eval(), batch=forget[:8], seed=seed))
    return found


def _makes(name: str, given: object) -> str:
    if isinstance(given, str) and given in METHODS:
        return ""
    return "" if not isinstance(given, str) and callable_with(given, 2) else wrong(name, _MAKES, given)


def _steps(found: Checked, run: Run) -> None:
    """It takes all its steps, and at the end the forget set is harder to tell."""
    original, forget, _ = blobs()
    case = f"{STEPS} steps of SGD on three blobs"
    try:
        result = run.go(STEPS)
    except Exception as error:
        found.stopped("steps", case, error, "rule and losses take every pair of batches")
    told, ok = f"{result.skipped} skipped, {len(result.history)} taken; {result.reason}", result.skipped == 0
    found.holds("steps", ok and len(result.history) == STEPS, case, "all taken", told, "see the rule's own checks")
    finite = all(bool(p.isfinite().all()) for p in run.model.parameters())
    both = zip(run.model.parameters(), original.parameters(), strict=True)
    far = max(float((a - b).detach().abs().max()) for a, b in both) if finite else 0.0
    found.holds("steps", far > 1e-4, case, "finite weights that moved", f"moved by {far:.3g}", "scale the direction")
    rise = _nll(run.model, forget) - _nll(original, forget)
    told = f"{rise:+.4g}"
    if run.method.forget is None:
        found.holds("forgets", rise < _STAYS, case, f"below {_STAYS}, with no forget loss", told, "give it one")
    else:
        advice = "the forget loss is minimised: ascent is losses.Ascent(task.nll)"
        found.holds("forgets", rise > _RISE, case, f"a rise above {_RISE} nats", told, advice)


def _resumes(found: Checked, make: Make) -> None:
    whole, first = Run(make), Run(make)
    whole.go(WHOLE)
    first.go(FIRST)
    second = first.resumed(make)
    second.go(WHOLE - FIRST)
    a, b = (list(each.model.parameters()) for each in (whole, second))
    ok = alike(a, b) and alike(whole.method.rule.state_dict(), second.method.rule.state_dict())
    gap = max(float((x - y).detach().abs().max()) for x, y in zip(a, b, strict=True))
    advice = "losses are pure in model and batch; what goes from step to step is the rule's state"
    found.holds("resumes", ok, f"{FIRST} steps and {WHOLE - FIRST}", "the same weights", f"off by {gap:.3g}", advice)


def _nll(model: nn.Module, data: TensorDataset) -> float:
    with torch.no_grad():
        return float(TASK.nll(copy.deepcopy(model).eval(), data.tensors).mean())
