"""What to run, what it will cost, and what retraining would: plain rules."""

from __future__ import annotations

from unweave.diagnosis.hardness import Level
from unweave.diagnosis.quote import Cost, Suggestion
from unweave.rules import HAMU, UnilateralSurgery


def suggestion(level: Level) -> Suggestion:
    """A method and its constraint for a verdict.

    Easy: `hamu_q`. Forgetting is what is guaranteed, at a share of the fastest rate; the retain damage is the least
    possible, and there is little to damage. Hard: `unilateral_surgery`. What must be guaranteed is now the retain loss:
    no step may raise it beyond the tolerance, and what forgetting that leaves is taken; `eupmu` does the same with one
    backward pass, for large models. Infeasible: none; a step that forgets raises the retain loss whatever its method.
    """
    if level == "easy":
        why = "forget at a fixed share of the fastest rate; the retained data hardly resist"
        return Suggestion("hamu_q", {"ratio": HAMU.ratio}, why)
    if level == "hard":
        why = "no step may raise the retain loss beyond the tolerance; eupmu does it with one backward pass"
        return Suggestion("unilateral_surgery", {"tolerance": UnilateralSurgery.tolerance}, why)
    why = "no step of any method forgets at this rate without harm: ask for less, let more weights move, or retrain"
    return Suggestion(None, {}, why)


def run_cost(steps: int, seconds_per_step: float, memory: int | None, parameters: int) -> Cost:
    """Of a run under the trust region: its steps, and one more copy of the weights than the pairs needed."""
    basis = f"{steps} steps of {seconds_per_step:.3g} s, as measured"
    return Cost(steps * seconds_per_step, None if memory is None else memory + parameters, basis)


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
