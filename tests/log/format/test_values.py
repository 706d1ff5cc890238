"""What a map function may return, and how the place is named where it may not."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import math
import pathlib
import pickle
import uuid
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrengine.log.format.packing import pack, unpack
from mrengine.log.format.values import Unstorable, normalise
from mrengine.records import Completion

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=()))
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=())), inner),
    max_leaves=20,
)


@settings(deadline=None)
@given(plain)
def test_a_plain_value_stays_as_it_is_through_the_log(value: Any) -> None:
    """Lone surrogates included."""
    assert normalise(value) == value
    assert unpack(pack(normalise(value))) == value


class Colour(enum.Enum):
    RED = "r"
    TWO = 2


class Number(enum.IntEnum):
    ONE = 1


@dataclass
class Inner:
    when: datetime.date


@dataclass(frozen=True)
class Outer:
    inner: Inner
    parts: tuple[int, ...]


class Pair(NamedTuple):
    a: int
    b: str


class Model(pydantic.BaseModel):
    name: str
    at: datetime.datetime
    amount: decimal.Decimal


WHEN = datetime.datetime(2026, 3, 1, 12, 30, tzinfo=datetime.timezone.utc)
ID = uuid.UUID(int=5)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, (2, 3)), [1, [2, 3]]),
        (Pair(1, "x"), [1, "x"]),
        (bytearray(b"x"), b"x"),
        (collections.OrderedDict(a=1), {"a": 1}),
        (Outer(Inner(datetime.date(2026, 3, 1)), (1, 2)), {"inner": {"when": "2026-03-01"}, "parts": [1, 2]}),
        (WHEN, "2026-03-01T12:30:00+00:00"),
        (datetime.time(1, 2), "01:02:00"),
        (decimal.Decimal("1.10"), "1.10"),
        (ID, str(ID)),
        (Colour.RED, "r"),
        (Colour.TWO, "TWO"),
        (Number.ONE, "ONE"),
        ({Colour.RED.value: Colour.TWO}, {"r": "TWO"}),
        (pathlib.PurePosixPath("/a/b"), "/a/b"),
        (Completion("text"), "text"),
        (Completion("{}", parsed={"a": (1,)}), {"a": [1]}),
        (
            Model(name="n", at=WHEN, amount=decimal.Decimal("2.50")),
            {"name": "n", "at": "2026-03-01T12:30:00+00:00", "amount": "2.50"},
        ),
        (
            Completion("{}", parsed=Model(name="n", at=WHEN, amount=decimal.Decimal(1))),
            {"name": "n", "at": WHEN.isoformat(), "amount": "1"},
        ),
        (numpy.float32(0.5), 0.5),
        (numpy.int64(7), 7),
        (numpy.bool_(True), True),
    ],
    ids=repr,
)
def test_what_becomes_of_other_values(value: Any, expected: Any) -> None:
    """The same before and after the log, with plain types only."""
    found = normalise(value)
    assert found == expected
    assert type(found) is type(expected)
    assert unpack(pack(found)) == expected


def test_nan_and_infinities_stay() -> None:
    """JSON has none; the log has."""
    found = unpack(pack(normalise([math.nan, math.inf, -math.inf])))
    assert math.isnan(found[0])
    assert found[1:] == [math.inf, -math.inf]


class Foo:
    pass


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Foo(), "result: Foo"),
        ({"x": [0, 1, 2, Foo()]}, 'result["x"][3]: Foo'),
        (Outer(Inner(Foo()), ()), 'result["inner"]["when"]: Foo'),  # type: ignore[arg-type]
        ({"a": {1: 2}}, 'result["a"]: a dict key of type int; keys must be str'),
        ([2**64], "result[0]: int of 65 bits; at most 64 are stored, make it a str"),
        ({1, 2}, "result: set"),
        ([Foo], "result[0]: type"),
        (numpy.zeros(3), "result: ndarray"),
        (lambda: 1, "result: function"),
        ({"k" * 60: 1j}, f'result["{"k" * 40}…"]: complex'),
    ],
)
def test_what_cannot_be_stored_is_named_with_its_place(value: Any, message: str) -> None:
    """Path and type, and no value."""
    with pytest.raises(Unstorable) as caught:
        normalise(value)
    assert str(caught.value) == message
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.path, again.what) == (caught.value.path, caught.value.what)


def test_a_value_that_holds_itself_is_refused() -> None:
    """With a short message, not a RecursionError."""
    value: list[Any] = []
    value.append(value)
    with pytest.raises(Unstorable, match="contains itself"):
        normalise(value)


def test_the_deepest_value_that_is_allowed_can_be_stored() -> None:
    """msgpack's own limits lie beyond ours."""
    value: Any = 1
    for _ in range(200):
        value = [value]
    assert unpack(pack(normalise(value))) == value
    with pytest.raises(Unstorable):
        normalise([value])
