"""Orphans are reaped, children that somebody may wait for are not. No process is made: the system is played."""

from __future__ import annotations

import os

import pytest

from mrengine import posix
from mrengine.backends.process import orphans
from mrengine.backends.process.orphans import KEEP_S, LATE_S, LOOK_S, MANY_DEAD, Orphans


class System:
    """The children there are, those that have ended, and those that were reaped."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.children, self.dead, self.reaped = 1000.0, [1], set[int](), list[int]()
        monkeypatch.setattr(orphans.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(posix, "has_children", lambda: bool(self.children))
        monkeypatch.setattr(posix, "children", lambda: list(self.children))
        monkeypatch.setattr(posix, "is_zombie", lambda pid: pid in self.dead)
        monkeypatch.setattr(os, "waitpid", self.waitpid)

    def waitpid(self, pid: int, _flags: int) -> tuple[int, int]:
        if pid not in self.children:
            raise ChildProcessError
        self.children.remove(pid)
        self.reaped.append(pid)
        return pid, 0


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> System:
    return System(monkeypatch)


def test_children_that_are_known_are_left_to_whoever_started_them(system: System) -> None:
    """However long they have been dead."""
    found = Orphans()
    found.spare_present()
    system.dead = {1}
    found.reap()
    system.now += 100
    found.reap()
    assert system.reaped == []


def test_an_orphan_is_reaped_when_map_fn_has_had_its_time(system: System) -> None:
    """It may be a child of a thread of map_fn's, which waits for it."""
    found = Orphans()
    found.spare_present()
    system.children.append(2)
    found.reap()
    system.dead = {2}
    found.reap()
    assert system.reaped == []
    system.now += KEEP_S
    found.reap()
    assert system.reaped == [2]


def test_many_dead_ones_are_reaped_at_once(system: System) -> None:
    """They count against the limit of processes."""
    found = Orphans()
    found.spare_present()
    system.dead = set(range(2, 3 + MANY_DEAD))
    system.children += system.dead
    found.reap()
    assert set(system.reaped) == system.dead


def test_one_that_map_fn_was_faster_to_reap_is_no_error(system: System, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is gone between the look and the wait."""
    found = Orphans()
    found.spare_present()
    system.children.append(2)
    system.dead = {2}
    found.reap()
    system.now += KEEP_S
    monkeypatch.setattr(posix, "children", lambda: [1, 2])
    system.children.remove(2)
    found.reap()
    assert system.reaped == []


def test_after_a_while_without_any_nobody_hurries(system: System) -> None:
    """``any`` says how often to look."""
    found = Orphans()
    found.spare_present()
    assert found.any
    system.now += LATE_S
    assert not found.any
    system.children.append(2)
    found.reap()
    assert found.any


def test_a_slot_reaps_after_each_task_while_there_are_orphans(system: System) -> None:
    """It does not wait for the thread that polls, which is late where the machine is busy."""
    found = Orphans()
    found.spare_present()
    system.now += 2 * LOOK_S
    system.dead = set(range(2, 3 + MANY_DEAD))
    system.children += system.dead
    found.reap_between_tasks()
    assert set(system.reaped) == system.dead
    more = set(range(12, 13 + MANY_DEAD))
    system.dead |= more
    system.children += more
    found.reap_between_tasks()
    assert set(system.reaped) == system.dead


def test_a_slot_does_not_look_after_each_task_where_no_orphans_are(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look costs as much as a short task."""
    looks: list[float] = []
    found = Orphans()
    found.spare_present()

    def children() -> list[int]:
        looks.append(system.now)
        return [1]

    monkeypatch.setattr(posix, "children", children)
    for _ in range(1000):
        system.now += LOOK_S / 100
        found.reap_between_tasks()
    assert 5 <= len(looks) <= 11
    system.now += LATE_S
    looks.clear()
    found.reap_between_tasks()
    assert not looks


def test_where_there_is_no_child_at_all_no_list_of_them_is_read(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list is a file that is opened and read, one system call says that there is nothing in it."""
    found = Orphans()
    system.children.clear()
    monkeypatch.setattr(posix, "children", lambda: pytest.fail("the list was read"))
    found.reap()
    system.now += 2 * LOOK_S
    found.reap_between_tasks()
