"""What an argument or a field may be: a type and an interval, or a rule; all faults of a call are told at once."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import fields
from functools import wraps
from numbers import Integral, Real
from types import UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from unweave.errors import ConfigurationError, UnweaveError, follows, shown, suggest

P = ParamSpec("P")
T = TypeVar("T")
DOES = "an object with nll and divergence"
FINITE = "(-inf, inf)"
SEEDS = "[0, 9223372036854775808)"
"""What torch, NumPy and Python all take as a seed, and what may be counted up from it: integers below 2^63."""
_NUMBERS: dict[Any, tuple[Any, str]] = {float: (Real, "a number"), int: (Integral, "an integer")}
_OPTIONS: dict[Any, tuple[object, ...]] = {bool: (True, False), type(None): (None,)}
Rule = Callable[[str, Any], str]
"""Of an argument's name and value: what is wrong, what it must be and what to do; an empty text where nothing is."""


def faults(rules: Mapping[str, Rule], given: Mapping[str, Any]) -> dict[str, str]:
    """What is wrong with the arguments that have a rule, by their names."""
    return {name: text for name, rule in rules.items() if name in given and (text := rule(name, given[name]))}


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


def at_once(make: Callable[P, T]) -> Callable[P, T]:
    """The same function, which tells every fault of its arguments and not the first alone.

    For what makes several things in turn, each of which checks its own arguments: it is asked again with the defaults
    of those that were refused. A fault begins with the name of its argument.

    Raises:
        ConfigurationError: every value that an argument cannot have.
    """
    called = inspect.signature(make)

    @wraps(make)
    def asked(*args: P.args, **kwargs: P.kwargs) -> T:
        given, found, refused = called.bind(*args, **kwargs), list[str](), set[str]()
        while True:
            named = set[str]()
            try:
                made = make(*given.args, **given.kwargs)
                if not found:
                    return made
            except UnweaveError as error:
                told = error.faults if isinstance(error, ConfigurationError) else [str(error)]
                first = {text.split()[0] for text in told} & given.arguments.keys()
                named = {name for name in first if called.parameters[name].default is not inspect.Parameter.empty}
                if not (named or refused):
                    raise
                found += [text for text in told if not follows(text, refused)]
            if not named:
                raise ConfigurationError(found)
            for name in named:
                del given.arguments[name]
            refused |= named

    return asked


_HEARD: ContextVar[dict[str, str] | None] = ContextVar("heard", default=None)


@contextmanager
def listening() -> Iterator[dict[str, str]]:
    """Meanwhile, the intervals that classes allow for their numbers, by field: they are written there alone."""
    found: dict[str, str] = {}
    token = _HEARD.set(found)
    try:
        yield found
    finally:
        _HEARD.reset(token)


def check_fields(owner: Any, *also: str, **allowed: str | Iterable[str] | Rule) -> None:
    """Checks the init fields of a dataclass by their types: options of a `Literal`, numbers, integers, flags.

    Args:
        owner: a dataclass instance; fields of other types are not looked at.
        also: other faults, to be reported together with these; an empty text is none.
        allowed: intervals of its numbers, such as `rate="[0, inf)"`, which are finite where nothing is said, options
            of its texts, and rules of what is neither.

    Raises:
        ConfigurationError: every value that its field cannot have.
    """
    hints = get_type_hints(type(owner))
    if (heard := _HEARD.get()) is not None:
        told = {f.name: allowed.get(f.name, FINITE) for f in fields(owner) if f.init}
        heard |= {name: each for name, each in told.items() if isinstance(each, str) and name not in heard}
    rules = {name: rule if callable(rule) else value(hints[name], rule) for name, rule in allowed.items()}
    rules = {f.name: rules.get(f.name) or value(hints[f.name]) for f in fields(owner) if f.init}
    refuse([*faults(rules, vars(owner)).values(), *filter(None, also)])


