"""Runs a model over the parts of an evaluation, and writes a line of values per example."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import nn

from unweave.errors import ConfigurationError, UnsupportedError
from unweave.execution import device_of, gathered, rank, world
from unweave.gramian import local
from unweave.modalities.texts.evaluation.examples import Example, check_unique
from unweave.modalities.texts.evaluation.forward import Answer, Row, forced, greedy, packed_length, packs, together
from unweave.modalities.texts.evaluation.numbers import Compat, compressed, cut
from unweave.modalities.texts.evaluation.stored import Line, Store, data_fingerprint, fingerprint, rouge_columns
from unweave.modules import evaluating
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
            norms = torch.stack([g.norm().cpu().double() for g in gradients if g is not None])
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


@dataclass(frozen=True)
class Part:
    """One evaluation set and what is measured on it.

    Args:
        examples: its rows.
        forced: the teacher-forced metrics.
        generate: tokens at most of a greedily generated answer; 0 generates none.
        gradient: the gradient norm, at the price of one backward pass per example.
        stops: strings that end a generated answer, besides the model's own end.
        stemmer: of ROUGE; MUSE goes without.
    """

    examples: Sequence[Example]
    forced: bool = True
    generate: int = 0
    gradient: bool = False
    stops: tuple[str, ...] = field(default=())
    stemmer: bool = True


def collect(
    model: nn.Module,
    tokenizer: Tokenizer,
    parts: Mapping[str, Part],
    *,
    folder: Path | None = None,
    batch_tokens: int | None = None,
    share: bool = True,
    compat: Compat = None,
) -> list[Line]:
    """The values of every example, which `stored` makes a log of.

    Args:
        model: a causal language model: plain, PEFT, DDP or FSDP2 (each process then holds all weights meanwhile).
        tokenizer: the model's.
        parts: the sets by their names in a `Log`.
        folder: values are streamed there, and what it holds is not computed again; None keeps them in memory.
        batch_tokens: of one forward pass, padding included; None: 8192, but 2048 to score answers on a CPU, where more
            is slower.
        share: make one sequence of a prompt and all its answers, where the model can (`packed.packs`).
        compat: "open-unlearning" hides the ends of texts from attention, as that code does where padding is the end of
            a text; the others collect the same as None.

    Raises:
        ConfigurationError: a set is empty or has an index twice, texts are longer than the model's context, or the
            folder belongs to another model, other data or other settings.
        UnsupportedError: the gradient norm of a model whose parameters are sharded.
    """
    check(model, parts)
    with Store(folder, header(model, parts, compat), rank()) as store:
        if world() > 1:
            dist.barrier()  # everyone has read the folder before anyone writes to it
        gather(Run.of(model, tokenizer, share=share, compat=compat), parts, store, batch_tokens)
    exchange(store)
    return store.lines()


def gather(run: Run, parts: Mapping[str, Part], store: Store, batch_tokens: int | None) -> None:
    """Fills the store with this process's share of what is missing, in eval mode and with the random state kept."""
    with gathered(run.model), evaluating(run.model), torch.random.fork_rng(devices=[]):
        for name, part in parts.items():
            for lines in _asked(run, name, part, store, batch_tokens):
                store.write(lines)


