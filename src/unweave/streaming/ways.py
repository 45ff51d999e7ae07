"""What is kept of two gradients while a rule weighs them: both, one, or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.autograd.graph import increment_version

from unweave.data.pairs import count
from unweave.devices import home
from unweave.errors import UnsupportedError
from unweave.gramian import (
    Blocks,
    blend,
    block_index,
    combine,
    gramian,
    lined_up,
    local,
    of_blocks,
    products,
    real,
    scaled,
    squared,
)
from unweave.modules import moving_buffers
from unweave.streaming._base import FORGET, LEAN, RETAIN, Direction, Memory, Passes, Take, Way, Weights
from unweave.streaming.directions import Again, Kept, nothing

AGREE = 0.9  # cosine beyond which that of a sum has lost a digit of the sine


class Fast:
    """Both gradients are kept."""

    def __init__(self, passes: Passes) -> None:
        self._passes = passes

    def products(self, blocks: Blocks) -> tuple[Tensor, Tensor]:
        """Losses `[2]` and Gramian `[B, 2, 2]` of the pair."""
        losses, gradients = self._passes.gradients()
        index = block_index(self._passes.names, blocks)
        self._asked = gradients, gramian(gradients, index, self._passes.packs), index
        return losses, self._asked[1]

    def combine(self, weights: Tensor) -> None:
        """The direction is `sum_i w[b, i] g_i` of the gradients whose products were asked for last."""
        gradients, gram, index = self._asked
        del self._asked
        self._passes.write(combine(gradients, weights, gram, index, self._passes.packs))

    def backward(self, weights: Weights, needs_forget: bool) -> tuple[Tensor, Tensor]:
        """The direction is the weighted sum; losses `[2]` and weights `[2]`."""
        return self._passes.weighed(weights, needs_forget)

    def each(self, side: int, take: Take) -> None:
        """Tells all tensors of one side's gradient."""
        for place, gradient in enumerate(self._passes.gradient(side)[1]):
            take(place, gradient)

    def direction(self) -> Direction:
        """What the rule left."""
        return Kept(self._passes)


class Lean:
    """One gradient is kept; the other comes tensor by tensor, as often as it is needed."""

    def __init__(self, passes: Passes) -> None:
        self._passes, self._whole = passes, Fast(passes)
        self.backward, self.each, self.direction = self._whole.backward, self._whole.each, self._whole.direction

    def products(self, blocks: Blocks) -> tuple[Tensor, Tensor]:
        """Losses `[2]` and Gramian `[B, 2, 2]` of the pair."""
        own, other, alone = self._sides()
        losses, heard, passes = [torch.zeros(()), torch.zeros(())], self._passes.heard, self._passes
        losses[own], kept = passes.gradient(own)
        if heard is not None:
            heard.begin(own, passes.parameters)
            heard.begin(other, passes.parameters)
        each = torch.zeros(len(kept), 3, dtype=torch.float64, device=home(local(kept[0]).device))
        for place, gradient in enumerate(kept):
            each[place, 2 * own] = products(gradient, gradient)[0]
            if heard is not None:
                heard.more(own, place, gradient)

        def take(place: int, gradient: Tensor | None) -> None:
            if gradient is None:
                return
            rows = products(kept[place], gradient)
            each[place, 1] += rows[1]
            if alone:
                each[place, 2 * other] = rows[2]
            if heard is not None:
                heard.more(other, place, gradient)

        losses[other] = passes.streamed(other, take)
        if not alone:  # the square of a sum over micro-batches takes the whole sum
            kept.clear()
            kept, (own, other) = passes.gradient(other)[1], (other, own)
            for place, gradient in enumerate(kept):
                each[place, 2 * own] = products(gradient, gradient)[0]
        index = block_index(passes.names, blocks)
        gram = lined_up(of_blocks(each, index, kept[0]), (kept, kept), index)
        self._asked = own, other, kept, gram, index
        return torch.stack(losses), gram

    def combine(self, weights: Tensor) -> None:
        """The direction is `sum_i w[b, i] g_i` of the gradients whose products were asked for last."""
        own, other, kept, gram, index = self._asked
        del self._asked
        factors, exact = (found.tolist() for found in scaled(weights, gram))
        begun = set[int]()

        def take(place: int, gradient: Tensor | None) -> None:
            (block, first), factor = (index[place], place not in begun), factors[index[place]]
            begun.add(place)
            if gradient is not None:
                blend(kept[place], gradient, factor[own] if first else 1.0, factor[other], exact[block])
            elif first:
                real(local(kept[place])).mul_(factor[own])

        if any(factor[other] for factor in factors):
            self._passes.streamed(other, take)
        else:
            nothing(len(kept), take)
        self._passes.write(kept)

    def _sides(self) -> tuple[int, int, bool]:
        """Whose gradient is kept, whose comes twice, and whether it comes in one piece.

        The one of fewer examples, where its gradient comes in one piece; buffers that move are to move in the order
        forget, retain.
        """
        pair = self._passes.pair
        sides = {FORGET: pair.forget, RETAIN: pair.retain}
        single = [side for side in (RETAIN, FORGET) if len(sides[side]) <= 1]
        if moving_buffers(self._passes.model):
            single = [side for side in single if side == RETAIN]
        other = min(single, key=lambda side: sum(map(count, sides[side])), default=RETAIN)
        return 1 - other, other, bool(single)


