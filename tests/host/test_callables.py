"""Functions that cannot work are refused before the work, with the way out."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from mrengine import tree_reduce
from mrengine.errors import ConfigError
from mrengine.host.callables import check_map, check_reduce


def plain(_chunk: Any, _context: Any) -> int:
    return 1


async def waits(_chunk: Any, _context: Any) -> int:
    return 1


def yields(_chunk: Any, _context: Any) -> Any:
    yield 1


def of_one(_chunk: Any) -> int:
    return 1


@pytest.mark.parametrize(
    ("map_fn", "told"),
    [
        (waits, "asyncio.run"),
        (yields, "return a list"),
        (of_one, "is called with"),
        ("Say: $text", "map_prompt"),
        (None, "NoneType"),
    ],
)
def test_what_would_return_no_result_is_refused(map_fn: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        check_map(map_fn)


@pytest.mark.parametrize(
    ("reduce_fn", "told"), [(waits, "async"), (plain, "is called with"), ("Join: $text", "tree_reduce"), (3, "int")]
)
def test_what_could_not_reduce_is_refused(reduce_fn: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        check_reduce(reduce_fn)


def test_whatever_can_be_called_so_is_taken() -> None:
    """Functions of C, whose arguments cannot be looked at, too."""
    for map_fn in (plain, functools.partial(plain), lambda *both: 1, max):
        check_map(map_fn)
    for reduce_fn in (None, len, sorted, tree_reduce("Join: $text")):
        check_reduce(reduce_fn)
