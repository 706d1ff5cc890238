"""How values are hashed: by what they are, and never by where they are."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import pathlib
import re
import threading
from typing import Any

import pytest

from mrengine.mapfn.hash_values import Fingerprint, Undigestible


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


def of(value: Any) -> str:
    return Fingerprint().of(value, "value")


SHARED = [1]
DIFFERENT: list[tuple[Any, Any]] = [
    (1, 1.0),
    (1, True),
    (0.0, -0.0),
    ("a", b"a"),
    ([1, 2], (1, 2)),
    ([[1], 2], [[1, 2]]),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    (Colour.RED, Colour.BLUE),
    (decimal.Decimal("1.0"), decimal.Decimal("1.00")),
    (re.compile("a"), re.compile("a", re.IGNORECASE)),
    (pathlib.PurePosixPath("a"), "a"),
    (datetime.date(2024, 1, 1), datetime.date(2024, 1, 2)),
    (collections.deque([1]), collections.deque([2])),
    ([SHARED, SHARED], [[1], [1]]),
    (2**70, 2**70 + 1),
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_values_have_different_digests(one: Any, other: Any) -> None:
    """And each one has always the same."""
    assert of(one) != of(other)
    assert of(one) == of(one)


def test_the_order_of_a_set_does_not_count() -> None:
    """It differs by the process."""
    one, other = {0, 8}, {8, 0}  # which meet in a table of eight places
    assert list(one) != list(other)
    assert of(one) == of(other)


def test_a_value_that_holds_itself_ends() -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    other: list[Any] = [2]
    other.append(other)
    assert of(loop) != of(other)


@pytest.mark.parametrize("depth", [50_000])
def test_a_value_that_is_nested_too_deeply_is_named(depth: int) -> None:
    deep: list[Any] = []
    for _ in range(depth):
        deep = [deep]
    with pytest.raises(Undigestible, match=r"value.*nested too deeply"):
        of({"a": deep})


def test_locks_count_by_their_kind_and_files_not_at_all() -> None:
    """What a lock holds is of one process; an open file has no digest, and its place is named."""
    assert of(threading.Lock()) == of(threading.Lock())
    with open(__file__) as file, pytest.raises(Undigestible) as caught:
        of({"file": file})
    assert caught.value.path.startswith("value")
