"""The supervisor's one place to wait."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from mrengine.backends.process.selector import Selector
from mrengine.engine.protocol import Message


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_what_watchers_return_is_collected_while_their_descriptor_is_ready(pipe: tuple[int, int]) -> None:
    """Nothing is called for one that is not."""
    message: Message = (0, 1, 2, 3, b"")
    selector = Selector()
    selector.watch(pipe[0], lambda: [message])
    assert selector.poll(0) == []
    os.write(pipe[1], b"x")
    assert selector.poll(1) == [message]


def test_watching_or_forgetting_twice_changes_nothing(pipe: tuple[int, int]) -> None:
    """The first watcher stays; a descriptor that nobody watches may be forgotten."""
    called: list[str] = []
    selector = Selector()
    selector.watch(pipe[1], lambda: called.append("first") or [], write=True)  # type: ignore[func-returns-value]
    selector.watch(pipe[1], lambda: called.append("second") or [], write=True)  # type: ignore[func-returns-value]
    selector.poll(1)
    for _ in range(2):
        selector.forget(pipe[1])
    selector.poll(0)
    assert called == ["first"]
