"""What every rule promises, and what one may claim, on gradients that rules find hard and on two quadratics."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from unweave.arguments import check, kind
from unweave.data.pairs import Batch, Pair
from unweave.execution import seeded
from unweave.objectives import Objectives
from unweave.rules import GradientRule, LossRule, Rule
from unweave.rules._base import FORGET, RETAIN, Left
from unweave.testing.gradients import gram, pairs
from unweave.testing.violation import Checked, Violation, alike

EPS = 1e-9
SIDES = ("forget", "retain")
SCALES = (1e-9, 0.1, 3.0, 1e9)
LOSSES = ((0.0, 0.0), (1.0, 1.0), (-3.0, 0.5), (1e-12, 1e12), (1e12, 1e-12), (5.0, 0.0))
_OTHER = 2**31 - 1  # another random state


def check_rule(
    rule: Rule,
    *,
    degree: int | None = None,
    rtol: float = EPS,
    never_raises: Sequence[Literal["forget", "retain"]] = (),
    but: Sequence[str] = (),
    front: bool = True,
    golden: Sequence[tuple[Sequence[float], Sequence[float], Sequence[float]]] = (),
    seed: int = 7,
) -> Checked:
    """Checks a rule against what all rules promise, and against what it claims.

    A `GradientRule` is asked about 54 pairs of gradients: angles from 35 to 179 degrees by lengths from 1e-12 to 1e12,
    collinear, opposed and zero ones, and 20 that are drawn. A `LossRule` is asked about losses of such sizes. Every
    rule, with a `backward` of its own too, takes steps on two quadratics. The rule itself is left as it is.

    Args:
        rule: made with the hyperparameters that are to be checked.
        degree: claimed: `d(s g) = s^degree d(g)` for both gradients scaled alike; 1 for a linear rule, 0 for a
            normalised one. None claims nothing.
        rtol: of that equality, for rules that iterate.
        never_raises: claimed: to first order these objectives never rise, `<g_i, d> >= 0`.
        but: lengths at which that is not claimed, such as "tiny retain" or "both ends".
        front: claimed, of a `GradientRule`: it ends on the Pareto front of the quadratics. A fixed radius does not.
        golden: `(g_u, g_r, d)` worked out by hand; of a `LossRule` `((L_u, L_r), (), (w_u, w_r))`.
        seed: of the 20 pairs.

    Returns:
        How many cases of each property held, by its name in `PROPERTIES`.

    Raises:
        Violation: the first property that does not hold; an AssertionError.
        ConfigurationError: it is no rule.
    """
    check({"rule": kind("a rule, such as rules.HAMU()", Rule)}, {"rule": rule})
    found = Checked(seed)
    if isinstance(rule, GradientRule):
        _on_gradients(found, rule)
        alone = [_Alone(found, rule, case, f, r) for case, (f, r) in pairs(seed).items()]
        for pair in alone:
            if float(pair.f @ pair.r) >= 0:
                pair.never_rises("descends", SIDES)
        pair = alone[0]
        advice = "both objectives are minimised: positive weights descend"
        found.holds("descends", bool(pair.direction().any()), pair.case, "a step", pair.weights.tolist(), advice)
        for pair in alone:
            if degree is not None:
                pair.scales(degree, rtol)
            if pair.case.split(", ")[-1] not in but:
                pair.never_rises("never raises", never_raises)
    elif isinstance(rule, LossRule):
        _on_losses(found, rule)
    for f, r, expected in golden:
        _golden(found, rule, *(torch.tensor(list(each), dtype=torch.float64) for each in (f, r, expected)))
    _in_steps(found, rule, front)
    return found


def _asked(found: Checked, rule: GradientRule | LossRule, given: Tensor, name: str, case: str) -> Tensor:
    """A fresh rule's weights; what it raises is a violation."""
    try:
        return copy.deepcopy(rule).weights(given)
    except Exception as error:
        return found.stopped(name, case, error, "weights() must answer every input: what has no answer has weights 0")


