"""What may be tried: methods, their numbers and the step, from the intervals that the classes themselves allow.

A number is searched where its class gives it an interval and its default gives it a scale:

* both ends are finite: from end to end, linearly; open ends are left out by a hundredth of the length;
* the lower end is 0 and open, or an end is infinite: in the logarithm, from a tenth to ten times the default, within
  the interval; whole numbers from a quarter to four times.

A default of 0 or none gives no scale, and neither does a seed: these stay as they are, and so do words and flags.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from torch import nn

from unweave.arguments import listening
from unweave.errors import ConfigurationError, suggest
from unweave.methods import METHODS, OVER, divided, usual
from unweave.oneshot import ONESHOT
from unweave.recipe import faults
from unweave.recipe.auto import AUTO, BASELINES, HEADLINE, fitting
from unweave.recipe.recipe import Recipe
from unweave.recipe.sections import NamedSection
from unweave.recipe.steps import STEPS
from unweave.tasks import Task

USUAL = ("trust", "adam")
"""Steps that are tried: the trust region, and the papers' way."""
RATES = (1e-5, 1e-2)
"""A learning rate has no default that would give it a scale."""
Section = dict[str, Any]
Setting = dict[str, Section]
"""`method` and `step`, each a recipe's section."""


@dataclass(frozen=True)
class Knob:
    """A number that is searched, from `low` to `high`, both included."""

    low: float
    high: float
    log: bool
    whole: bool = False

    def __str__(self) -> str:
        return f"{self.low:.3g} to {self.high:.3g}" + (" (log)" if self.log else "") + (", whole" * self.whole)

    def holds(self, value: object) -> bool:
        """Whether a value lies in it."""
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high


Knobs = Mapping[str, Knob]


