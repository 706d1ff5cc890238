"""The calls of one task: its deadline, their totals so far, and the question that is being asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mrengine.log.format.task_records import CallRecord
from mrengine.records import Chunk, Completion, Request, Usage, cost_sum
from mrengine.worker.stored_answers import call_digest

if TYPE_CHECKING:
    from mrengine.engine.protocol import Start
    from mrengine.worker.chunk_reader import TrackedChunk
    from mrengine.worker.ports import StoredAnswers

__all__ = ["Deadline", "OnWait", "Question", "TaskCalls"]


OnWait = Callable[[str, float], None]  # model, expected wait in ms


class Deadline:
    """The instant ``at`` by which a task must end, on ``clock``. Each wait for the budget moves it by as long.

    ``notify(waiting)`` is called at the beginning and at the end of a wait, for the monitor that looks for hangs.
    """

    # A task that waits does not hang: with a slow budget the last of many tasks may wait for longer than one may run
    # (docs/decisions/calls-and-deadlines.md).
    __slots__ = ("_clock", "_notify", "at")

    def __init__(
        self,
        timeout_s: float,
        notify: Callable[[bool], None],
        *,
        began: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``began``: when the task began; None: now."""
        self._clock, self._notify = clock, notify
        self.at = (clock() if began is None else began) + timeout_s

    @contextmanager
    def paused(self, on_wait: OnWait) -> Iterator[OnWait]:
        """Stop the clock while the task waits for the budget. Yields a callback that takes the place of ``on_wait``."""
        began, waits = self._clock(), []

        def waiting(model: str, wait_ms: float) -> None:
            waits.append(wait_ms)
            self._notify(True)
            on_wait(model, wait_ms)

        try:
            yield waiting
        finally:
            if waits:  # a grant that came at once moves nothing
                self.at += self._clock() - began  # the time that passed: what was reported is a forecast
                self._notify(False)


class TaskCalls:
    """The state of one task: its chunk, the usage and cost of its calls, and the texts that no message may repeat.

    Safe from any thread: a map function may make calls from threads of its own.
    """

    __slots__ = (
        "_asked", "_deadline", "_lock", "answers", "chunk", "cost_usd", "made", "parked", "reused", "texts", "usage",
    )  # fmt: skip

    def __init__(self) -> None:
        self.chunk: TrackedChunk | None = None
        self.made = 0
        self.reused = 0
        self.parked = False
        self.usage: Usage | None = None
        self.cost_usd: float | None = 0.0
        self.texts: list[str] = []
        self.answers: dict[str, None] = {}  # in order, each once: a stored one may be looked at twice
        self._asked: dict[bytes, int] = {}
        self._deadline: Deadline | None = None
        self._lock = threading.Lock()

    def deadline(self, make: Callable[[], Deadline]) -> Deadline:
        """The task's deadline, made on first use."""
        # Not before: a task without calls needs none, and the shortest tasks would notice the cost.
        with self._lock:
            if self._deadline is None:
                self._deadline = make()
            return self._deadline

    def park(self) -> None:
        """Mark the task as waiting for a batch: it has no outcome yet."""
        self.parked = True

    def nth(self, digest: bytes) -> int:
        """Count a call, and return how many identical ones this attempt has made before."""
        # Part of the digest: who asks three times wants three answers, and the same three after a crash.
        with self._lock:
            before = self._asked.get(digest, 0)
            self._asked[digest] = before + 1
        return before

    def own(self, usage: Usage, cost_usd: float | None) -> None:
        """Count a call that map_fn has made with its own client."""
        with self._lock:
            self.made += 1
            self._count(usage, cost_usd)

    def add(self, completion: Completion, cost_usd: float | None) -> None:
        """Count an answer."""
        with self._lock:
            self.made += not completion.reused
            self.reused += completion.reused
            self._count(completion.usage, cost_usd)
            self.texts.append(completion.text)

    def note_answer(self, text: str) -> None:
        """Keep an answer as the model gave it, even if it is refused later: no message may repeat its text."""
        with self._lock:
            if text and text not in self.answers:
                self.answers[text] = None
                self.texts.append(text)

    def _count(self, usage: Usage, cost_usd: float | None) -> None:
        self.usage = usage if self.usage is None else self.usage + usage
        self.cost_usd = cost_sum(self.cost_usd, cost_usd)


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """One ``complete()``: what a task asks of the model ``index``, and how its answers are found again.

    ``text`` (the chunk's) and ``nth`` (how many identical calls the task has made before) are part of its digest.
    ``reusable``: it may take answers from the log, and identical calls may take its answers. ``owner``: who may share
    its answers with other jobs.
    """

    task: Start
    chunk: Chunk
    deadline: Deadline
    calls: TaskCalls
    store: StoredAnswers
    index: int
    request: Request
    response_model: Any
    on_truncation: str
    reusable: bool
    owner: bytes
    text: str = ""
    nth: int = 0

    def digest(self, identity: str | list[str]) -> bytes:
        """The digest of this question when the model with this identity is asked."""
        return call_digest(identity, self.request, self.text, self.nth)

    def stored(self, digest: bytes) -> Sequence[CallRecord]:
        """The answers in the log that this question may take."""
        if not self.reusable:
            return ()
        return self.store.turns(digest, chunk=self.task.chunk, attempt=self.task.attempt, owner=self.owner)

    def earlier(self, digest: bytes) -> int | None:
        """In batch mode, how many of the stored answers are older than the current logical run; None: all."""
        return self.store.earlier(digest, chunk=self.task.chunk, attempt=self.task.attempt)