def _steady(found: Checked, rule: GradientRule | LossRule, given: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The weights, after what both kinds of rule promise about how they answer."""
    before, case = given.clone(), "all at once"
    with seeded(found.seed):
        state = _random_state()
        weights = _asked(found, rule, given, "shape", case)
        left_alone = _random_state() == state
    typed = isinstance(weights, Tensor) and weights.dtype == torch.float64
    said = f"{weights.dtype} {list(weights.shape)}" if isinstance(weights, Tensor) else type(weights).__name__
    ok = typed and weights.shape == shape
    found.holds("shape", ok, case, f"torch.float64 {list(shape)}", said, "return one pair of weights for each block")
    found.holds("untouched", given.equal(before), case, "its argument unchanged", "another", "work on a copy")
    with seeded(_OTHER):
        again = _asked(found, rule, given, "deterministic", case)
    same = torch.equal(weights.nan_to_num(), again.nan_to_num()) and left_alone
    told = "other weights" if left_alone else "the random state moved"
    advice = "draw nothing in weights(): ranks would disagree. A generator of its own, seeded by a field, is state"
    found.holds("deterministic", same, case, "the same weights, no draws", told, advice)
    return weights


def _random_state() -> tuple[Any, ...]:
    return torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())


def _on_gradients(found: Checked, rule: GradientRule) -> None:
    every = pairs(found.seed)
    blocks = torch.cat([gram(f, r) for f, r in every.values()])
    weights = _steady(found, rule, blocks, (len(blocks), 2))
    for (case, (f, r)), w, gramian in zip(every.items(), weights, blocks, strict=True):
        ok = bool(w.isfinite().all()) and bool((w[0] * f + w[1] * r).isfinite().all())
        zero = not (bool(f.any()) and bool(r.any()))
        name = "zero gradients" if zero else "finite"
        advice = "rules._base.ratio is a quotient that is 0 there" if zero else "form quotients of lengths, not squares"
        found.holds(name, ok, case, "finite weights", w.tolist(), advice, gramian)
    order = torch.randperm(len(blocks), generator=torch.Generator().manual_seed(found.seed))
    moved, expected = _asked(found, rule, blocks[order], "blocks", "all, permuted"), weights[order]
    for place, (w, e) in enumerate(zip(moved, expected, strict=True)):
        ok = bool(((w - e).abs() <= 1e-12 * e.abs()).all())
        advice = "a block's weights may depend on its own Gramian and on sums over all, not on its place"
        found.holds("blocks", ok, f"block {place} of a permutation", str(e.tolist()), w.tolist(), advice)


class _Alone:
    """A pair as the only block, and a fresh rule's weights."""

    def __init__(self, found: Checked, rule: GradientRule, case: str, f: Tensor, r: Tensor) -> None:
        self.found, self.rule, self.case, self.f, self.r = found, rule, case, f, r
        self.weights = self._of(1.0)

    def _of(self, s: float) -> Tensor:
        return _asked(self.found, self.rule, gram(s * self.f, s * self.r), "finite", self.case)[0]

    def direction(self) -> Tensor:
        return self.weights[FORGET] * self.f + self.weights[RETAIN] * self.r

    def never_rises(self, name: str, sides: Sequence[str]) -> None:
        """`<g_i, d> >= 0` up to what rounding of the two terms of d is relative to."""
        terms = self.weights[FORGET] * self.f, self.weights[RETAIN] * self.r
        for side in sides:
            g = (self.f, self.r)[SIDES.index(side)]
            fall, size = float(g @ (terms[0] + terms[1])), float(g.norm() * (terms[0].norm() + terms[1].norm()))
            advice = "both objectives are minimised: the step is -lr (w_u g_u + w_r g_r), so positive weights descend"
            told, gramian = f"<g, d> = {fall:.3g} with weights {self.weights.tolist()}", gram(self.f, self.r)[0]
            self.found.holds(name, fall >= -EPS * size, self.case, f"<g, d> >= 0 ({side})", told, advice, gramian)

    def scales(self, degree: int, rtol: float) -> None:
        """`d(s g) = s^degree d(g)`."""
        for s in SCALES:
            v, expected = self._of(s), s**degree * self.direction()
            seen = v[FORGET] * s * self.f + v[RETAIN] * s * self.r
            ok = float((seen - expected).norm()) <= rtol * max(float(expected.norm()), EPS * s**degree)
            advice = "compare lengths with each other, not with constants; or claim another degree, or none"
            case, want = f"{self.case}, {s:g} times both", f"{s**degree:g} times the direction, {expected.tolist()}"
            self.found.holds("scale", ok, case, want, seen.tolist(), advice, gram(self.f, self.r)[0])


def _on_losses(found: Checked, rule: LossRule) -> None:
    for pair in LOSSES:
        losses = torch.tensor(pair, dtype=torch.float64)
        case, w = f"losses {pair}", _steady(found, rule, losses, (2,))
        found.holds("finite", bool(w.isfinite().all()), case, "finite weights", w.tolist(), "bound what divides")
        told, advice = w.tolist(), "both objectives are minimised: weights are at least 0, and not both 0"
        found.holds("descends", bool((w >= 0).all() and w.any()), case, "weights >= 0, not both 0", told, advice)
        if not (rule.needs_forget_loss and rule.needs_losses):
            losses[FORGET] = math.nan
            again = _asked(found, rule, losses, "forget unseen", case)
            advice = "needs_forget_loss = False says that the forget loss is not read"
            found.holds("forget unseen", torch.equal(w, again), case, str(w.tolist()), again.tolist(), advice)


def _golden(found: Checked, rule: Rule, f: Tensor, r: Tensor, expected: Tensor) -> None:
    if isinstance(rule, GradientRule):
        w = _asked(found, rule, gram(f, r), "golden", str((f.tolist(), r.tolist())))[0]
        seen, gramian = w[0] * f + w[1] * r, gram(f, r)[0]
    elif isinstance(rule, LossRule):
        seen, gramian = _asked(found, rule, f, "golden", str(f.tolist())), None
    else:
        return
    ok = float((seen - expected).norm()) <= 1e-6 * max(float(expected.norm()), EPS)
    case, advice = f"g_u = {f.tolist()}, g_r = {r.tolist()}", "either the value by hand or the formula in code is wrong"
    found.holds("golden", ok, case, str(expected.tolist()), seen.tolist(), advice, gramian)


class Point(nn.Module):
    """Two weights, for quadratics around (-1, 0), the forget side's, and (1, 0), the retain side's."""

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([0.3, 2.0], dtype=torch.float64))

    @staticmethod
    def around(centre: float) -> Callable[[nn.Module, Batch], Tensor]:
        """`|theta - (centre, 0)|^2` of each example."""

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            theta: Tensor = model.theta  # type: ignore[assignment]
            return (theta - theta.new_tensor([centre, 0.0])).square().sum().expand(len(batch))

        return loss