@dataclass(frozen=True)
class Space:
    """Everything that may be tried.

    Attributes:
        knobs: of every method and of every step, by section and name.
        fixed: what the recipe says of them, by section and name; it stays.
        own: of methods, by name, the defaults that are others for this task.
    """

    knobs: Mapping[str, Mapping[str, Knobs]]
    fixed: Mapping[str, Mapping[str, Section]]
    own: Mapping[str, Section] = field(default_factory=dict)

    def usual(self) -> list[Setting]:
        """Every method with its defaults, in the first step that has some."""
        step = next((name for name, knobs in self.knobs["step"].items() if not _needs(knobs)), None)
        if step is None:
            return []
        return [{"method": self._section("method", name), "step": self._section("step", step)} for name in self.methods]

    @property
    def methods(self) -> list[str]:
        """Their names."""
        return list(self.knobs["method"])

    def ask(self, trial: Any) -> Setting:
        """A setting that an optuna trial suggests."""
        found = {}
        for section, every in self.knobs.items():
            name = trial.suggest_categorical(section, list(every))
            values = {key: _suggested(trial, f"{section}.{name}.{key}", knob) for key, knob in every[name].items()}
            found[section] = self._section(section, name) | values
        return found

    def params(self, setting: Setting) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """What `ask` would have asked for this setting, and from what; None of one that it would never give."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        params: dict[str, Any] = {}
        of: dict[str, Any] = {}
        for section, every in self.knobs.items():
            name = setting[section]["name"]
            if name not in every:
                return None
            params[section], of[section] = name, CategoricalDistribution(list(every))
            for key, knob in every[name].items():
                value, place = setting[section].get(key), f"{section}.{name}.{key}"
                if not knob.holds(value):
                    return None
                params[place] = value
                if knob.whole:
                    of[place] = IntDistribution(int(knob.low), int(knob.high), log=knob.log)
                else:
                    of[place] = FloatDistribution(knob.low, knob.high, log=knob.log)
        return params, of

    def filled(self, setting: Setting) -> Setting:
        """With the defaults of what would be searched written out."""
        found = {}
        for section, own in setting.items():
            known = own["name"] in self.knobs[section]
            found[section] = {**(self._section(section, own["name"]) if known else {}), **own}
        return found

    def lines(self) -> list[str]:
        """For a person to read."""
        found = []
        for section, every in self.knobs.items():
            for name, knobs in every.items():
                fixed = {key: value for key, value in self.fixed[section].get(name, {}).items() if key != "name"}
                told = [f"{key} {knob}" for key, knob in knobs.items()] + [
                    f"{k}: {v} (fixed)" for k, v in fixed.items()
                ]
                found.append(f"{section:6} {name}: {'; '.join(told) or 'as it is'}")
        return found

    def _section(self, section: str, name: str) -> Section:
        table = METHODS if section == "method" else STEPS
        every = faults.defaults(table[name]) | (self.own.get(name, {}) if section == "method" else {})
        own = {k: p for k, p in every.items() if k in self.knobs[section][name]}
        return {"name": name, **own, **self.fixed[section].get(name, {})}


def _needs(knobs: Knobs) -> bool:
    """Whether there is a number without a default: a learning rate."""
    return "lr" in knobs


def _suggested(trial: Any, name: str, knob: Knob) -> float | int:
    if knob.whole:
        return int(trial.suggest_int(name, int(knob.low), int(knob.high), log=knob.log))
    return float(trial.suggest_float(name, knob.low, knob.high, log=knob.log))


def space_of(recipe: Recipe, task: Task, methods: Sequence[str] = (), free: bool = False) -> Space:
    """What may be tried for a recipe.

    Args:
        recipe: what it says of method and step stays as it is, and only the rest is tried.
        task: what its models do; of methods that nobody asked for, those that do not fit it are left out.
        methods: to be tried, whatever method the recipe names; none: that of the recipe, or where it names none the
            headline methods and a few baselines.
        free: try also what the recipe says.

    Raises:
        ConfigurationError: there is no such method, or nothing to be tried.
        UnsupportedError: a method that was asked for does not fit the task.
    """
    written = {s: None if free or s not in recipe.model_fields_set else getattr(recipe, s) for s in ("method", "step")}
    method, step = written["method"], written["step"]
    among: Sequence[str] = methods
    if method is not None and method.name == AUTO:
        among, method = among or method.arguments.get("among", ()), None
    if once := [name for name in among if name in ONESHOT]:
        raise ConfigurationError(f"--methods: {once[0]} takes no steps, and nothing of it is searched: leave it out.")
    if unknown := [name for name in among if name not in METHODS]:
        raise ConfigurationError(
            f"--methods: no method with steps is called {unknown[0]!r}.{suggest(unknown[0], METHODS)} "
            "`unweave methods` lists them all."
        )
    if not among:
        among = [method.name] if method is not None else [*HEADLINE, *BASELINES]
        if among[0] not in METHODS:
            raise ConfigurationError(f"method.name: {among[0]} takes no steps, and has nothing that is searched here")
    asked = bool(methods) or method is not None
    fixed = {"method": _fixed(method), "step": _fixed(step)}
    found: dict[str, Knobs] = {}
    for name in fitting(list(dict.fromkeys(among)), task, asked=asked):
        found[name] = _knobs(METHODS[name], fixed["method"].get(name, {}), partial(METHODS[name], task, nn.Module()))
    names = USUAL if step is None else (step.name,)
    steps = {name: _knobs(STEPS[name], fixed["step"].get(name, {}), STEPS[name]) for name in names}
    space = Space({"method": found, "step": steps}, fixed, {name: usual(name, task) for name in found})
    if len(found) * len(steps) < 2 and not any(knobs for each in space.knobs.values() for knobs in each.values()):
        raise ConfigurationError(
            "nothing to search: the recipe fixes method, hyperparameters and step. Leave some of them out, name "
            "--methods, or give --free"
        )
    return space


def _fixed(section: NamedSection | None) -> dict[str, Section]:
    return {} if section is None else {section.name: {"name": section.name, **section.arguments}}


def _knobs(function: Callable[..., Any], own: Section, make: Callable[..., Any]) -> dict[str, Knob]:
    """Those of a method or a step, without what is fixed."""
    parameters = faults.hyperparameters(function)
    given = {key: value for key, value in own.items() if key != "name"}
    needed = {key: RATES[0] for key in faults.required(function) if key not in given}
    row = divided(given)[0] if OVER in given else given
    with listening() as intervals:
        make(**row, **needed)
    found = {}
    for name, parameter in parameters.items():
        if name in given or name == "seed" or name not in intervals:
            continue
        default = parameter.default
        if name in needed:
            found[name] = Knob(*RATES, log=True)
        elif (knob := knob_of(default, intervals[name])) is not None:
            found[name] = knob
    return found


def knob_of(default: object, interval: str) -> Knob | None:
    """What is searched of a number with this default and interval, such as "[0, 1)"; None where nothing is."""
    if isinstance(default, bool) or not isinstance(default, int | float):
        return None
    low, high = map(float, interval[1:-1].split(","))
    whole = isinstance(default, int)
    if math.isfinite(low) and math.isfinite(high) and not (low == 0 and interval[0] == "("):
        room = 0.0 if whole else 0.01 * (high - low)
        return Knob(low + room * (interval[0] == "("), high - room * (interval[-1] == ")"), log=False, whole=whole)
    if default <= 0:
        return None
    times = 4 if whole else 10
    least, most = max(default / times, low), min(default * times, high)
    if whole:
        least, most = max(math.ceil(least), 1), math.floor(most)
    return Knob(least, most, log=True, whole=whole)
