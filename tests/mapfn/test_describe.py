"""A map function as the log knows it."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import pytest

from mrengine import map_prompt
from mrengine.errors import ConfigError
from mrengine.mapfn.describe import MapFunction, describe_map


def plain(chunk: Any, _context: Any) -> int:
    return len(chunk.text)


def described(map_fn: Any, *, version: str | None = None, named: bool = True) -> MapFunction:
    return describe_map(map_fn, version=version, named=named, blob=b"")


def test_a_function_of_a_module_is_found_again_by_its_name() -> None:
    """And by the folder of sys.path that its module was found in."""
    found = described(plain)
    assert found.source == f"{__name__}:plain"
    assert Path(found.folder, *__name__.split(".")).with_suffix(".py") == Path(__file__)
    assert found.python == f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert "its code" in found.parts


@pytest.mark.parametrize("map_fn", [functools.partial(plain), lambda chunk, context: 1])
def test_what_has_no_name_to_import_has_no_source(map_fn: Any) -> None:
    """It has a digest all the same."""
    found = described(map_fn)
    assert (found.source, found.folder) == (None, "")
    assert found.version


def test_a_prompt_is_what_it_says() -> None:
    """In each version of Python."""
    found = described(map_prompt("Say: $text", max_tokens=7))
    assert isinstance(found.source, dict)
    assert (found.source["template"], found.source["max_tokens"], found.python) == ("Say: $text", 7, "")
    assert described(map_prompt("Say $text")).version != found.version


def test_a_version_that_is_given_counts_instead_of_the_code() -> None:
    assert (described(plain, version="7").version, described(plain, version="7").python) == ("7", "")


def test_a_job_without_a_name_needs_no_digest() -> None:
    """It is never resumed."""
    opened = open(__file__)  # noqa: SIM115
    try:
        using = lambda chunk, context: opened  # noqa: E731
        assert described(using, named=False).version == ""
        with pytest.raises(ConfigError, match="opened"):
            described(using)
    finally:
        opened.close()
