"""Values of one content have one digest, and others have others, whatever their kind; what cannot be read is alone."""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
import functools
import threading
import uuid
from collections import OrderedDict, deque, namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from unweave.data.content import content

LONG, OTHER = torch.zeros(3000), torch.zeros(3000)
OTHER[1500] = 1


class Graph:
    """Prints its shapes alone, as graph libraries do; and knows its parent."""

    def __init__(self, x: Any, y: int = 0) -> None:
        self.x, self.y, self.own = x, y, {"parent": self}

    def __repr__(self) -> str:
        return f"Graph(x={list(self.x.shape)})"


class Slots:
    __slots__ = ("x",)

    def __init__(self, x: Any) -> None:
        self.x = x


class Stated:
    """Hands out what is to be copied."""

    def __init__(self, x: Any) -> None:
        self.x, self.lock = x, threading.Lock()

    def __getstate__(self) -> Any:
        return {"x": self.x}

    def __repr__(self) -> str:
        return "Stated()"


@dataclass
class Record:
    x: Any
    tags: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Fixed:
    x: Any


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Known(list[Any]):
    def __repr__(self) -> str:
        return "Known"


Pair = namedtuple("Pair", "x y")
Make = Callable[[Any], Any]
HOLDERS: dict[str, Make] = {
    "tensor": lambda x: x,
    "array": lambda x: x.numpy(),
    "float64": lambda x: x.double(),
    "half precision": lambda x: x.half(),
    "bfloat16": lambda x: x.bfloat16(),
    "complex": lambda x: torch.complex(x, x),
    "conjugate": lambda x: torch.complex(x, x).conj(),
    "sparse": lambda x: (x + torch.arange(3000) % 2).to_sparse(),
    "sparse rows": lambda x: x.view(3, 1000).to_sparse_csr(),
    "strided": lambda x: x.view(30, 100).T,
    "a module": lambda x: linear(x),
    "graph": Graph,
    "slots": Slots,
    "state": Stated,
    "dataclass": Record,
    "frozen with slots": Fixed,
    "namespace": lambda x: SimpleNamespace(x=x),
    "named tuple": lambda x: Pair(x, 0),
    "list of its own kind": lambda x: Known([x]),
    "deque": lambda x: deque([1, x]),
    "mapping": lambda x: OrderedDict(a=1, x=x),
    "nested": lambda x: [{"x": (0, [Record([Graph(x)])])}],
    "array of objects": lambda x: np.array([Record(x), None], dtype=object),
    "array with names": lambda x: np.array([(1, x[1500].item())], dtype=[("a", "i4"), ("b", "f8")]),
    "bytes": lambda x: x.numpy().tobytes(),
    "long text": lambda x: "".join("ab"[int(v)] for v in x),
    "partial": lambda x: functools.partial(torch.add, x),
    "set": lambda x: {1, int(x[1500])},
    "pandas": lambda x: pytest.importorskip("pandas").Series(x.numpy()),
    "table of pandas": lambda x: pytest.importorskip("pandas").DataFrame({"a": x.numpy(), "b": "t"}),
    "picture": lambda x: pytest.importorskip("PIL.Image").fromarray(x.view(30, 100).byte().numpy()),
}


def linear(x: Any) -> nn.Module:
    made = nn.Linear(3000, 1, bias=False)
    made.weight.data = x.clone()[None]
    return made


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta:UserWarning")
@pytest.mark.parametrize("kind", HOLDERS)
def test_one_number_in_the_middle_makes_another(kind: str) -> None:
    """And the same twice is the same, in other memory."""
    make = HOLDERS[kind]
    one, again, other = (content(make(x)) for x in (LONG, LONG.clone(), OTHER))
    assert one == again and one[0] != other[0] and one[1]


