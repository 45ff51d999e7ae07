"""What is compared: every method with two settings, the same number for all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

Over = Literal["npo", "wga"]
Ends = Literal["last", "met"]
LR = 1e-3  # of AdamW, where a setting names no other


@dataclass(frozen=True)
class Setting:
    """A row of the catalogue with hyperparameters other than its defaults, and how far a step goes.

    Attributes:
        method: name in the catalogue.
        arguments: of that row.
        over: the forget loss in the place of the row's own.
        lr: of AdamW; None is a trust region.
        region: arguments of the trust region.
        end: whether the forget loss ends, example by example, at the nll of unseen answers (`losses.Until`).
        repair: when a repair begins (`repair.Repair`): in the last three tenths of the budget, or as soon as half of
            the forget answers are at the level of unseen ones, then at the latest.
    """

    method: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    over: Over | None = None
    lr: float | None = LR
    region: Mapping[str, float] = field(default_factory=dict)
    end: bool = False
    repair: Ends | None = None

    @property
    def key(self) -> str:
        """The method's name in tables and files."""
        parts = (self.method, self.over, "end" if self.end else None, "repair" if self.repair else None)
        return "+".join(filter(None, parts))

    @property
    def name(self) -> str:
        """What sets it apart from the method's others."""
        step = {"trust": "", **self.region} if self.lr is None else {"lr": self.lr}
        return " ".join(
            f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}".rstrip("=")
            for k, v in {**step, **self.arguments, **({"repair": self.repair} if self.repair else {})}.items()
        )


def _rates(method: str, *rates: float, **arguments: Any) -> list[Setting]:
    return [Setting(method, arguments, lr=lr) for lr in rates]


def _weights(method: str, *weights: float, **arguments: Any) -> list[Setting]:
    return [Setting(method, {"forget": w, **arguments}) for w in weights]


def _hamu(method: str, over: Over | None = None) -> list[Setting]:
    return [Setting(method, {"ratio": r}, over) for r in (0.3, 0.5)]


def _needed(over: Over | None, *ratios: float) -> list[Setting]:
    """With the end, and a quota that follows what has not ended."""
    return [Setting("hamu_q", {"ratio": r, "need": True}, over, end=True) for r in ratios]


def _surgery(method: str, over: Over | None = None) -> list[Setting]:
    return [Setting(method, {}, over, lr) for lr in (3e-4, 1e-3)]


def _ofmu(over: Over | None = None) -> list[Setting]:
    """In a trust region: its inner steps are plain ones, which AdamW's rates make far too short (docs/LOG.md)."""
    choices: tuple[dict[str, Any], ...] = ({}, {"inner_steps": 1, "similarity_weight": 0.0})
    return [Setting("ofmu", choice, over, None, {"budget": 0.1, "start": 5e-3}) for choice in choices]


BASELINES: tuple[list[Setting], ...] = (
    _rates("gradient_ascent", 3e-5, 1e-4),
    _weights("graddiff", 0.1, 1.0),
    _weights("kl", 0.1, 1.0),
    _weights("npo", 0.3, 1.0),
    _weights("simnpo", 0.125, 1.0),
    _weights("dpo", 0.1, 1.0),
    _weights("altpo", 0.1, 1.0),
    [Setting("rmu", {"scale": scale}) for scale in (2.0, 10.0)],
    [Setting("undial", {"retain": weight}) for weight in (0.0, 1.0)],
    _weights("wga", 0.3, 1.0),
    _weights("satimp", 0.1, 1.0, retain=1.0),
    _rates("ce_u", 1e-4, 3e-4),
)
OURS: tuple[list[Setting], ...] = (
    _hamu("hamu_q"),
    _hamu("hamu_q", "npo"),
    _hamu("hamu_u"),
    _surgery("eupmu"),
    _surgery("eupmu", "npo"),
    _surgery("unilateral_surgery"),
    _ofmu(),
    _hamu("hamu_q", "wga"),
    _surgery("eupmu", "wga"),
    _ofmu("wga"),
)
# The same loss with an end: the fixed sums of the baselines have the same right to it.
BASELINES_ENDED: tuple[list[Setting], ...] = tuple(
    [replace(setting, end=True) for setting in of]
    for of in (
        _weights("graddiff", 0.1, 1.0),
        _weights("kl", 0.1, 1.0),
        _weights("npo", 0.3, 1.0),
        _weights("wga", 1.0, 2.0),
    )
)
OURS_ENDED: tuple[list[Setting], ...] = (
    _needed(None, 0.1, 0.3),
    _needed("npo", 0.3, 0.5),
    _needed("wga", 0.3, 0.5),
    [Setting("hamu_u", {"ratio": r, "radius": 1.0, "need": True}, "wga", end=True) for r in (0.8, 0.9)],
    [Setting("eupmu", {"dual_lr": rate}, "wga", end=True) for rate in (3e-3, 1e-2)],
    [Setting("unilateral_surgery", {"tolerance": e}, "wga", end=True) for e in (-2.0, -3.0)],
    [replace(setting, end=True) for setting in _ofmu("wga")],
)
SETTINGS: dict[str, list[Setting]] = {of[0].key: of for of in (*OURS, *OURS_ENDED, *BASELINES, *BASELINES_ENDED)}
HEADLINE = frozenset(of[0].key for of in (*OURS, *OURS_ENDED))
REPAIRED: dict[str, list[Setting]] = {
    of[0].key: of
    for of in (
        [replace(setting, repair=end) for setting in settings for end in get_args(Ends)]
        for settings in SETTINGS.values()
    )
}
"""Every one of them with a repair: each setting with both ways to begin it, where without one each has two lengths."""
PUBLISHED, ENDED = (frozenset(of[0].key for of in group) for group in (BASELINES, BASELINES_ENDED))
"""Baselines as their papers have them, and with an end."""
