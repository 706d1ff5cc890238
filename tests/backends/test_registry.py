"""Backends by name, those of other packages too."""

from __future__ import annotations

import importlib.metadata
from importlib.metadata import EntryPoint

import pytest

from mrengine.backends import registry
from mrengine.backends.process.pool import ProcessPool
from mrengine.backends.registry import GROUP, backend_names, find_backend, open_driver
from mrengine.backends.sequential import SequentialBackend
from mrengine.errors import ConfigError
from mrengine.job.local_driver import LocalDriver
from tests.backends.threads import ThreadBackend


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Entry points that another package would bring: name to target."""
    points: dict[str, str] = {}

    def entry_points(*, group: str) -> list[EntryPoint]:
        return [EntryPoint(name, value, group) for name, value in points.items() if group == GROUP]

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    return points


def test_our_own_are_known_without_being_imported() -> None:
    """Ray need not be installed."""
    assert {"process", "sequential", "ray"} <= set(backend_names())
    assert find_backend("process") is ProcessPool
    assert find_backend("sequential") is SequentialBackend


def test_another_packages_is_found_by_its_entry_point(registered: dict[str, str]) -> None:
    """And runs under the engine in the host's thread, unless it brings a driver."""
    registered["threads"] = "tests.backends.threads:ThreadBackend"
    assert "threads" in backend_names()
    make = find_backend("threads")
    assert make is ThreadBackend
    driver = open_driver(make, drain_s=1.0)
    assert isinstance(driver, LocalDriver)
    driver.close()


def test_none_of_ours_can_be_replaced(registered: dict[str, str]) -> None:
    """A package that takes the name "process" is not asked."""
    registered["process"] = "tests.backends.threads:ThreadBackend"
    assert find_backend("process") is ProcessPool
    assert backend_names().count("process") == 1


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (None, "'process', 'sequential', 'ray'"),
        ("mre_is_not_there:Backend", "cannot be loaded from mre_is_not_there:Backend"),
        ("tests.backends.threads:Missing", "cannot be loaded from tests.backends.threads:Missing"),
        ("tests.backends.threads:__doc__", "is no class or function"),
    ],
)
def test_what_cannot_be_found_says_where_it_was_looked_for(
    registered: dict[str, str], target: str | None, words: str
) -> None:
    """By the setting's name."""
    if target is not None:
        registered["theirs"] = target
    with pytest.raises(ConfigError, match=words) as refused:
        find_backend("theirs")
    assert refused.value.setting == "backend"


class Clustered:
    """A backend that can run on a cluster that is there."""

    @staticmethod
    def at(address: str) -> tuple[str, str]:
        """What was asked for."""
        return "at", address


def test_an_address_is_for_those_that_take_one(registered: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The sequential backend is what a clustered job falls back to for a look: it ignores one."""
    assert find_backend("sequential", "ray://there") is SequentialBackend
    with pytest.raises(ConfigError, match="takes no address") as refused:
        find_backend("process", "ray://there")
    assert refused.value.setting == "address"
    monkeypatch.setitem(registry._OWN, "clustered", f"{__name__}:Clustered")
    assert find_backend("clustered", "there") == ("at", "there")
