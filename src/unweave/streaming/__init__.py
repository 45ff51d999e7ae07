"""Two gradients in the memory of two, of one, or of none: what is kept of them while a rule weighs them.

    fast    both; one backward pass a side
    lean    one; each tensor of the other is freed as soon as its inner products are taken, and made once more to be
            added. Two passes of that side; of both, where both are divided into micro-batches
    least   none. The norms of f, of r, and of f/|f| + r/|r| (whose square is 2 + 2 cos) make up the Gramian of the
            whole model, and a last pass of the weighted sum moves each tensor as its gradient is made: three passes a
            side, four where the two nearly agree and it takes f/|f| - r/|r| to tell them apart

A pass is the same whenever it is made (`Objectives`): the same masks of dropout, the same buffers to begin with.
"""

from unweave.streaming._base import Direction, Hearing, Memory, Passes, Take, Way, Weights
from unweave.streaming.hooks import dense, interleaved, taking
from unweave.streaming.ways import WAYS

__all__ = [
    "WAYS",
    "Direction",
    "Hearing",
    "Memory",
    "Passes",
    "Take",
    "Way",
    "Weights",
    "dense",
    "interleaved",
    "taking",
]
