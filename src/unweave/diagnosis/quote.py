"""The quote as a value: what was found, ready for JSON; `text` writes it for people."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from unweave.diagnosis.hardness import Level, Verdict
from unweave.diagnosis.text import lines
from unweave.rules import HAMU, UnilateralSurgery


@dataclass(frozen=True)
class Point:
    """One point of the first-order front.

    Args:
        share: of the fastest forgetting.
        retain_change: least change of the retain loss, from -1 (steepest descent) to 1 (steepest ascent).
        price: the same in units of retain loss per unit of forget loss; None for a zero forget gradient.
    """

    share: float
    retain_change: float
    price: float | None


@dataclass(frozen=True)
class Block:
    """Hardness of one block of parameters.

    Args:
        name: of the layer or tensor.
        cosine: of the two gradients that the verdict is about; below 0 is conflict; None if one is zero.
        kappa: HAMU's, of the pairs; above 0 is conflict.
        part: of the feasible quota.
    """

    name: str
    cosine: float | None
    kappa: float
    part: float


@dataclass(frozen=True)
class Example:
    """One example to forget, or one that would pay.

    Args:
        row: its position in its data set.
        value: hardness of a forget example, price of a retain example (`Diagnosis`).
        loss: its log-odds of an error, nats; far below 0: the model is sure.
        group: what it belongs to; None without groups.
    """

    row: int
    value: float
    loss: float
    group: Hashable = None


@dataclass(frozen=True)
class Group:
    """A group of examples: their number, mean value and its standard error (None for one example)."""

    name: Hashable
    examples: int
    mean: float
    error: float | None


@dataclass(frozen=True)
class Range:
    """How far the first-order picture holds along the fastest forgetting.

    Args:
        slope: change of the mean log-odds for a step as long as the parameters' norm, to first order.
        curvature: second derivative, in the same unit.
        radius: step up to which `slope` alone is right within `tolerance`, as a share of the parameters' norm; None:
            no curvature was seen.
        tolerance: relative.
    """

    slope: float
    curvature: float
    radius: float | None
    tolerance: float


@dataclass(frozen=True)
class Forecast:
    """What forgetting will cost on the fastest way, to first order in the log-odds (`forecast.forecast`).

    Args:
        rise: of the mean forget nll, nats.
        cost: rise of the mean retain nll, nats; None where the forget loss cannot rise by so much this way.
        length: of the step, as a share of the parameters' norm; None likewise.
        holds: the length is within both ranges.
    """

    rise: float
    cost: float | None
    length: float | None
    holds: bool


@dataclass(frozen=True)
class Suggestion:
    """A method of the catalogue, its constraint, and why; no method where none would do."""

    method: str | None
    settings: Mapping[str, float | str]
    why: str


@dataclass(frozen=True)
class Cost:
    """Seconds and peak bytes, None where unknown; `basis` says what they come from."""

    seconds: float | None
    memory_bytes: int | None
    basis: str


@dataclass(frozen=True)
class Diagnosis:
    """How hard a request is and what it will cost, to first order.

    The *verdict*, `hardness`, the front, examples and groups are about the log-odds of an error (`odds.log_odds`), with
    gradients over the whole forget set and a sample of the retain set. `cosine`, `kappa` and `quota` are HAMU's, of the
    nll and of batches as a step meets them.

    Args:
        verdict: easy, hard or infeasible, with the reason.
        share: of the fastest forgetting that the verdict, kappa1 and kappa2 are about.
        hardness: cosine of the two sides' gradients: 1, forgetting is losing the retained data; 0, they are
            independent; below 0, forgetting helps; None if one is zero.
        hardness_error: its standard error, both sets taken as samples.
        price: rise of the mean retain log-odds per unit of the forget set's, on the fastest way; None likewise.
        free_share: of the fastest forgetting that need not raise the retain loss.
        front: the least retain cost of faster and faster forgetting.
        ranges: how far first order holds: forget, retain; None for a zero forget gradient.
        forecast: the front in nats: what forgetting by so much will cost; empty likewise, and for a loss in
            another unit.
        forget: each forget example's hardness, the hardest first; their mean is `hardness`.
        payers: each sampled retain example's price, the highest first; their mean is `price`.
        groups: mean hardness of the groups of the forget set, the hardest first.
        paying_groups: mean price of the groups of the retain sample, the highest first.
        forget_loss: mean -log p of the forget batches.
        retain_loss: the same of the retain batches.
        cosine: of a step's two nll gradients, mean Gramian; below 0 is conflict; None if one is zero.
        cosines: of each pair: how much one batch differs from the next.
        kappa: HAMU's hardness, whole model; above 0 is conflict.
        kappa1: below it, descent of the retain loss alone forgets at this share.
        kappa2: above it, every step that forgets at this share raises the retain loss.
        quota: S, the feasible quota per unit of learning rate over the blocks.
        blocks: hardness block by block.
        suggestion: what to run.
        run: cost of it.
        retrain: cost of training again without the forget set.
        seconds_per_step: both gradients of a pair, their inner products, and a look at both losses; median.
        peak_memory_bytes: of the process since its start; on CUDA, of the device during the pairs; None where the
            system does not tell.
        seconds: that the quote took.
        forwards: examples that went through the model for it, a backward pass counted as two.
        epochs: the same in epochs of training on both sets; None where their size is not known.
        scoring: cost of the scores of all models that a run ends with; None where nobody knows.
    """

    verdict: Verdict
    share: float
    hardness: float | None
    hardness_error: float
    price: float | None
    free_share: float
    front: tuple[Point, ...]
    ranges: tuple[Range, Range] | None
    forecast: tuple[Forecast, ...]
    forget: tuple[Example, ...]
    payers: tuple[Example, ...]
    groups: tuple[Group, ...]
    paying_groups: tuple[Group, ...]
    forget_loss: float
    retain_loss: float
    cosine: float | None
    cosines: tuple[float | None, ...]
    kappa: float
    kappa1: float
    kappa2: float
    quota: float
    blocks: tuple[Block, ...]
    suggestion: Suggestion
    run: Cost
    retrain: Cost
    seconds_per_step: float
    peak_memory_bytes: int | None
    seconds: float
    forwards: int
    epochs: float | None
    scoring: Cost | None = None

    def numbered(self, forget: Sequence[int], retain: Sequence[int]) -> Diagnosis:
        """The same with other row numbers: `forget[row]` and `retain[row]` instead of the position in each set.

        With a split's rows of the training set, examples are named as the request names them.
        """

        def named(examples: tuple[Example, ...], rows: Sequence[int]) -> tuple[Example, ...]:
            return tuple(replace(e, row=int(rows[e.row])) for e in examples)

        return replace(self, forget=named(self.forget, forget), payers=named(self.payers, retain))

    def as_dict(self, most: int | None = None) -> dict[str, Any]:
        """All fields, ready for JSON.

        Args:
            most: of the hardest forget examples and of the highest payers; None is all of them. A run directory's
                `quote.json` holds `as_dict(most=...)`.
        """
        return asdict(replace(self, forget=self.forget[:most], payers=self.payers[:most]))

    def lines(self) -> list[str]:
        """What a person reads."""
        return lines(self)


def suggestion(level: Level, denoising: bool = False) -> Suggestion:
    """A method and its constraint for a verdict.

    Easy: `hamu_q`. Forgetting is what is guaranteed, at a share of the fastest rate; the retain damage is the least
    possible, and there is little to damage. Hard: `unilateral_surgery`. What must be guaranteed is now the retain loss:
    no step may raise it beyond the tolerance, and what forgetting that leaves is taken; `eupmu` does the same with one
    backward pass, for large models. Infeasible: none; a step that forgets raises the retain loss whatever its method.
    Where the model denoises, the rows' own defaults for that are taken.
    """
    if level == "easy":
        why = "forget at a fixed share of the fastest rate; the retained data hardly resist"
        return Suggestion("hamu_q", {} if denoising else {"ratio": HAMU.ratio}, why)
    if level == "hard":
        why = "no step may raise the retain loss beyond the tolerance; eupmu does it with one backward pass"
        own = {} if denoising else {"tolerance": UnilateralSurgery.tolerance}
        return Suggestion("unilateral_surgery", own, why)
    why = "no step of any method forgets at this rate without harm: ask for less, let more weights move, or retrain"
    return Suggestion(None, {}, why)


def run_cost(steps: int, seconds_per_step: float, memory: int | None, parameters: int) -> Cost:
    """Of a run under the trust region, whose steps push or repair: the weights before a step, and two averages more."""
    basis = f"{steps} steps of {seconds_per_step:.3g} s, as measured"
    return Cost(steps * seconds_per_step, None if memory is None else memory + 3 * parameters, basis)


def with_looks(run: Cost, passes: int, seconds: float) -> Cost:
    """The same run under a contract, whose looks take so many forward passes of one example.

    Args:
        run: without it.
        passes: of all looks.
        seconds: of one.
    """
    if run.seconds is None or not passes:
        return run
    basis = f"{run.basis}, and {passes:,} forward passes of one example to read the contract"
    return replace(run, seconds=run.seconds + passes * seconds, basis=basis)


def scoring_cost(seconds: float | None, models: int) -> Cost | None:
    """Of the scores of so many models, of which one takes so long."""
    if seconds is None:
        return None
    return Cost(models * seconds, None, f"{models} models of {seconds:.3g} s, as measured")


def retrain_cost(
    examples: int | None, seconds_per_example: float, memory: int | None, epochs: int | None, measured: float | None
) -> Cost:
    """Of training again without the forget set; memory is that of two gradients (here: gradient and momentum)."""
    if measured is not None:
        return Cost(measured, memory, "a training of the same kind, as measured")
    if examples is None:
        return Cost(None, memory, "the number of examples is not known")
    per_epoch = examples * seconds_per_example
    each = f"{examples:,} examples of {1000 * seconds_per_example:.3g} ms"
    if epochs is None:
        return Cost(None, memory, f"{per_epoch:.3g} s an epoch ({each}); say how many epochs")
    return Cost(epochs * per_epoch, memory, f"{epochs} epochs of {each}, estimated")
