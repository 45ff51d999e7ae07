"""The standard sheet of a text model: the benchmark's metrics, and three attacks that ask for the same facts again: in
other words, with the answer begun, and after a little training on other forgotten rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch.distributed as dist
from torch import nn

from unweave.errors import UnsupportedError
from unweave.evaluation.value import Score
from unweave.execution import rank, world
from unweave.modalities.texts.evaluation.collect import Part, check, exchange, gather, header, is_sharded
from unweave.modalities.texts.evaluation.examples import prefixed
from unweave.modalities.texts.evaluation.lines import Run, Tokenizer
from unweave.modalities.texts.evaluation.log import Log
from unweave.modalities.texts.evaluation.relearning import Relearning, relearned
from unweave.modalities.texts.evaluation.scores import log_scores
from unweave.modalities.texts.evaluation.stored import stored
from unweave.modalities.texts.evaluation.tokens import Compat
from unweave.modalities.texts.evaluation.values import Store

STANDARD = Relearning()
_REWORDED = "no set 'forget_paraphrased': what the model says to a question in other words is not measured"
_NO_PREFIX = "no prefix attack: what the model says once an answer is begun for it is not measured"
_NO_RELEARNING = "no relearning: what a few of the forgotten rows would bring back is not measured"


@dataclass(frozen=True)
class Sheet:
    """Every score of a model, and the values per example that they come from (`log.notes` says what is missing)."""

    scores: dict[str, Score]
    log: Log


def sheet(
    model: nn.Module,
    tokenizer: Tokenizer,
    parts: Mapping[str, Part],
    *,
    retrained: Log | None = None,
    relearning: Relearning | None = STANDARD,
    prefix: int = 5,
    folder: Path | None = None,
    name: str = "model",
    batch_tokens: int | None = None,
    compat: Compat = None,
) -> Sheet:
    """Scores a model, once over every sequence; works during a run and on several processes (see `collect`).

    Args:
        model: a causal language model.
        tokenizer: the model's.
        parts: the sets by the names of a `Log`; `tofu_parts` makes TOFU's, with the questions in other words.
        retrained: a retrained model's log (`Sheet.log`, or `read_log` of its folder): without it, forget quality and
            PrivLeak are undefined, and no number of the forget set says how close it should come.
        relearning: what is learned again before the other forget rows are scored once more; None leaves it out.
        prefix: tokens of a forget answer that the prefix attack gives away, where answers are generated; 0 for none.
        folder: where values are streamed to and resumed from; `unweave evaluate --logs` reads it.
        name: of the model, in tables and messages.
        batch_tokens: of one forward pass, as in `collect`.
        compat: score as the code of "open-unlearning", "tofu" or "muse" does, its known faults included.

    Raises:
        ConfigurationError, UnsupportedError: as `collect`.
    """
    check(model, parts)
    again = relearning if "forget" in parts else None
    if again is not None and is_sharded(model):
        raise UnsupportedError(
            "The model's parameters are sharded, and relearning trains it whole. Pass relearning=None, or evaluate the "
            "saved model."
        )
    if prefix and "forget" in parts and parts["forget"].generate:
        parts = {**parts, "forget_prefixed": _prefixed(parts["forget"], tokenizer, prefix)}
    run = Run.of(model, tokenizer, share=True, compat=compat)
    with Store(folder, header(model, parts, compat, relearning=_plain(again)), rank()) as store:
        if world() > 1:
            dist.barrier()  # everyone has read the folder before anyone writes to it
        gather(run, parts, store, batch_tokens)
        if again is not None:
            learned, others = again.split(parts["forget"].examples)
            later = replace(parts["forget"], examples=[replace(e, paraphrased=(), perturbed=()) for e in others])
            later = replace(later, gradient=False)
            with nullcontext() if _done(store, later) else relearned(model, learned, again):
                gather(run, {"forget_relearned": later}, store, batch_tokens)
    exchange(store)
    lacking = {
        _NO_RELEARNING: again is None,
        _REWORDED: "forget_paraphrased" not in parts,
        _NO_PREFIX: "forget_prefixed" not in parts,
    }
    notes = [note for note, lacks in lacking.items() if lacks]
    log = replace(stored(store.lines(), name, compat), notes=tuple(notes))
    return Sheet(log_scores(log, retrained), log)


def _prefixed(forget: Part, tokenizer: Tokenizer, given: int) -> Part:
    def decode(ids: Sequence[int]) -> str:
        return str(tokenizer.decode(list(ids), skip_special_tokens=True))

    return replace(forget, examples=prefixed(forget.examples, decode, given), gradient=False)


def _done(store: Store, part: Part) -> bool:
    families = ["forced", *(["generated"] if part.generate else [])]
    return all(("forget_relearned", family, e.index) in store for family in families for e in part.examples)


def _plain(relearning: Relearning | None) -> dict[str, float] | None:
    return None if relearning is None else dict(vars(relearning))
