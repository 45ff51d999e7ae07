"""Every score of a text model, relearning among them: what is asked, collected and formed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from unweave.arguments import SEEDS, fault
from unweave.errors import ConfigurationError, UnsupportedError
from unweave.evaluation.metric import Score
from unweave.execution import bare, rank, world
from unweave.modalities.texts.evaluation.collect import (
    Part,
    Run,
    Tokenizer,
    check,
    exchange,
    gather,
    header,
    is_sharded,
)
from unweave.modalities.texts.evaluation.examples import Example, prefixed
from unweave.modalities.texts.evaluation.forward import batch_of
from unweave.modalities.texts.evaluation.log import Log
from unweave.modalities.texts.evaluation.metrics import log_scores
from unweave.modalities.texts.evaluation.numbers import Compat
from unweave.modalities.texts.evaluation.stored import Store, stored
from unweave.modules import evaluating
from unweave.tasks import Language


@dataclass(frozen=True)
class Relearning:
    """Fine-tuning on a few rows with AdamW, without weight decay or dropout.

    Args:
        rows: how many are learned, at most half of the forget set.
        steps: optimizer steps.
        lr: learning rate; the default is the one that TOFU's models were fine-tuned with.
        batch: rows in a step.
        seed: of which rows, and in which order.

    Raises:
        ConfigurationError: numbers out of range, all of them at once.
    """

    rows: int = 20
    steps: int = 20
    lr: float = 1e-5
    batch: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        numbers = {"rows": self.rows, "steps": self.steps, "lr": self.lr, "batch": self.batch}
        faults = [f"relearning: {name} must be above 0, found {n}" for name, n in numbers.items() if not n > 0]
        faults += [f"relearning: {text}" for text in [fault("seed", self.seed, int, SEEDS)] if text]
        if faults:
            raise ConfigurationError(faults)

    def split(self, examples: Sequence[Example]) -> tuple[list[Example], list[Example]]:
        """What is learned again, and what is scored.

        Raises:
            ConfigurationError: fewer than two examples.
        """
        if len(examples) < 2:
            raise ConfigurationError(f"relearning needs 2 forget examples at least, found {len(examples)}")
        drawn = torch.randperm(len(examples), generator=torch.Generator().manual_seed(self.seed)).tolist()
        chosen = set(drawn[: min(self.rows, len(examples) // 2)])
        return [examples[i] for i in sorted(chosen)], [e for i, e in enumerate(examples) if i not in chosen]


@contextmanager
def relearned(model: nn.Module, learned: Sequence[Example], how: Relearning) -> Iterator[None]:
    """Inside, the model has been fine-tuned on these examples; outside, it has its own weights again, to the bit.

    The parameters that require a gradient are trained, in float32 whatever their type; their `.grad` is left alone.

    Raises:
        UnsupportedError: all parameters are frozen.
    """
    with _put_back(model) as weights:
        for _ in _trained(model, weights, learned, how):
            pass
        yield


def relearning_curve(
    model: nn.Module,
    learned: Sequence[Example],
    how: Relearning,
    points: Collection[int],
    look: Callable[[nn.Module], float],
) -> list[float]:
    """What a look at the model says before relearning, and after these numbers of steps; else as `relearned`."""
    with _put_back(model) as weights:
        seen = [look(model)]
        for step, _ in enumerate(_trained(model, weights, learned, how), 1):
            seen += [look(model)] if step in points else []
    return seen


@contextmanager
def _put_back(model: nn.Module) -> Iterator[list[nn.Parameter]]:
    """What may move, which is what it was again outside."""
    weights = [p for p in model.parameters() if p.requires_grad]
    if not weights:
        raise UnsupportedError("Relearning needs parameters with requires_grad; all of this model's are frozen.")
    before = [p.detach().clone() for p in weights]
    try:
        yield weights
    finally:
        _set(weights, before)


def _trained(
    model: nn.Module, weights: Sequence[Tensor], learned: Sequence[Example], how: Relearning
) -> Iterator[None]:
    """Trains in place, a step before each item."""
    masters = [p.detach().float().clone() for p in weights]  # bf16 would swallow small steps
    optimizer = torch.optim.AdamW(masters, lr=how.lr, weight_decay=0.0)
    task, own, device = Language(), bare(model), weights[0].device
    for batch in _batches(learned, how):
        with evaluating(model), torch.enable_grad():
            loss = task.nll(own, batch_of([e.answer for e in batch], device)).mean()
            gradients = torch.autograd.grad(loss, list(weights), allow_unused=True)
        for master, gradient in zip(masters, gradients, strict=True):
            master.grad = None if gradient is None else gradient.float()
        optimizer.step()
        _set(weights, masters)
        yield


def _batches(learned: Sequence[Example], how: Relearning) -> Iterator[list[Example]]:
    """`steps` batches; every example comes once before one comes again."""
    generator = torch.Generator().manual_seed(how.seed)
    order: list[int] = []
    for _ in range(how.steps):
        while len(order) < how.batch:
            order += torch.randperm(len(learned), generator=generator).tolist()
        yield [learned[i] for i in order[: how.batch]]
        order = order[how.batch :]


@torch.no_grad()
def _set(weights: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for p, value in zip(weights, values, strict=True):
        p.copy_(value)


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
    parts = attacked(parts, tokenizer, prefix)
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


def attacked(parts: Mapping[str, Part], tokenizer: Tokenizer, prefix: int) -> Mapping[str, Part]:
    """The same with the set of the prefix attack, where answers to forget are generated."""
    if not (prefix and "forget" in parts and parts["forget"].generate):
        return parts
    return {**parts, "forget_prefixed": _prefixed(parts["forget"], tokenizer, prefix)}


def _prefixed(forget: Part, tokenizer: Tokenizer, given: int) -> Part:
    def decode(ids: Sequence[int]) -> str:
        return str(tokenizer.decode(list(ids), skip_special_tokens=True))

    return replace(forget, examples=prefixed(forget.examples, decode, given), gradient=False)


def _done(store: Store, part: Part) -> bool:
    families = ["forced", *(["generated"] if part.generate else [])]
    return all(("forget_relearned", family, e.index) in store for family in families for e in part.examples)


def _plain(relearning: Relearning | None) -> dict[str, float] | None:
    return None if relearning is None else dict(vars(relearning))
