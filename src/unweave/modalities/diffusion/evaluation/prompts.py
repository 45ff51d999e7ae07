r"""Words in front of a forgotten text that bring it back, while no weight moves: the search that one can type.

Of a prompt with k free tokens before the text, the greedy descent of the mean denoising loss on a few images,

    v* = argmin_{v in V^k} mean_i E_{t, e} (f(x_t, t, c(v, text)) - y)^2

where c is the frozen text encoder. A step takes the gradient g in the embeddings of the tokens there are, which orders
all exchanges of one token, i: v_i -> w, by the change (E_w - E_{v_i}) . g_i that they promise; it makes the best of
the few most promising ones if that lowers the loss, read on the same noise (HotFlip, arXiv:1712.06751; for prompts of
language models Zou et al., arXiv:2307.15043). Prompts against unlearned diffusion models: Zhang et al., "To generate
or not?", ECCV 2024, arXiv:2310.11868.

Differs from the authors' code: they move embeddings by projected gradients and classify at single timesteps; this
exchanges whole tokens by the denoising loss, needs no classifier and no step length.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

CANDIDATES = 6
"""Exchanges that a step reads the loss of."""


class Words(Protocol):
    """A text behind k free tokens, as an encoder reads it."""

    table: Tensor
    """The embeddings of all tokens that may be searched, `[V, d]`."""
    free: int
    """k: how many there is room for."""

    def embedded(self, free: Tensor) -> Tensor:
        """What the encoder makes of these embeddings of the free tokens `[k, d]` and the text, `[L, D]`."""

    def text(self, tokens: Tensor) -> str:
        """Rows of the table `[k]` and the text, in letters."""


def searched_tokens(words: Words, loss: Callable[[int, Tensor], Tensor], steps: int, seed: int) -> Tensor:
    """Rows of the table, `[k]`, that lower the loss of the prompt.

    Args:
        words: the text and its free tokens.
        loss: of the number of a step and a condition `[L, D]`: the same number draws the same noise.
        steps: exchanges that are looked for.
        seed: of the tokens at the start.
    """
    table, chance = words.table, torch.Generator().manual_seed(seed)
    tokens = torch.randint(len(table), (words.free,), generator=chance)
    for step in range(steps):
        own = table[tokens].requires_grad_()
        now = loss(step, words.embedded(own))
        (slope,) = torch.autograd.grad(now, own)
        promised = slope @ table.T - (slope * own.detach()).sum(1, keepdim=True)  # [k, V]
        promised[torch.arange(words.free), tokens] = torch.inf  # no exchange
        best, least = tokens, float(now.detach())
        for flat in promised.flatten().topk(min(CANDIDATES, promised.numel()), largest=False).indices.tolist():
            changed = tokens.clone()
            changed[flat // len(table)] = flat % len(table)
            with torch.no_grad():
                there = float(loss(step, words.embedded(table[changed])))
            if there < least:
                best, least = changed, there
        tokens = best
    return tokens