class Least:
    """No gradient is kept: the whole model is one block, and the direction is taken as it is made."""

    def __init__(self, passes: Passes) -> None:
        self._passes = passes
        self._left: Direction | None = None

    def products(self, blocks: Blocks) -> tuple[Tensor, Tensor]:
        """Losses `[2]` and Gramian `[1, 2, 2]` of the pair."""
        if blocks != "model":
            raise UnsupportedError(f"memory='least' knows the inner products of the whole model alone. {LEAN}")
        losses, squares = zip(*(self._square({side: 1.0}, tells=True) for side in (FORGET, RETAIN)), strict=True)
        ff, rr = squares
        fr = ff * rr  # nothing, or nothing finite
        if bool(fr.isfinite() & (fr > 0)):
            one, other = float(ff.rsqrt()), float(rr.rsqrt())
            cosine = self._square({FORGET: one, RETAIN: other})[1] / 2 - 1
            if cosine > AGREE:
                cosine = 1 - self._square({FORGET: one, RETAIN: -other})[1] / 2
            fr = cosine * fr.sqrt()
        self._gram = torch.stack([ff, fr, fr, rr]).view(1, 2, 2)
        parameters = self._passes.parameters
        lined_up(self._gram, (parameters, parameters), [0] * len(parameters))
        return torch.stack([losses[FORGET][FORGET], losses[RETAIN][RETAIN]]), self._gram

    def combine(self, weights: Tensor) -> None:
        """The direction is `w[0, 0] f + w[0, 1] r`."""
        (factors,) = scaled(weights, self._gram)[0].tolist()
        given = {side: weight for side, weight in enumerate(factors) if weight}
        self._left = Again(self._passes, given, float(squared(weights, self._gram).sqrt()))

    def backward(self, weights: Weights, needs_forget: bool) -> tuple[Tensor, Tensor]:
        """The direction is the weighted sum; losses `[2]` and weights `[2]`."""
        passes, order, own = self._passes, (FORGET, RETAIN), dict[int, Tensor]()
        if not isinstance(weights, Tensor):  # buffers move as they would if one side were differentiated after another
            order, own[RETAIN] = (RETAIN, FORGET), passes.loss(RETAIN, moves=True)
            if needs_forget:
                own[FORGET] = passes.loss(FORGET, moves=len(passes.pair.forget) == 1)
            weights = weights(torch.stack([own.get(FORGET, own[RETAIN] * float("nan")), own[RETAIN]]))
        given = {side: float(weights[side]) for side in order if float(weights[side])}
        if RETAIN in own and FORGET in given and moving_buffers(passes.model):
            passes.loss(FORGET, moves=True)
        elif FORGET not in given and FORGET not in own:
            own[FORGET] = passes.loss(FORGET)
        losses, square = self._square(given)
        own |= {side: losses[side] for side in given}
        self._left = Again(passes, given, float(square.sqrt()))
        return torch.stack([own[FORGET], own[RETAIN] if RETAIN in own else passes.loss(RETAIN)]), weights

    def each(self, side: int, take: Take) -> None:
        """Tells all tensors of one side's gradient."""
        self._passes.together({side: 1.0}, take)

    def direction(self) -> Direction:
        """What the rule left."""
        left, self._left = self._left, None
        assert left is not None, "asked for before a rule left one"
        return left

    def _square(self, weights: Mapping[int, float], tells: bool = False) -> tuple[Tensor, Tensor]:
        """Losses, and the squared norm of the gradient of the weighted sum, on the CPU; it `tells` who wants to hear.

        Each tensor counts as changed once its gradient was there: where something still needs it, autograd says so now,
        before it is changed indeed.
        """
        passes, heard = self._passes, self._passes.heard
        each = torch.zeros(
            len(passes.parameters), 3, dtype=torch.float64, device=home(local(passes.parameters[0]).device)
        )
        alone = next(iter(weights)) if tells else 0
        if heard is not None and tells:
            heard.begin(alone, passes.parameters)

        def take(place: int, gradient: Tensor | None) -> None:
            if gradient is None:
                return
            each[place] = products(gradient, gradient)
            increment_version(passes.parameters[place])
            if heard is not None and tells:
                heard.more(alone, place, gradient)

        losses = passes.together(weights, take) if weights else each.new_zeros(2)
        return losses, of_blocks(each, [0] * len(each), passes.parameters[0])[0, 0, 0]


WAYS: dict[Memory, Callable[[Passes], Way]] = {"fast": Fast, "lean": Lean, "least": Least}
