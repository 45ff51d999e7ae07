"""What is compared: methods, their hyperparameters and step lengths, as lists of settings by suite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from unweave.rules import HAMU

HEADLINE = ("hamu_q", "hamu_u", "eupmu", "unilateral_surgery", "ofmu")
ADAPTED = ("mgda", "cagrad", "upgrad", "imtl_g", "aligned_mtl", "pdu")  # from multi-task learning
STEPS = (*HEADLINE, "pcgrad", "graddiff")
TUNED_ON = {
    "digits": ("poison", "class", "random"),
    "cifar10": ("poison", "class"),
    "cifar10-10k": ("poison", "class"),
}
"""Requests of the first seed on which every setting is run; the others see those that were chosen there."""
REPAIRED_AS = {"cifar10": "cifar10-10k"}
"""Data on which settings with a repair are run to choose among them, where the data itself is too large for that."""
RATES = {"digits": (0.003, 0.01, 0.03, 0.1, 0.3, 1.0), "cifar10": (0.01, 0.1, 1.0)}
RATIOS = {"digits": (0.03, 0.05, 0.1, 0.3), "cifar10": (0.3,)}  # shares of the feasible quota, beside the default
REPAIRED = ", repaired"


@dataclass(frozen=True)
class Setting:
    """A row of the catalogue with hyperparameters other than its defaults, and how far a step goes.

    Attributes:
        method, step, arguments: sections of a recipe.
        name: of the setting, among those of its method.
        repair: what forgetting cost is paid back before the run ends.
    """

    method: str
    name: str
    step: Mapping[str, Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    repair: bool = False

    def repaired(self) -> Setting:
        """The same push, and a repair."""
        return replace(self, name=f"{self.name}{REPAIRED}", repair=True)


def trust(method: str, **arguments: Any) -> Setting:
    return Setting(method, " ".join(["trust", *_written(arguments)]), {"name": "trust"}, arguments)


def sgd(method: str, lr: float, momentum: float = 0.0, **arguments: Any) -> Setting:
    name = f"sgd {lr:g}" if not momentum else f"sgd{momentum:g} {lr:g}"
    step = {"name": "sgd", "lr": lr, "momentum": momentum}
    return Setting(method, " ".join([name, *_written(arguments)]), step, arguments)


def adam(method: str, lr: float, **arguments: Any) -> Setting:
    return Setting(method, " ".join([f"adam {lr:g}", *_written(arguments)]), {"name": "adam", "lr": lr}, arguments)


def ssd(selection: float, dampening: float) -> Setting:
    arguments = {"selection": selection, "dampening": dampening}
    return Setting("ssd", " ".join(_written(arguments)), {"name": "none"}, arguments)


def _written(arguments: Mapping[str, Any]) -> list[str]:
    return [f"{name}={value}" for name, value in arguments.items()]


BASELINES: dict[str, list[Setting]] = {
    "finetune": [adam("finetune", lr) for lr in (3e-4, 1e-3, 3e-3)],
    "graddiff": [adam("graddiff", 3e-5), adam("graddiff", 1e-4), sgd("graddiff", 0.01, forget=0.1)],
    "scrub": [
        adam("scrub", 3e-5),
        adam("scrub", 3e-4, rounds=5),
        adam("scrub", 3e-4, rounds=10),
    ],
    "random_label": [adam("random_label", 1e-3), *(sgd("random_label", lr, 0.9) for lr in (0.01, 0.03))],
    "salun": [adam("salun", 1e-3), *(sgd("salun", lr, 0.9) for lr in (0.01, 0.03))],
    "kl": [adam("kl", lr) for lr in (1e-5, 3e-5, 1e-4)],
    "bad_teacher": [adam("bad_teacher", 1e-3), *(sgd("bad_teacher", lr, 0.9) for lr in (0.01, 0.03))],
    "pcgrad": [adam("pcgrad", lr) for lr in (3e-5, 1e-4, 3e-4)],
    "munba": [adam("munba", lr) for lr in (3e-5, 1e-4, 3e-4)],
    "gru": [adam("gru", lr) for lr in (3e-5, 1e-4, 3e-4)],
    "ngdiff": [adam("ngdiff", lr) for lr in (3e-5, 1e-4, 3e-4)],
    **{name: [adam(name, lr) for lr in (3e-5, 1e-4, 3e-4)] for name in ADAPTED},
    "gradient_ascent": [adam("gradient_ascent", lr) for lr in (1e-5, 3e-5, 1e-4)],
    "ssd": [ssd(selection, 1.0) for selection in (10, 30, 100)],
}


def names(repair: bool = False) -> dict[str, list[str]]:
    """The settings' names of every baseline, all with a repair or all without."""
    end = REPAIRED if repair else ""
    return {method: [setting.name + end for setting in of] for method, of in BASELINES.items()}


def tuned(methods: list[str]) -> list[Setting]:
    """Headline methods at their defaults; every baseline with its three settings; all without a repair and with one."""
    found = [s for m in methods for s in ([trust(m)] if m in HEADLINE else BASELINES.get(m, []))]
    return [each for setting in found for each in (setting, setting.repaired())]


def steps(methods: list[str], data: str) -> list[Setting]:
    """The trust region beside plain SGD at every rate; HAMU at every ratio; fewer of both where a run takes long."""
    found = []
    for method in (m for m in methods if m in STEPS):
        ratios = sorted({*RATIOS[data], HAMU.ratio}) if method.startswith("hamu") else [HAMU.ratio]
        for choice in [{} if ratio == HAMU.ratio else {"ratio": ratio} for ratio in ratios]:
            found += [trust(method, **choice), *(sgd(method, lr, **choice) for lr in RATES[data])]
    return found