ONE = [torch.zeros(1)]


def steps(rule: Rule, numbers: range, point: Point | None = None) -> tuple[Point, Objectives]:
    """So many steps of a rule on the two quadratics, each number a step: its length falls with it."""
    point = point or Point()
    objectives = Objectives(point, (Point.around(-1.0), Point.around(1.0)), probe=ONE)
    for number in numbers:
        objectives.at(Pair(ONE, ONE, seed=number))
        objectives.lr = 0.1 / (1 + 0.1 * number)
        rule.backward(objectives)
        objectives.move(objectives.direction(), -objectives.lr)
        objectives.clear()
        rule.observe(objectives)
        rule.steer(Left(share=0.5, rise=0.1, steps=max(1, numbers.stop - number), lr=objectives.lr))
    return point, objectives


def _in_steps(found: Checked, rule: Rule, front: bool) -> None:
    whole, first, second = (copy.deepcopy(rule) for _ in range(3))
    try:
        end = steps(whole, range(6))[0].theta
        point = steps(first, range(3))[0]
        state = first.state_dict()
    except Violation:
        raise
    except Exception as error:
        found.stopped("resume", "six steps on two quadratics", error, "backward() and observe() take every pair")
    where = _unplain(state)
    advice = "a field with init=False that is a number, text, list, mapping or tensor is saved and restored"
    found.holds("plain state", not where, "after 3 steps", "plain values", where, advice)
    second.load_state_dict(copy.deepcopy(state))
    resumed = steps(second, range(3, 6), point)[0].theta
    ok = torch.equal(end, resumed) and alike(second.state_dict(), whole.state_dict())
    advice = "make all that is kept from step to step fields with init=False, or write state_dict and load_state_dict"
    told = f"{resumed.tolist()} and the state {second.state_dict()}"
    found.holds("resume", ok, "3 steps and 3 more", f"{end.tolist()} and {whole.state_dict()}", told, advice)
    fresh, start = copy.deepcopy(rule), Point()
    before = Objectives(start, (Point.around(-1.0), Point.around(1.0))).at(Pair(ONE, ONE)).losses()
    many = 150 if front and isinstance(rule, GradientRule) else 30
    point, objectives = steps(fresh, range(many))
    x, y = point.theta.tolist()
    after = objectives.losses()
    ok = bool((after < before).any()) and math.isfinite(x) and math.isfinite(y)
    told = f"losses {before.tolist()} to {after.tolist()}"
    advice = "both objectives are minimised, and the step is minus the direction that backward() leaves in .grad"
    found.holds("descends", ok, f"{many} steps on two quadratics", "one of them falls", told, advice)
    if many == 150:
        ok = abs(y) < 0.05 and -1.05 < x < 1.05 and bool(after[FORGET] < before[FORGET])
        told, advice = f"({x:.4g}, {y:.4g}), {told}", "away from the front both objectives can fall: the rule does not"
        found.holds("front", ok, "150 steps on two quadratics", "|y| < .05, |x| < 1.05", told, advice)


def _unplain(value: object, where: str = "state") -> str:
    """Where a state holds what no checkpoint can, or nothing."""
    if value is None or isinstance(value, bool | int | float | str | Tensor):
        return ""
    if isinstance(value, Mapping):
        return next(filter(None, (_unplain(v, f"{where}[{k!r}]") for k, v in value.items())), "")
    if isinstance(value, list | tuple):
        return next(filter(None, (_unplain(v, f"{where}[{i}]") for i, v in enumerate(value))), "")
    return f"{where} is of the type {type(value).__name__}"
