"""Answers that share a prompt as one sequence: the prompt once, then every answer, none of which sees another.

    prompt | answer 1 | answer 2 | ...

A token attends to the prompt and to what is before it in its own answer, and has the position that it would have right
behind the prompt: every answer gets the logits of a sequence of its own. That needs a model that does what a mask
`[b, 1, t, t]` and `position_ids` tell it; `packs` asks the model itself, since a signature does not say so.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from unweave.execution import bare, device_of
from unweave.modalities.texts.evaluation.examples import IGNORED, Tokenised
from unweave.tasks._passes import attends_to_all, inner, takes

Tree = Sequence[Tokenised]  # sequences whose prompts begin with the same tokens


def common(sequences: Tree) -> int:
    """How many tokens all prompts begin with; each keeps its last token, which predicts the answer's first."""
    limit = min(s.start for s in sequences) - 1
    first = sequences[0].ids
    return next((i for i in range(limit) if any(s.ids[i] != first[i] for s in sequences)), limit)


def packed_length(sequences: Tree) -> int:
    """Tokens of the one sequence."""
    shared = common(sequences)
    return shared + sum(len(s.ids) - shared for s in sequences)


def together(model: nn.Module, sequences: Tree) -> bool:
    """Whether these go as one: several, with a prompt in common, not longer together than the model's context."""
    context = getattr(getattr(inner(model), "config", None), "max_position_embeddings", None)
    fits = not isinstance(context, int) or packed_length(sequences) <= context
    return len(sequences) > 1 and common(sequences) > 0 and fits


def predictions(model: nn.Module, trees: Sequence[Tree], hidden: Collection[int] = ()) -> tuple[Tensor, Tensor]:
    """Logits `[n, V]` of all answer tokens, tree by tree and in each answer by answer, and these tokens `[n]`.

    Args:
        model: one that `packs`.
        trees: a row of the batch each.
        hidden: token ids that nothing may attend to, but where they begin a text.
    """
    own = bare(model)
    weight = next(p for p in own.parameters() if p.is_floating_point())
    ids, labels, places, branches = (x.to(weight.device) for x in _laid_out(trees))
    t = torch.arange(ids.shape[1], device=ids.device)
    trunk, same = branches[:, None, :] == 0, branches[:, None, :] == branches[:, :, None]
    allowed = (t[None, :] <= t[:, None]) & (trunk | same)
    if hidden:
        out = torch.isin(ids, torch.tensor(sorted(hidden), device=ids.device)) & (t > 0)
        allowed &= ~out[:, None, :]
    barred = torch.zeros_like(allowed, dtype=weight.dtype).masked_fill_(~allowed, torch.finfo(weight.dtype).min)
    asked = labels[:, 1:] != IGNORED
    columns = asked.any(0).nonzero().flatten()
    keep = {"logits_to_keep": columns} if takes(own, "logits_to_keep") else {}
    more = {"use_cache": False} if takes(own, "use_cache") else {}
    seen = own(input_ids=ids, attention_mask=barred[:, None], position_ids=places, **more, **keep)
    logits = getattr(seen, "logits", seen)
    logits = logits if keep else logits[:, columns]
    return logits[asked[:, columns]], labels[:, 1:][asked]


def packs(model: nn.Module) -> bool:
    """Whether the model gives a small tree the logits of its sequences: tried on five tokens, to rounding.

    Models that attend to a window, carry a state, add prompts of their own or have kernels without such masks do not.
    """
    own = inner(model)
    vocabulary = getattr(getattr(own, "config", None), "vocab_size", 0)
    if not takes(own, "position_ids") or vocabulary < 4 or not attends_to_all(own):
        return False
    tree = [Tokenised((1, 2, 3, 1), 2), Tokenised((1, 2, 2, 3), 2), Tokenised((1, 2, 0), 2)]
    with torch.no_grad():
        try:
            packed = predictions(model, [tree])[0]
        except (RuntimeError, TypeError, ValueError, IndexError):
            return False  # it has no room for such a mask, and says so in its own way
        apart = _apart(bare(model), tree).to(packed)
    finest = max(torch.finfo(packed.dtype).eps, torch.finfo(torch.float32).eps)  # some softmax is in float32 always
    near = finest**0.6 * apart.abs().amax()  # 7e-5 of the largest logit
    return bool((packed - apart).abs().amax() <= near)


def _apart(model: nn.Module, tree: Tree) -> Tensor:
    """Logits `[n, V]` of all answers, as any causal model gives them."""
    ids = torch.zeros(len(tree), max(len(s.ids) for s in tree), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, s in enumerate(tree):
        ids[row, : len(s.ids)], mask[row, : len(s.ids)] = torch.tensor(s.ids), 1
    device = device_of(model)
    seen = model(input_ids=ids.to(device), attention_mask=mask.to(device))
    logits = getattr(seen, "logits", seen)
    return torch.cat([logits[row, s.start - 1 : len(s.ids) - 1] for row, s in enumerate(tree)])


def _laid_out(trees: Sequence[Tree]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ids, labels, positions and branches (0: the prompt, -1: padding), each `[b, t]`."""
    shape = (len(trees), max(map(packed_length, trees)))
    ids, places = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    labels, branches = torch.full(shape, IGNORED), torch.full(shape, -1)
    for row, tree in enumerate(trees):
        shared = common(tree)
        ids[row, :shared] = torch.tensor(tree[0].ids[:shared], dtype=torch.long)
        places[row, :shared], branches[row, :shared] = torch.arange(shared), 0
        begin = shared
        for branch, s in enumerate(tree, 1):
            end = begin + len(s.ids) - shared
            ids[row, begin:end] = torch.tensor(s.ids[shared:])
            labels[row, begin + s.start - shared : end] = ids[row, begin + s.start - shared : end]
            places[row, begin:end], branches[row, begin:end] = torch.arange(shared, len(s.ids)), branch
            begin = end
    return ids, labels, places, branches
