"""What a run is given: its functions are checked before any work, its results have a type."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import cloudpickle
import pytest

from mrengine import tree_reduce
from mrengine.errors import ConfigError
from mrengine.host.arguments import RunArguments, check_map, check_reduce, described


@dataclass
class Visit:
    """A result."""

    day: str


def visits(_chunk: Any, _context: Any) -> Any:
    return None


def ask(map_fn: Any = visits, **given: Any) -> RunArguments:
    fields: dict[str, Any] = dict.fromkeys(RunArguments._fields[:7]) | {"document": "text", "map_fn": map_fn} | given
    return RunArguments(**fields)


def test_without_a_type_results_are_plain() -> None:
    """And nothing is pickled for them."""
    found = described(ask(), version="1", named=True)
    assert (found.version, found.result_type, found.result_blob) == ("1", None, b"")


def test_the_type_of_the_run_wins_over_the_functions_own() -> None:
    """``map_prompt(response_model=…)`` has one of its own."""

    def typed(_chunk: Any, _context: Any) -> Any:
        return None

    typed.result_type = list[int]  # type: ignore[attr-defined]
    assert described(ask(typed), version="1", named=True).result_type == list[int]
    found = described(ask(typed, result_type=Visit), version="1", named=True)
    assert found.result_type is Visit
    assert cloudpickle.loads(found.result_blob) is Visit


def test_what_no_worker_could_have_is_refused_by_the_setting() -> None:
    """Before anything is started."""
    lock = __import__("threading").Lock()
    with pytest.raises(ConfigError) as refused:
        described(ask(lambda chunk, context: lock), version="1", named=True)
    assert refused.value.setting == "map_fn"


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