def batches(lengths: Sequence[int], widths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Places in order of falling length, in batches of at most `budget` padded tokens, or of one.

    Args:
        lengths: of the longest sequence at each place.
        widths: how many sequences each place has.
        budget: tokens.
    """
    batch: list[int] = []
    rows = 0
    for place in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        longest = lengths[batch[0]] if batch else 0
        if batch and (rows + widths[place]) * longest > budget:
            yield batch
            batch, rows = [], 0
        batch.append(place)
        rows += widths[place]
    if batch:
        yield batch


def _mine(part: Part, length: Callable[[Example], int]) -> list[Example]:
    """This process's share: every so many of the examples in order of length, so that all have equal work."""
    return sorted(part.examples, key=lambda e: (length(e), e.index))[rank() :: world()]


def _asked(run: Run, name: str, part: Part, store: Store, budget: int | None) -> Iterator[list[Line]]:
    """The lines that are still missing, batch by batch."""
    scored = budget or (2048 if device_of(run.model).type == "cpu" else 8192)

    def missing(family: str, length: Callable[[Example], int]) -> list[Example]:
        return [e for e in _mine(part, length) if (name, family, e.index) not in store]

    if part.gradient:
        for e in missing("gradient", longest):
            yield with_gradient(run, name, e, whole=part.forced)
    if part.forced:
        todo = missing("forced", longest)
        rooms = [room(run, e) for e in todo]
        for batch in batches([width for width, _ in rooms], [count for _, count in rooms], scored):
            yield forced_lines(run, name, [todo[i] for i in batch])
    if part.generate:
        todo = missing("generated", lambda e: e.answer.start)
        for batch in batches([e.answer.start + part.generate for e in todo], [1] * len(todo), budget or 8192):
            yield generated_lines(run, name, [todo[i] for i in batch], part.generate, part.stops, part.stemmer)


def exchange(store: Store) -> None:
    """Everyone gets everyone's lines; the first process writes the one file."""
    if world() > 1:
        gathered: list[list[Line]] = [[] for _ in range(world())]
        dist.all_gather_object(gathered, store.lines())
        for lines in gathered:
            store.add(lines)
    if rank() == 0:
        store.merge()
    if world() > 1:
        dist.barrier()


def header(model: nn.Module, parts: Mapping[str, Part], compat: Compat, **more: Any) -> Line:
    """What collected values belong to: the model, the data, the settings."""
    sets = {n: {"generate": p.generate, "stops": list(p.stops), "stemmer": p.stemmer} for n, p in parts.items()}
    return {
        "model": fingerprint(model),
        "data": {name: data_fingerprint(part.examples) for name, part in parts.items()},
        "settings": {"compat": compat if compat == "open-unlearning" else None, "sets": sets, **more},
    }


def is_sharded(model: nn.Module) -> bool:
    """Whether the model's parameters are spread over processes."""
    return any(local(p) is not p for p in model.parameters())


def check(model: nn.Module, parts: Mapping[str, Part]) -> None:
    """Refuses what cannot be collected; for faults and errors see `collect`."""
    if is_sharded(model) and any(part.gradient for part in parts.values()):
        raise UnsupportedError(
            "The model's parameters are sharded, and the gradient norm of single examples needs them whole. Ask for "
            "gradient=False, or evaluate the saved model."
        )
    faults = []
    for name, part in parts.items():
        if not part.examples:
            faults.append(f"{name}: the set is empty: there is nothing to measure")
        check_unique(part.examples, name)
    if faults := [*faults, *beyond(parts, getattr(model, "config", None))]:
        raise ConfigurationError(faults)


def beyond(parts: Mapping[str, Part], config: object) -> list[str]:
    """What does not fit into the context of a model of this configuration, in words."""
    limit = getattr(config, "max_position_embeddings", None)
    return [fault for name, part in parts.items() for fault in _beyond(name, part, limit)]


def _beyond(name: str, part: Part, limit: object) -> list[str]:
    """Texts, and the room for what is generated behind their prompts."""
    if not isinstance(limit, int):
        return []
    found = [
        f"{name}: row {e.index} needs {longest(e)} tokens, the model's context has {limit}: shorten it"
        for e in part.examples
        if longest(e) > limit
    ]
    prompts = [e.answer.start for e in part.examples if longest(e) <= limit]
    if over := sum(prompt + part.generate > limit for prompt in prompts):
        room = limit - max(prompts)
        found.append(
            f"{name}: {part.generate} generated tokens do not fit behind the prompts of {over} of {len(part.examples)} "
            f"rows: the model's context has {limit}, the longest prompt {max(prompts)}. Ask for {room} at most "
            "(Part(generate=...); in a recipe: evaluation.generate)"
        )
    return found
