"""What is announced is on disk, and nothing is announced after a log that failed."""

from __future__ import annotations

from functools import partial
from typing import Any

from mrengine.engine.group_commit import GroupCommit
from mrengine.errors import LogError
from mrengine.log.format import codec


class Story:
    """A log and who hears of it, in order."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.size = 0
        self.full_at: int | None = None
        self.commits = GroupCommit(self, lambda offset: self.told.append(("durable", offset)), self._answered)

    def _answered(self, payload: bytes, offset: int) -> None:
        self.told.append(("answered", payload, offset))

    def append(self, kind: int, payload: bytes) -> int:
        if self.full_at is not None and self.size >= self.full_at:
            raise LogError("no space left", reason="full")
        self.size += 1
        return self.size

    def write(self) -> None:
        self.told.append("write")

    def commit(self) -> int:
        if self.full_at is not None and self.size >= self.full_at:
            raise LogError("no space left", reason="full")
        self.told.append("sync")
        return self.size


def test_a_step_is_synced_once_and_then_announced() -> None:
    """Answers can be found before anybody hears that they are durable."""
    story = Story()
    story.commits.append(codec.RESULT, b"r")
    story.commits.call(b"a")
    story.commits.call(b"b")
    story.commits.intent(b"i")
    story.commits.commit()
    assert story.told == ["sync", ("answered", b"a", 2), ("answered", b"b", 3), ("durable", 4)]
    story.commits.commit()
    assert len(story.told) == 4


def test_an_intent_alone_is_written_and_not_synced() -> None:
    """It has to survive this process, not the machine."""
    story = Story()
    story.commits.intent(b"i")
    story.commits.commit()
    assert story.told == ["write"]


def test_a_log_that_failed_announces_nothing_more() -> None:
    """Neither what was appended before, nor what comes later; and the first cause stays."""
    story = Story()
    story.full_at = 1
    story.commits.append(codec.RESULT, b"r")
    story.commits.call(b"a")
    story.commits.commit()
    story.full_at = None
    story.commits.append(codec.RESULT, b"s")
    story.commits.commit()
    assert story.told == []
    assert story.commits.failed is not None
    assert story.commits.failed.reason == "full"


def test_a_commit_of_nothing_but_results_is_known() -> None:
    """It may be followed by a rest: calls and failures are not kept waiting."""
    commits = Story().commits
    commits.append(codec.RESULT, b"four")
    commits.append(codec.RESULT, b"five!")
    commits.commit()
    assert commits.result_bytes == 9
    for other in (commits.call, commits.intent, partial(commits.append, codec.FAILURE)):
        commits.append(codec.RESULT, b"four")
        other(b"other")
        commits.commit()
        assert commits.result_bytes is None
    commits.commit()
    assert commits.result_bytes is None
