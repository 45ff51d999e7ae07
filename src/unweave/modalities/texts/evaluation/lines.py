"""One batch of examples as lines of values: what the model says of their answers, and what it writes itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import nn

from unweave.errors import UnsupportedError
from unweave.modalities.texts.evaluation.examples import Example
from unweave.modalities.texts.evaluation.forward import Answer, Row, forced
from unweave.modalities.texts.evaluation.generations import cut
from unweave.modalities.texts.evaluation.greedy import greedy
from unweave.modalities.texts.evaluation.packed import packed_length, packs, together
from unweave.modalities.texts.evaluation.stored import Line, rouge_columns
from unweave.modalities.texts.evaluation.tokens import Compat, compressed
from unweave.tasks._passes import inner


class Tokenizer(Protocol):
    """What is needed of a tokenizer."""

    @property
    def eos_token_id(self) -> Any:
        """The id that ends a text, or None."""
        ...

    def decode(self, token_ids: Any, skip_special_tokens: bool = ...) -> Any:
        """Ids as text."""
        ...


@dataclass(frozen=True)
class Run:
    """What all batches have in common.

    Args:
        model: in eval mode.
        tokenizer: the model's.
        ends: ids that end a text.
        hidden: ids that nothing attends to.
        share: make one sequence of a prompt and all its answers, where the model can.
    """

    model: nn.Module
    tokenizer: Tokenizer
    ends: frozenset[int]
    hidden: frozenset[int]
    share: bool

    @classmethod
    def of(cls, model: nn.Module, tokenizer: Tokenizer, *, share: bool, compat: Compat) -> Run:
        """The ends are those of the tokenizer and of the model; "open-unlearning" hides them."""
        own = getattr(getattr(inner(model), "generation_config", None), "eos_token_id", None)
        ids = [*(own if isinstance(own, list) else [own]), tokenizer.eos_token_id]
        ends = frozenset(int(i) for i in ids if i is not None)
        return cls(model, tokenizer, ends, ends if compat == "open-unlearning" else frozenset(), share)

    @cached_property
    def packs(self) -> bool:
        """Whether answers go behind one prompt; the model is asked once, when it is needed: in the mode of scoring."""
        return self.share and packs(self.model)


def room(run: Run, e: Example) -> tuple[int, int]:
    """Width and number of the sequences that an example is scored with."""
    sequences = (e.answer, *e.others)
    one = bool(e.others) and run.packs and together(run.model, sequences)
    return (packed_length(sequences), 1) if one else (longest(e), len(sequences))


def longest(e: Example) -> int:
    """Tokens of the longest sequence of an example."""
    return max(len(s.ids) for s in (e.answer, *e.others))


@torch.no_grad()
def forced_lines(run: Run, name: str, chosen: Sequence[Example]) -> list[Line]:
    """Family `forced` of a batch: one forward per sequence, and one sequence per example where the model packs."""
    found = iter(_answers(run, chosen))
    return [_forced(run, name, e, [next(found) for _ in range(1 + len(e.others))]) for e in chosen]


def with_gradient(run: Run, name: str, e: Example, *, whole: bool) -> list[Line]:
    """Family `gradient` of one example, and `forced` from the same forward pass.

    The norm of the gradient of the mean token loss, the end of the text left out, over the parameters that require one;
    and the mean of its tensors' norms, which is what open-unlearning calls the gradient norm.

    Raises:
        UnsupportedError: all parameters are frozen.
    """
    weights = [p for p in run.model.parameters() if p.requires_grad]
    if not weights:
        raise UnsupportedError("The gradient norm needs parameters with requires_grad; all of this model's are frozen.")
    with torch.enable_grad():
        (answer,) = _answers(run, [e], others=False)
        scored = answer.logprobs[: len(answer.logprobs) - (e.answer.ids[-1] in run.ends)]
        norms = torch.full((1,), torch.nan, dtype=torch.float64)
        if len(scored):
            gradients = torch.autograd.grad(-scored.mean(), weights, allow_unused=True)
            norms = torch.stack([g.norm().double().cpu() for g in gradients if g is not None])
    line = {"set": name, "family": "gradient", "index": e.index, "norm": norms.norm().item()}
    lines: list[Line] = [{**line, "mean_norm": norms.mean().item()}]
    if whole:
        with torch.no_grad():
            rest = _answers(run, [e], own=False) if e.others else []
        lines.append(_forced(run, name, e, [answer, *rest]))
    return lines


def generated_lines(
    run: Run, name: str, chosen: Sequence[Example], limit: int, stops: Sequence[str], stemmer: bool
) -> list[Line]:
    """Family `generated` of a batch: a greedy answer of at most `limit` tokens, and its ROUGE."""
    made = greedy(run.model, [e.answer.prompt for e in chosen], limit, run.ends, hidden=run.hidden)
    lines = []
    for e, ids in zip(chosen, made, strict=True):
        text = cut(str(run.tokenizer.decode(ids, skip_special_tokens=True)), stops)
        line: Line = {"set": name, "family": "generated", "index": e.index, "tokens": len(ids), "stemmer": stemmer}
        lines.append({**line, **rouge_columns(e.text.strip(), text, stemmer=stemmer)})
    return lines


def _answers(run: Run, chosen: Sequence[Example], *, own: bool = True, others: bool = True) -> list[Answer]:
    rows = []
    for group, e in enumerate(chosen):
        rows += [Row(group, e.answer, True)] if own else []
        rows += [Row(group, s, False) for s in e.others] if others else []
    share = len(rows) > len(chosen) and run.packs
    return forced(run.model, rows, hidden=run.hidden, share=share)


def _forced(run: Run, name: str, e: Example, answers: Sequence[Answer]) -> Line:
    own, *others = answers
    assert own.hits is not None and own.means is not None and own.variances is not None
    wrong = others[len(e.paraphrased) :]
    return {
        "set": name,
        "family": "forced",
        "index": e.index,
        "logprobs": own.logprobs.tolist(),
        "hits": own.hits.long().tolist(),
        "means": own.means.tolist(),
        "variances": own.variances.tolist(),
        "ends": e.answer.ids[-1] in run.ends,
        "bytes": compressed(e.text),
        "paraphrased": [a.loss for a in others[: len(e.paraphrased)]],
        "perturbed": [a.loss for a in wrong],
        "perturbed_tokens": [len(a.logprobs) for a in wrong],
    }
