"""What an argument may be: a public entry has a table of them, and tells every fault of a call at once."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from functools import wraps
from types import UnionType
from typing import Any, ParamSpec, TypeVar

from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from unweave.errors import FINITE, ConfigurationError, fault, shown, suggest

P = ParamSpec("P")
T = TypeVar("T")
DOES = "an object with nll and divergence"
Rule = Callable[[str, Any], str]
"""Of an argument's name and value: what is wrong, what it must be and what to do; an empty text where nothing is."""


def faults(rules: Mapping[str, Rule], given: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong with the arguments that have a rule, by their names."""
    return {name: text for name, rule in rules.items() if name in given and (text := rule(name, given[name]))}


def checked(rules: Mapping[str, Rule]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """A function whose arguments are checked before it is called.

    Raises:
        ConfigurationError: every argument that its rule refuses.
    """

    def checking(function: Callable[P, T]) -> Callable[P, T]:
        called = inspect.signature(function)

        @wraps(function)
        def asked(*args: P.args, **kwargs: P.kwargs) -> T:
            check(rules, called.bind(*args, **kwargs).arguments)
            return function(*args, **kwargs)

        return asked

    return checking


def check(rules: Mapping[str, Rule], given: Mapping[str, Any]) -> None:
    """Refuses arguments.

    Raises:
        ConfigurationError: every one that its rule refuses.
    """
    refuse(faults(rules, given).values())


def refuse(found: Collection[str]) -> None:
    """Raises what was found, if anything was.

    Raises:
        ConfigurationError: there is a fault.
    """
    if found:
        raise ConfigurationError(found)


def value(hint: Any, allowed: str = FINITE) -> Rule:
    """Numbers of an interval, flags and options, as `errors.check` has them."""
    return lambda name, given: fault(name, given, hint, allowed)


def natural(name: str, given: Any) -> str:
    """An integer of at least 1."""
    if type(given) is int and given < 1:
        return f"{name} must be at least 1, found {shown(given)}"
    return fault(name, given, int, "[1, inf)")


def kind(words: str, *types: type | UnionType, none: bool = False) -> Rule:
    """Objects of these types; with `none`, None too."""

    def rule(name: str, given: Any) -> str:
        return "" if isinstance(given, types) or (none and given is None) else wrong(name, words, given)

    return rule


def named(names: Mapping[str, Any], otherwise: str, other: Rule) -> Rule:
    """A name of a table, or what another rule allows; `otherwise` says what that is."""

    def rule(name: str, given: Any) -> str:
        if not isinstance(given, str):
            return wrong(name, f"the name of a {name} or {otherwise}", given) if other(name, given) else ""
        known = ", ".join(names)
        told = f"There is no {name} {given!r}.{suggest(given, names)} Known: {known}; or pass {otherwise}."
        return "" if given in names else told

    return rule


def having(words: str, *methods: str) -> Rule:
    """Objects with these methods; not the class of such objects."""

    def rule(name: str, given: Any) -> str:
        there = not isinstance(given, type) and all(callable(getattr(given, each, None)) for each in methods)
        return "" if there else wrong(name, words, given)

    return rule


def functions(words: str, takes: int) -> Rule:
    """Functions that can be called with so many arguments each; `words` say which ones."""

    def rule(name: str, given: Any) -> str:
        if isinstance(given, str) or not isinstance(given, Sequence | Set):
            return wrong(name, f"a list of functions {words}", given)
        odd = [(i, each) for i, each in enumerate(given) if not callable_with(each, takes)]
        return wrong(f"{name}[{odd[0][0]}]", f"a function {words}", odd[0][1]) if odd else ""

    return rule


task = having(DOES, "nll", "divergence")
"""A `tasks.Task`."""


def model(name: str, given: Any) -> str:
    """A module with its weights."""
    if isinstance(given, nn.Module):
        return ""
    advice = ""
    if isinstance(given, type) and issubclass(given, nn.Module):
        advice = f" Pass an object of it, with its trained weights: {given.__name__}(...)."
    elif isinstance(given, Mapping) and any(isinstance(each, Tensor) for each in given.values()):
        advice = " Weights alone say nothing of the network: build it and load them, model.load_state_dict(...)."
    return wrong(name, "a torch.nn.Module", given) + advice


def examples(name: str, given: Any) -> str:
    """A data set: of torch, a loader, or anything else with a length and an index that gives examples."""
    if isinstance(given, (IterableDataset, DataLoader)) or _indexed(given):
        return ""
    if isinstance(given, Dataset):
        return wrong(name, "a data set with a length and an index", given) + " Put it into a DataLoader."
    if isinstance(given, tuple) and given:
        advice = f" For example: {name}=torch.utils.data.TensorDataset(inputs, labels)."
    else:
        advice = " A list of examples will do, too." if isinstance(given, Iterator | Set) else ""
    return wrong(name, "a torch Dataset or DataLoader", given) + advice


def prepared(name: str, given: Any) -> str:
    """An `accelerate.Accelerator`, or None."""
    return maybe(having("an accelerate.Accelerator or None", "prepare", "backward"))(name, given)


def maybe(rule: Rule) -> Rule:
    """The same, or None."""
    return lambda name, given: "" if given is None else rule(name, given)


def callable_with(given: Any, takes: int) -> bool:
    """Whether it can be called with so many arguments by position; what says nothing of itself is believed."""
    try:
        inspect.signature(given).bind(*[None] * takes)
    except ValueError:
        return callable(given)
    except TypeError:
        return False
    return True


def wrong(name: str, words: str, given: Any) -> str:
    """What was expected, and what was found."""
    return f"{name} must be {words}; found {shown(given)}."


def _indexed(given: Any) -> bool:
    """Whether it gives examples by number, and says how many."""
    if isinstance(given, (str, bytes, bytearray, Mapping, nn.Module, type)):
        return False
    if isinstance(given, tuple) and all(hasattr(each, "__getitem__") and hasattr(each, "shape") for each in given):
        return not given  # (inputs, labels), and not examples
    if isinstance(given, Dataset):
        return hasattr(given, "__len__")
    try:
        return not len(given) or given[0] is not None
    except Exception:
        return False
