"""The map function of a run, with the type of its results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cloudpickle
import pytest

from mrengine.errors import ConfigError
from mrengine.host.asked import Asked, described


@dataclass
class Visit:
    """A result."""

    day: str


def visits(_chunk: Any, _context: Any) -> Any:
    return None


def ask(map_fn: Any = visits, **given: Any) -> Asked:
    fields: dict[str, Any] = dict.fromkeys(Asked._fields[:7]) | {"document": "text", "map_fn": map_fn} | given
    return Asked(**fields)


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
