"""The turns of one call to one model: those that the log holds are replayed before anything new is asked.

Every answer is in the log as the model said it, before anybody looks at it: refused ones, answers to re-asks, parts.
The n-th of a call stands under ``calls.turn_digest(digest, n)``. A later call takes them in the same order and judges
them anew, by today's validator and ``on_truncation``; only what is missing then is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mrengine.errors import InvalidAnswer, TruncatedAnswer
from mrengine.log.format.task_records import CONTINUATION, FIRST, REASK, CallRecord
from mrengine.providers.call.answers import Ask, answer, is_continuation
from mrengine.records import Completion, Request
from mrengine.worker.stored_answers import completion_of

__all__ = ["Turns", "Unanswered", "turn_of"]


class Unanswered(Exception):
    """The log does not hold all answers that are needed."""


class _LeftBehind(Exception):
    """A cut answer after which the call began again, so that what follows it in the log continues another."""


def turn_of(request: Request) -> int:
    """What a request asks for, as a CALL has it."""
    if not request.turns:
        return FIRST
    return CONTINUATION if is_continuation(request) else REASK


class Turns:
    """The stored answers of one call, and the road from them to a whole and valid one.

    ``on_answer`` is given each answer's text. ``cost_usd``: of the stored answers that the returned one is made of.
    """

    def __init__(
        self, stored: Sequence[CallRecord], on_answer: Callable[[str], None], *, earlier: int | None = None
    ) -> None:
        """``earlier``: how many of the answers are of earlier runs; None: all. The others count as asked for: it was
        a batch that brought them, while the task was parked.
        """
        self._stored, self._on_answer = stored, on_answer
        self._earlier = len(stored) if earlier is None else earlier
        self._next = 0
        self.cost_usd: float | None = 0.0

    def answer(self, request: Request, *, live: Ask | None, response_model: Any, on_truncation: str) -> Completion:
        """A whole and valid answer; ``live`` asks for what the log does not have. Unanswered: it may not.

        Stored answers that are no good today (nor were, mostly, when they came) are left behind, and the call begins
        again: a failure counts only where something was asked for it.
        """
        while True:
            asked = False
            self.cost_usd = 0.0

            def ask(request: Request) -> Completion:
                nonlocal asked
                stored = self._take(turn_of(request))
                if stored is not None:
                    asked |= self._next > self._earlier
                    return stored
                if live is None:
                    raise Unanswered
                asked = True
                return live(request)

            try:
                return answer(ask, request, response_model=response_model, on_truncation=on_truncation)
            except _LeftBehind:
                continue
            except (InvalidAnswer, TruncatedAnswer):
                if asked:
                    raise

    def _take(self, turn: int) -> Completion | None:
        """The next stored answer to such a turn. A part answers nothing but the part before it; others all do.

        Only the last answer of the log is continued: a part that was bought for an earlier one would stand after later
        ones, where no run would find it.
        """
        while self._next < len(self._stored):
            record = self._stored[self._next]
            if turn == CONTINUATION and record.turn != CONTINUATION:
                raise _LeftBehind
            self._next += 1
            if (record.turn == CONTINUATION) == (turn == CONTINUATION):
                self._on_answer(record.text)
                paid = record.cost_usd
                self.cost_usd = None if self.cost_usd is None or paid is None else self.cost_usd + paid
                return completion_of(record)
        return None