OTHERS: list[tuple[Any, Any]] = [
    (1, "1"), (1, 1.0), (None, "None"), ("a", b"a"), (0, False + 1), ([1, [2]], [[1], 2]), (("ab", "c"), ("a", "bc")),
    ({"a": 1}, [("a", 1)]), ({1}, [1]), ([], {}), ([None], [[]]), (torch.zeros(2, 3), torch.zeros(3, 2)),
    (torch.zeros(6), torch.zeros(6, dtype=torch.int64)), (0.0, -0.0), (np.array(["ab"]), np.array(["ac"])),
    (datetime.date(2020, 1, 2), datetime.date(2020, 1, 3)), (decimal.Decimal("1.0"), decimal.Decimal("1.1")),
    (fractions.Fraction(1, 3), fractions.Fraction(1, 4)), (Path("a"), Path("b")), (Colour.RED, Colour.BLUE),
    (uuid.UUID(int=1), uuid.UUID(int=2)), (range(5), range(6)), (slice(1), slice(2)), (torch.float32, torch.float64),
    (np.datetime64("2020-01-01"), np.datetime64("2020-01-02")), (int, float), (torch.add, torch.mul), (len, max),
    (Record(1), Fixed(1)), (10**5000, 10**5000 + 1), ("\ud800", "\ud801"), (1j, 2j), (Graph(LONG), Graph(LONG, 1)),
    (np.ma.array([1, 2], mask=[0, 1]), np.ma.array([2, 2], mask=[0, 1])), (torch.device("cpu"), torch.device("meta")),
]  # fmt: skip
SAME: list[tuple[Any, Any]] = [
    (3, torch.tensor(3)), (3, np.int16(3)), (True, np.bool_(True)), (1, torch.tensor(True)), (0.5, np.float32(0.5)),
    (torch.tensor([1, 2, 3]), np.array([1, 2, 3], dtype=np.int16)), ((1, 2), [1, 2]),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}), (np.arange(3.0), np.arange(3.0).astype(">f8")), ({2, 1}, {1, 2}),
    (torch.arange(6.0).view(2, 3).T, torch.arange(6.0).view(2, 3).T.contiguous()),
    (torch.tensor(2, dtype=torch.uint8), 2), (uuid.UUID(int=1), uuid.UUID(int=1)), (bytearray(b"x"), b"x"),
    (np.zeros((0, 3)), torch.zeros(0, 3, dtype=torch.float64)), (Graph(LONG), Graph(LONG.clone())),
]  # fmt: skip


def test_others_and_the_same() -> None:
    for one, other in OTHERS:
        assert content(one)[0] != content(other)[0], (one, other)
        assert content(one) == content(one)
    for one, other in SAME:
        assert content(one)[0] == content(other)[0], (one, other)


def deep(levels: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(levels):
        found = [found]
    return found


class Broken:
    """Can be read in no way."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise SystemError("no")


@pytest.mark.parametrize(
    "value",
    [object(), lambda: 0, threading.Lock(), (i for i in range(3)), deep(3000), Broken(), torch.zeros(3, device="meta")],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_read_is_like_nothing_else(value: Any) -> None:
    """Itself included; nor is an example that holds it."""
    assert content(value)[0] != content(value)[0]
    assert content((1, {"x": value}))[0] != content((1, {"x": value}))[0]


def test_what_is_there_twice_is_read_once() -> None:
    """2^60 leaves, if it were not."""
    found: Any = torch.ones(3)
    for _ in range(60):
        found = [found, found]
    assert content(found) == content(found)


def test_numbers_that_are_none_are_found_wherever_they_are() -> None:
    for bad in (float("nan"), np.inf, torch.tensor([1.0, torch.inf]), np.array([1, np.nan]), complex(0, np.inf)):
        for held in (bad, {"x": [bad]}, Record(bad), Graph(torch.as_tensor(bad)), np.array([bad, None], dtype=object)):
            assert not content((0, held))[1], held
    assert content((LONG, 1, "inf", [float(10**300)]))[1]


def test_a_palette_is_part_of_a_picture() -> None:
    pillow = pytest.importorskip("PIL.Image")
    made = [pillow.new("P", (2, 2), 0) for _ in range(2)]
    for image, colour in zip(made, (10, 200), strict=True):
        image.putpalette([colour] * 3)
    assert content(made[0])[0] != content(made[1])[0]
    assert content(made[0]) == content(made[0].copy())
