"""The quote in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unweave.diagnosis.quote import Block, Cost, Diagnosis, Example, Forecast, Group, Range

_SHOWN = 5  # examples, groups and blocks in the text; `as_dict` has them all


def lines(quote: Diagnosis) -> list[str]:
    """First what decides, then what it rests on."""
    s = quote.suggestion
    settings = " ".join(f"{name}={value}" for name, value in s.settings.items())
    blocks = sorted(quote.blocks, key=lambda b: 1.0 if b.cosine is None else b.cosine)[:_SHOWN]
    found = [
        f"verdict         {quote.verdict.level}: {quote.verdict.reason}",
        f"suggested       {f'{s.method} {settings}: ' if s.method else ''}{s.why}",
        f"a run           {_cost(quote.run)}",
        f"retraining      {_cost(quote.retrain)}",
        *(
            []
            if quote.scoring is None
            else [f"scores          about {quote.scoring.seconds:,.3g} s ({quote.scoring.basis})"]
        ),
        *_cheaper(quote.run, quote.retrain),
        "",
        f"hardness        {_signed(quote.hardness)}, standard error {quote.hardness_error:.2g} "
        "(1: forgetting is losing the rest; 0 or less: no conflict)",
        f"price           {_signed(quote.price)}"
        + (" nats of log-odds, lost" if quote.forecast else ", what is lost")
        + " on kept examples per "
        + ("nat on the forgotten ones" if quote.forecast else "unit that the forgotten ones lose"),
        *([f"forecast        {_forecast(quote.forecast)}"] if quote.forecast else []),
        *([] if quote.ranges is None else [_validity(quote.ranges)]),
        f"hardest rows    {_examples(quote.forget)}",
        f"highest payers  {_examples(quote.payers)} (row, price)",
    ]
    if quote.groups:
        found.append(f"by group        {_groups(quote.groups)}")
        found.append(f"groups paying   {_groups(quote.paying_groups)}")
    found += [
        f"layers          {', '.join(_block(b) for b in blocks)} (hardest of {len(quote.blocks)} blocks)",
        "front           "
        + ", ".join(f"{p.share:.0%}: {_signed(p.price)}" for p in quote.front)
        + " (share of the fastest forgetting: price)",
        "",
        f"a step meets    nll forget {quote.forget_loss:.3g}, retain {quote.retain_loss:.3g}; cosine "
        f"{_signed(quote.cosine)} (pairs: {', '.join(_signed(c) for c in quote.cosines)})",
        f"kappa           {quote.kappa:.3g} (retain descent forgets below {quote.kappa1:.3g}, harm above "
        f"{quote.kappa2:.3g}); feasible quota {quote.quota:.3g} per unit of learning rate",
        f"this quote      {quote.seconds:.3g} s, {quote.forwards:,} forward passes of one example"
        + ("" if quote.epochs is None else f", as much as {quote.epochs:.2g} epochs of training"),
    ]
    return found


def _forecast(points: Sequence[Forecast]) -> str:
    """Nats forgotten: nats that the kept examples lose on the fastest way."""
    each = (
        f"{p.rise:g}: {_signed(p.cost)}{'' if p.holds else ' (beyond first order)'}"
        for p in points
        if p.cost is not None
    )
    return f"{', '.join(each) or 'none'} (rise of the forget loss in nats: rise of the retain loss, at full speed)"


def _validity(ranges: tuple[Range, Range]) -> str:
    sides = (f"{name} to {_share(r)}" for name, r in zip(("forget", "retain"), ranges, strict=True))
    return (
        f"holds           within {ranges[0].tolerance:.0%} for {', '.join(sides)} (length of a step over that of the "
        "weights)"
    )


def _share(found: Range) -> str:
    return "any length" if found.radius is None else f"{found.radius:.2%}"


def _examples(examples: Sequence[Example]) -> str:
    return ", ".join(f"{e.row} ({e.value:+.2g})" for e in examples[:_SHOWN]) or "none"


def _groups(groups: Sequence[Group]) -> str:
    return ", ".join(f"{g.name}: {g.mean:+.2g}" for g in groups[:_SHOWN]) + (" ..." if len(groups) > _SHOWN else "")


def _cost(cost: Cost) -> str:
    time = "" if cost.seconds is None else f"about {cost.seconds:,.3g} s, "
    memory = "memory unknown" if cost.memory_bytes is None else f"{cost.memory_bytes / 2**20:,.0f} MiB peak memory"
    return f"{time}{memory} ({cost.basis})"


def _cheaper(run: Cost, retrain: Cost) -> list[str]:
    """Retraining is exact: where it costs no more, unlearning has nothing to offer."""
    if run.seconds is None or retrain.seconds is None or retrain.seconds > run.seconds:
        return []
    return ["cheaper         retraining: exact, and no longer than a run, if all of the retained data are there"]


def _block(block: Block) -> str:
    return f"{_signed(_negative(block.cosine))} {block.name or '(top level)'}"


def _negative(value: float | None) -> float | None:
    return None if value is None else -value


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{value:+.3g}"