def check_value(name: str, value: object, hint: Any, allowed: str | Iterable[str] = FINITE) -> None:
    """The same for one value.

    Raises:
        ConfigurationError: it cannot have that value.
    """
    if (heard := _HEARD.get()) is not None and isinstance(allowed, str):
        heard.setdefault(name, allowed)
    refuse(list(filter(None, [fault(name, value, hint, allowed)])))


def fault(name: str, value: object, hint: Any, allowed: str | Iterable[str] = FINITE) -> str:
    """What is wrong with a value of that type and interval, or of those options; nothing where nothing is."""
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    options: list[object] = [] if isinstance(allowed, str) else list(allowed)
    for part in parts:
        if get_origin(part) is Literal:
            options += get_args(part)
        elif part in _OPTIONS:
            options += _OPTIONS[part]
        elif part not in _NUMBERS and isinstance(allowed, str):
            return ""  # a type that cannot be told from here
    number = next((part for part in parts if part in _NUMBERS), None)
    words = list(map(repr, options))
    if number is not None and isinstance(allowed, str):
        kind, noun = _NUMBERS[number]
        words.insert(0, f"{noun} in {allowed}")
        if isinstance(value, kind) and not isinstance(value, bool) and _inside(value, allowed):
            return ""
    if any(type(value) is type(option) and value == option for option in options):
        return ""
    near = suggest(value, map(str, options)) if isinstance(value, str) else ""
    wanted = " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))
    return f"{name} must be {wanted}; found {shown(value)}.{near}"


def _inside(value: Any, interval: str) -> bool:
    """Whether a number is in an interval, written as usual: `[0, 1)`; NaN is in none, nor is what no float can be."""
    if isinstance(value, Integral) and abs(int(value)) > sys.float_info.max:
        return False
    low, high = map(float, interval[1:-1].split(","))
    above = low <= value if interval[0] == "[" else low < value
    return bool(above and (value <= high if interval[-1] == "]" else value < high))


def value(hint: Any, allowed: str | Iterable[str] = FINITE) -> Rule:
    """Numbers of an interval, flags and options."""
    return lambda name, given: fault(name, given, hint, allowed)


def natural(name: str, given: Any) -> str:
    """An integer of at least 1."""
    if type(given) is int and given < 1:
        return f"{name} must be at least 1, found {shown(given)}"
    return fault(name, given, int, "[1, inf)")


def kind(words: str, *types: type | UnionType | None) -> Rule:
    """Objects of these types."""
    known = tuple(type(None) if each is None else each for each in types)
    return lambda name, given: "" if isinstance(given, known) else wrong(name, words, given)


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
    if isinstance(given, Mapping) and given and all(examples("", each) == "" for each in given.values()):
        splits = ", ".join(f"{name}=ds[{split!r}]" for split in list(given)[:3])
        return f"{name} must be one data set; found {type(given).__name__} of {len(given)}: pass one, such as {splits}."
    if (isinstance(given, tuple) and given) or hasattr(given, "iloc"):  # a frame of pandas
        advice = f" For example: {name}=torch.utils.data.TensorDataset(inputs, labels)."
    else:
        advice = " A list of examples will do, too." if isinstance(given, Iterator | Set) else ""
    return wrong(name, "a torch Dataset or DataLoader", given) + advice


def maybe(rule: Rule) -> Rule:
    """The same, or None."""
    return lambda name, given: "" if given is None else rule(name, given)


prepared = maybe(having("an accelerate.Accelerator or None", "prepare", "backward"))
"""An `accelerate.Accelerator`, or None."""


def callable_with(given: Any, takes: int) -> bool:
    """Whether it can be called with so many arguments by position; what says nothing of itself is believed."""
    try:
        inspect.signature(given).bind(*[None] * takes)
    except ValueError:
        return callable(given)
    except TypeError:
        return False
    return True


def two_losses(name: str, given: Any) -> str:
    """What is wrong with a forget and a retain loss; nothing where nothing is."""
    two = isinstance(given, tuple | list) and len(given) == 2
    if two and all(each is None or callable_with(each, 2) for each in given):
        return ""
    return wrong(name, "two functions (model, batch) -> [b], of which one may be None", given)


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
