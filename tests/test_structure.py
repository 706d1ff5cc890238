"""The shape of the tree: tests mirror the rooms that keep promises, and no name means two things in one room."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "mrengine"
MIRRORED = ("host", "job", "worker", "engine", "backends")
# Modules that are parts of one conversation, which is tested as a whole.
TOGETHER = {
    "host/*batch*": "batches/test_jobs.py",  # a file of each step would play the provider again
    "backends/ray/*": "backends/test_ray.py",  # a cluster is started once for all of them
}
# Basenames that stand in several rooms for what is the same thing there.
SAME_THING = {
    "client": "the client of a service, in the room that speaks to it",
    "context": "what a map function is given; the copy of it that tests call",
    "driver": "the contract, and the process backend's",
}


def modules(room: str) -> list[str]:
    """Paths in the package without their ending."""
    found = (PACKAGE / room).rglob("*.py")
    return sorted(path.relative_to(PACKAGE).with_suffix("").as_posix() for path in found if path.stem != "__init__")


def test_file(module: str) -> Path:
    """Where a module's tests are."""
    for pattern, place in TOGETHER.items():
        if Path(module).match(pattern):
            return ROOT / "tests" / place
    path = Path(module)
    return ROOT / "tests" / path.parent / f"test_{path.name}.py"


test_file.__test__ = False  # type: ignore[attr-defined]


@pytest.mark.parametrize("room", MIRRORED)
def test_every_module_has_its_test_file(room: str) -> None:
    """A reader who wants to know what holds of a module opens the file of its name."""
    assert [module for module in modules(room) if not test_file(module).exists()] == []


def test_a_module_without_tests_would_be_found() -> None:
    """The search is not blind."""
    assert not test_file("engine/nothing_of_this_name").exists()
    assert test_file("engine/loop") == ROOT / "tests" / "engine" / "test_loop.py"
    assert test_file("backends/ray/wire") == test_file("backends/ray/actor")


def test_two_modules_of_one_name_say_why() -> None:
    """A stack trace names files, not rooms."""
    rooms: dict[str, list[str]] = defaultdict(list)
    for path in PACKAGE.rglob("*.py"):
        if not path.stem.startswith("__"):
            rooms[path.stem].append(path.relative_to(PACKAGE).as_posix())
    twice = {name for name, paths in rooms.items() if len(paths) > 1}
    assert {name: rooms[name] for name in twice - SAME_THING.keys()} == {}


def test_no_reason_outlives_its_module() -> None:
    """Exceptions that excuse nothing go."""
    stems = [path.stem for path in PACKAGE.rglob("*.py")]
    assert [name for name in SAME_THING if name not in stems] == []
    assert [place for place in TOGETHER.values() if not (ROOT / "tests" / place).exists()] == []
